"""A still frame of a stream: what it costs beside the products of the one row that is computed."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch

import hf_ttr

from .common import changing_clip, random_vit
from .runner import Cell, Part
from .speed import use_settings
from .table import Block, Table
from .timing import compare_in_turn


SIZES = ("tiny", "small", "base")


@torch.no_grad()
def _measure(size: str, rounds: int) -> dict[str, Any]:
    """Seconds of a frame that is the one before: dense, with reuse, and of transformers' bare layers with one row."""
    parent = random_vit(size)
    model = hf_ttr.with_temporal_reuse(parent)
    frame, row = changing_clip(1.0, frames=1), torch.randn(1, 1, model.config.hidden_size)
    use_settings(model, mode="causal")
    cache = model(frame).past_key_values
    report = model(frame, past_key_values=cache).reuse

    def bare() -> None:
        states = row
        for layer in parent.vit.layers:
            states = layer(states)

    ways = {"reuse": lambda: model(frame, past_key_values=cache), "bare": bare}
    found = compare_in_turn(lambda: parent(frame[0]), ways, rounds)
    return {
        "name": f"ViT, hidden size {model.config.hidden_size}",
        "dense_seconds": found["reuse"]["dense_seconds"],
        "reuse_seconds": found["reuse"]["reuse_seconds"],
        "bare_seconds": found["bare"]["reuse_seconds"],
        "wall_clock_ratio": found["reuse"]["wall_clock_ratio"],
        "multiply_add_ratio": (report.dense_multiply_adds / report.multiply_adds).item(),
    }


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every size."""
    rounds = 1 if quick else 40
    return [
        Cell(f"still frame, {size}", partial(_measure, size, rounds), {"rounds": rounds})
        for size in (SIZES[:1] if quick else SIZES)
    ]


def table(result: dict[str, Any]) -> Block:
    """Milliseconds of a frame."""
    return [
        Table(
            ("model", "dense, ms", "still frame, ms", "bare layers with one row, ms", "wall-clock", "multiply-adds"),
            (
                (
                    row["name"],
                    *(f"{1000 * row[name]:.1f}" for name in ("dense_seconds", "reuse_seconds", "bare_seconds")),
                    f"{row['wall_clock_ratio']:.1f}x faster",
                    f"{row['multiply_add_ratio']:.0f}x fewer",
                )
                for row in result["rows"]
            ),
        )
    ]


PART = Part("speed", "overhead", cells, lambda quick: {"model": "ViT of three sizes, random weights"})
