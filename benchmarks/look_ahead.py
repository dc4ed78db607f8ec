"""What it is worth to see frames ahead: a clip handed over in pieces, with the cache, at the same multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

from .ablation import FRAMES, RATIOS, Row, at_ratio, by_videos, compared, mean_of
from .common import real_data
from .fidelity import OTHERS, STATIC
from .runner import Cell, Part
from .table import Block, Table


PIECES = (1, 2, 4, 8, 16, 32, FRAMES - 1)
"""Frames of a call; one at a time is mode "causal"."""
THRESHOLDS = (0.01, 10.0)
"""Between which a threshold is searched for."""
CONTROLS = {
    "threshold": "one threshold for the whole clip, so that what is spent on a call follows what happens in it",
    "budget": "one `compute_budget` for every call, so that each may compute the same share",
}


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every video, size of the pieces, control and ratio; `quick` takes one video, two sizes, one ratio."""
    real_data()
    return [
        Cell(
            f"{video} | {pieces} | {control} | {ratio:g}",
            partial(_measure, video, pieces, control, ratio),
            {"frames": FRAMES},
        )
        for video in (STATIC[:1] if quick else STATIC + OTHERS)
        for pieces in (PIECES[:2] if quick else PIECES)
        for control in CONTROLS
        for ratio in (RATIOS[:1] if quick else RATIOS)
    ]


def _measure(video: str, pieces: int, control: str, ratio: float) -> dict[str, Any]:
    mode = "causal" if pieces == 1 else "bidirectional"

    def at_budget(budget: float) -> Row:
        return compared(video, mode, ratio, pieces, mode=mode, compute_budget=budget, frame_skipping=False)

    def at_exponent(exponent: float) -> Row:
        return compared(video, mode, ratio, pieces, mode=mode, threshold=math.exp(-exponent))

    if control == "budget":
        row = at_ratio(at_budget, ratio, 0.02, 1.5 / ratio)
    else:
        # A lower threshold costs more, and equal factors between thresholds cost about the same.
        lowest, highest = (-math.log(threshold) for threshold in reversed(THRESHOLDS))
        row = at_ratio(at_exponent, ratio, lowest, highest, steps=9)
    return {"pieces": pieces, "control": control, **asdict(row)}


def table(result: dict[str, Any]) -> Block:
    """The tables of a result: for each control the divergence and the agreement by the frames of a call."""
    rows = result["rows"]
    ratios = sorted({row["setting"] for row in rows})
    groups = by_videos(rows)
    header = [f"{videos}, {ratio:g}x" for videos in groups for ratio in ratios]

    def cell(group: list[dict[str, Any]], pieces: int, control: str, ratio: float, figure: str, form: str) -> str:
        wanted = (pieces, control, ratio)
        chosen = [row for row in group if (row["pieces"], row["control"], row["setting"]) == wanted]
        return mean_of(chosen, ratio, figure, form)

    block: Block = []
    for control, title in CONTROLS.items():
        for figure, name, form in (("kl", "mean KL to the dense model", ".4f"), ("agreement", "agreement", ".1%")):
            lines = [
                (
                    f"{pieces}, causal" if pieces == 1 else f"{pieces}",
                    f"{pieces - 1}",
                    *(
                        cell(group, pieces, control, ratio, figure, form)
                        for group in groups.values()
                        for ratio in ratios
                    ),
                )
                for pieces in dict.fromkeys(row["pieces"] for row in rows)
            ]
            caption = f"{title[0].upper()}{title[1:]}: {name}."
            block += [caption, Table(("frames of a call", "delay in frames", *header), lines)]
    return block


PART = Part("fidelity", "look_ahead", cells, lambda quick: {"model": "vit-tiny-tin200", "frames": FRAMES})
