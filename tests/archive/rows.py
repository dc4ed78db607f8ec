"""Rows of videos that nobody has seen, and a disk without room for them."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hf_ttr.archive.row import ClassifiedVideo


def classified(path: str, **changes: Any) -> ClassifiedVideo:
    """A row of a video of ten seconds, of which a quarter was computed."""
    facts: dict[str, Any] = {
        "frames": 250,
        "duration": 10.0,
        "seconds": 2.0,
        "decoding_seconds": 1.0,
        "computed_tokens": 25,
        "total_tokens": 100,
        "multiply_adds": 30,
        "dense_multiply_adds": 120,
        "labels": ("cat", "dog"),
        "scores": (0.75, 0.25),
    }
    return ClassifiedVideo(path, **{**facts, **changes})


def failed(
    path: str, kind: str = "unreadable", error: str = "The video is broken.", frames: int = 0
) -> ClassifiedVideo:
    """A row of a video without a result."""
    return ClassifiedVideo(path, frames, error=error, error_kind=kind)


@contextmanager
def full_disk() -> Iterator[None]:
    """For the time of a `with` block, no file gets more than 1,000 bytes."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
