"""The VideoMAE that ships with the package, whose classes need motion: accuracy, at the same multiply-adds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any

import torch

import hf_ttr
from hf_ttr.configuration import DEFAULT_WINDOW_THRESHOLD

from .clips import Arena, by_ratio, jobs
from .fidelity import MOTION_CLIPS, motion_clips
from .runner import Cell, Part
from .table import Block, Table


RATIOS = (2.0, 3.0, 5.0)
DEFAULT = "default settings"


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every method and ratio, and one for the default settings; `quick` takes a few clips."""
    count = 9 if quick else MOTION_CLIPS

    @lru_cache(maxsize=1)
    @torch.no_grad()
    def arena() -> Arena:
        return Arena(*motion_clips(count))

    def measure(method: str, ratio: float) -> dict[str, Any]:
        with torch.no_grad():
            row = _default(arena()) if method == DEFAULT else arena().cell(method, ratio)
            names = arena().model.config.id2label
            return {**row, "clips": count, "labels": [names[index] for index in sorted(names)]}

    found = [*jobs(RATIOS[1:2] if quick else RATIOS), (DEFAULT, 0.0)]
    return [
        Cell(f"{method} | {ratio:g}", partial(measure, method, ratio), {"clips": count}) for method, ratio in found
    ]


def _default(arena: Arena) -> dict[str, Any]:
    arena.reuse.config.temporal_reuse = hf_ttr.TemporalReuseConfig()
    costs = arena.planned({}, DEFAULT_WINDOW_THRESHOLD)
    logits = torch.cat([arena.reuse(clip.pixels[None], use_cache=False).logits for clip in arena.clips])
    ratio = arena.dense_cost * len(costs) / sum(costs)
    return arena.row(DEFAULT, 0.0, (logits, ratio, DEFAULT_WINDOW_THRESHOLD))


def table(result: dict[str, Any]) -> Block:
    """The tables of a result."""
    rows = [row for row in result["rows"] if row["method"] != DEFAULT]
    default = next(row for row in result["rows"] if row["method"] == DEFAULT)
    dense = rows[0]
    chosen = [dense, *(row for row in rows if row["setting"] == 3.0)]
    return [
        f"{default['clips']} generated clips that the model has not seen. Dense accuracy {dense['accuracy']:.1%}; "
        f"with reuse at threshold {default['threshold']:g} {default['accuracy']:.1%}, {default['ratio']:.1f} times "
        f"fewer multiply-adds in the encoder, agreement {default['agreement']:.3f}.",
        "Accuracy (KL to the dense model):",
        by_ratio(rows, lambda row: f"{row['accuracy']:.1%} ({row['kl']:.3f})"),
        "Accuracy of each class at 3x:",
        Table(
            ("", *default["labels"]),
            ((row["method"], *(f"{value:.0%}" for value in row["accuracy_per_class"])) for row in chosen),
        ),
    ]


PART = Part("fidelity", "motion", cells, lambda quick: {"model": "videomae-demo"})
