"""The benchmarks of frame rates and of frame skipping: which frames they take, and what their tables say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import hf_ttr
from benchmarks import rates, skipping
from benchmarks.measures import Clip, Reference
from benchmarks.methods.dense import Dense
from benchmarks.table import as_markdown

from ..tiny import make_clip, tiny_parent


@pytest.fixture
def length(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[float, int]]:
    """Frames a second and number of frames of videos, to be filled in."""
    found: dict[str, tuple[float, int]] = {}
    monkeypatch.setattr(rates, "_info", lambda path: found[path.name])
    return found


def test_clips_are_spread_over_a_video_at_its_rate(length: dict[str, tuple[float, int]]) -> None:
    length["long"] = (30.0, 300)
    assert [(clip[0], clip[1] - clip[0], clip[-1], len(clip)) for clip in rates.clips_at(Path("long"), 30)] == [
        (0, 1, 32, 33),
        (267, 1, 299, 33),
    ]
    assert [(clip[0], clip[-1], len(clip)) for clip in rates.clips_at(Path("long"), 10)] == [
        (0, 96, 33),
        (203, 299, 33),
    ]
    assert [(clip[0], clip[-1], len(clip)) for clip in rates.clips_at(Path("long"), 1)] == [(0, 270, 10)]


def test_what_is_too_short_or_the_same_is_not_measured(length: dict[str, tuple[float, int]]) -> None:
    length |= {"short": (30.0, 40), "slow": (10.0, 64)}
    assert [bool(rates.clips_at(Path("short"), rate)) for rate in rates.RATES] == [True, True, False, False, False]
    assert [bool(rates.clips_at(Path("slow"), rate)) for rate in rates.RATES] == [True, False, True, True, False]


def rows(rate: int, method: str, video: str, curve: dict[float, float]) -> list[dict[str, Any]]:
    """Cells of a method whose KL are given by share."""
    return [
        {
            "key": [f"vit {rate}fps", method, f"{share:g}", video],
            "share": share,
            "kl": kl,
            "seconds": 1.0,
            "dense_seconds": 2.0,
        }
        for share, kl in curve.items()
    ]


def test_tables_of_rates() -> None:
    methods = {key: {"title": key, "ours": key == "budget", "stream": False} for key in rates.CHOSEN}
    curves = {"budget": {0.1: 0.05, 0.25: 0.02, 0.5: 0.001}, "skip_interpolate": {0.1: 0.1, 0.25: 0.04, 0.5: 0.01}}
    cells = [row for key, curve in curves.items() for row in rows(30, key, "yoga.mp4", curve)]
    cells += rows(30, "budget", "test.mp4", {0.1: 0.6, 0.5: 0.2}) + rows(
        30, "skip_interpolate", "test.mp4", {0.1: 0.5, 0.5: 0.2}
    )
    result = {"model": "tiny", "methods": methods, "moving": ["test.mp4"], "rows": cells}
    text = as_markdown(rates.table(result))
    assert "Busy scenes, static cameras:" in text and "Moving cameras, hard cuts:" in text and "Still" not in text
    assert "| own | 1 | - / - | 4.0x / ≥ 10.0x |" in text
    text = as_markdown(rates.never_worse(result))
    assert "| budget against skip_interpolate | 4x | own | 2 |" in text and "test.mp4 (1.1" in text
    pooled = rates.at_all_rates(result, "budget", "skip_interpolate", 4)
    assert list(pooled) == [("test.mp4", 30), ("yoga.mp4", 30)] and pooled["yoga.mp4", 30] == pytest.approx(0.5)


def test_the_factor_chooses_between_frames_and_tokens() -> None:
    choices = [
        {"kept": 4, "share": 0.25, "kl": 0.1, "reused": 0.0, "skipped": 1.0},
        {"kept": 8, "share": 0.25, "kl": 0.05, "reused": 0.1, "skipped": 0.4},
        {"kept": 16, "share": 0.25, "kl": 0.2, "reused": 0.3, "skipped": 0.0},
    ]
    found = [skipping.chosen(choices, factor)["kept"] for factor in (0.0, 1.0, 2.0, 5.0, 7.0, float("inf"))]
    assert found == [16, 16, 16, 8, 4, 4]
    still = [{**choice, "reused": 0.0, "skipped": 0.0} for choice in choices]
    assert skipping.chosen(still, 7.0)["kept"] == 16


@torch.no_grad()
def test_every_choice_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_parent()
    clip = make_clip(batch=1, frames=9)[0]
    dense = Reference.of(Dense(model), [Clip("clip", clip)])
    monkeypatch.setattr(skipping, "loader", lambda folder, chosen: lambda name: (model, dense))
    monkeypatch.setattr(skipping, "clips_at", lambda path, rate: [list(range(9))])
    monkeypatch.setattr(skipping, "GRID", (6, 6))
    cell = skipping.measure(Path(), "clip", 30)["clips"][0]
    assert len(cell["skipping"]) == len(skipping.SHARES)
    at_four = cell["choices"]["4"]
    assert [choice["kept"] for choice in at_four] == [2, 3, 4, 6, 8, 9]
    assert at_four[0]["reused"] == 0 and at_four[-1]["skipped"] == 0
    whole = hf_ttr.with_temporal_reuse(model, {"compute_budget": 0.25, "frame_skipping": False})(clip[None])
    assert at_four[-1]["share"] == pytest.approx(int(whole.reuse.multiply_adds) / dense.multiply_adds[0])
    result = {
        "model": "tiny",
        "rows": [{"key": ["30", "clip"], "clips": [cell]}, {"key": ["30", "dog"], "clips": [cell]}],
    }
    text = as_markdown(skipping.table(result))
    assert "| **7** |" in text and "whole frames only | 1.00 | 0 of" in text
