"""Rows of videos that nobody has seen."""

from __future__ import annotations

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


def failed(path: str, kind: str = "unreadable", error: str = "The video is broken.") -> ClassifiedVideo:
    return ClassifiedVideo(path, error=error, error_kind=kind)
