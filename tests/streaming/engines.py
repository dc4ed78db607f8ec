"""Engines with tiny models, and frames for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import hf_ttr
from hf_ttr.streaming import StreamEngine, StreamOptions, StreamResult
from hf_ttr.video.processing import TemporalReuseVideoProcessor

from ..tiny import make_clip, tiny_parent, tiny_videomae


KINDS = ("frames", "windows")


def processor() -> TemporalReuseVideoProcessor:
    return TemporalReuseVideoProcessor(size={"height": 24, "width": 24})


def tiny_model(kind: str = "frames", seed: int = 0, **settings: Any) -> Any:
    parent = tiny_parent(seed) if kind == "frames" else tiny_videomae(seed)
    return hf_ttr.with_temporal_reuse(parent, {"threshold": 0.3, **settings})


def tiny_engine(kind: str = "frames", model: Any = None, **options: Any) -> StreamEngine:
    return StreamEngine(tiny_model(kind) if model is None else model, processor(), StreamOptions(**options))


def frames_of(stream: int, count: int) -> list[np.ndarray]:
    """`uint8` frames of shape (24, 24, 3) in which some patches change."""
    clip = make_clip(batch=stream + 1, frames=count)[stream]
    return [(frame * 40 + 128).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy() for frame in clip]


def pixel_values(frames: list[np.ndarray]) -> torch.Tensor:
    """What the model sees of frames, `(1, frames, channels, height, width)`."""
    return processor()(frames, do_sample_frames=False, return_tensors="pt").pixel_values


def run(engine: StreamEngine, name: str, frames: list[np.ndarray], first: int = 0) -> list[StreamResult]:
    """Hands in frames one by one, and ends the stream."""
    results = []
    for number, frame in enumerate(frames[first:], start=first):
        engine.push(name, frame, index=number, time=number / 25)
        results += engine.step()
    engine.end(name)
    while not engine.is_finished(name):
        results += engine.step()
    return results


def scores(results: list[StreamResult]) -> torch.Tensor:
    """By result and label."""
    return torch.tensor(
        [[entry["score"] for entry in sorted(one.labels, key=lambda entry: entry["label"])] for one in results]
    )


def assert_same(got: list[StreamResult], expected: list[StreamResult]) -> None:
    """Whether results are the same but for rounding and the time that they took."""
    facts = ("stream", "number", "first_frame", "last_frame", "start", "end", "dropped")
    for fact in (*facts, "computed_share", "multiply_adds", "dense_multiply_adds"):
        assert [getattr(one, fact) for one in got] == [getattr(one, fact) for one in expected], fact
    # What a check finds, and so how far the threshold comes down, has the rounding of scores that are nearly the same.
    assert [one.threshold for one in got] == pytest.approx([one.threshold for one in expected], rel=1e-3)
    torch.testing.assert_close(scores(got), scores(expected), atol=1e-5, rtol=1e-4)
