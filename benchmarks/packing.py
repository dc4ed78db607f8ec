"""
Wall-clock of the same corners carried out packed, piece by piece, frame by frame and padded. Random weights.

The corners are drawn by chance and handed to the model in place of those of its planner, so every way computes the
same tokens, and none is charged for planning. The stream has begun: the first frame, computed whole, is behind it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any
from unittest.mock import patch

import torch

import hf_ttr
from hf_ttr.planning import planner

from .common import changing_clip, random_vit
from .runner import Cell, Part
from .speed import use_settings
from .table import Block, Table
from .timing import compare_in_turn, realised


FRAMES = 16
SHARES = (0.1, 0.25)
BURST, BURST_SHARE = 4, 0.7
"""In bursts, one frame of four has 70 % of the corners."""
SPREADS = {"even": "about the same in every frame", "bursts": f"{BURST_SHARE:.0%} of them in every {BURST}th frame"}
PADDED = "padded"
WAYS: dict[str, int] = {
    "packed, all frames in one call": FRAMES,
    "padded to the frame of most rows": FRAMES,
    **{f"packed, {pieces} frames a call": pieces for pieces in (8, 4, 2)},
    "frame by frame": 1,
}
"""By name, the frames of a call."""


def random_rows(spread: str, share: float, frames: int, patches: int) -> torch.Tensor:
    """
    Corners drawn by chance.

    Args:
        spread: of `SPREADS`.
        share (`float`): of the patches, over all frames.
        frames, patches (`int`): the size.

    Returns:
        `torch.BoolTensor` of shape `(1, frames, patches)`.
    """
    generator = torch.Generator().manual_seed(0)
    shares = torch.full((frames,), share)
    if spread == "bursts":
        shares *= BURST * (1 - BURST_SHARE) / (BURST - 1)
        shares[BURST - 1 :: BURST] = share * BURST * BURST_SHARE
    counts = (shares * patches).round().long()
    if spread == "even":
        # As in video, no two frames have quite the same number.
        counts = (torch.rand(frames, patches, generator=generator) < shares[:, None]).sum(1)
    ranks = torch.rand(frames, patches, generator=generator).argsort(1).argsort(1)
    return (ranks < counts[:, None])[None]


def padded(corners: torch.Tensor) -> torch.Tensor:
    """As many corners in every frame as in that of most: what a batch of `(frames, most, dim)` computes."""
    most = corners.sum(-1).max()
    # Corners come first, then the others in the order of their numbers.
    ranks = (~corners).byte().argsort(dim=-1, stable=True).argsort(dim=-1)
    return ranks < most


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every share and spread, on a ViT-B/16 (`quick`: one share, a tiny one)."""
    size, rounds = ("tiny", 1) if quick else ("base", 9)
    return [
        Cell(
            f"{share:.0%} | {spread}",
            partial(measure, size, share, spread, rounds),
            {"size": size, "rounds": rounds, "frames": FRAMES},
        )
        for share in (SHARES[:1] if quick else SHARES)
        for spread in SPREADS
    ]


@lru_cache(maxsize=1)
def _models(size: str) -> tuple[Any, Any]:
    parent = random_vit(size)
    return parent, hf_ttr.with_temporal_reuse(parent)


@torch.no_grad()
def measure(size: str, share: float, spread: str, rounds: int) -> dict[str, Any]:
    """The next frames of a stream that has begun, carried out every way in turn, against the dense batch."""
    parent, model = _models(size)
    clip = changing_clip(share, FRAMES + 1)
    coming = clip[:, 1:]
    corners = random_rows(spread, share, FRAMES, (clip.shape[-1] // model.config.patch_size) ** 2)
    use_settings(model)
    start = model(clip[:, :1]).past_key_values
    runs, values = {}, {}
    for way, frames in WAYS.items():
        own = padded(corners) if way.startswith(PADDED) else corners
        runs[way] = carried_out(model, coming, own, frames)
        reports = runs[way](copy.deepcopy(start))
        done, total = (
            sum(report[name].item() for report in reports) for name in ("multiply_adds", "dense_multiply_adds")
        )
        values[way] = {"rows": own.sum().item() + FRAMES, "multiply_add_ratio": total / done}
    timing = compare_in_turn(lambda: parent(coming[0]), runs, rounds, prepare=lambda: copy.deepcopy(start))
    return {"ways": {way: realised({**values[way], **timing[way]}) for way in WAYS}}


def carried_out(model: Any, coming: torch.Tensor, corners: torch.Tensor, frames: int) -> Callable[[Any], list[Any]]:
    """
    A run over the coming frames with given corners.

    Args:
        model: with reuse.
        coming (`torch.Tensor` of shape `(1, frames, channels, height, width)`): the frames.
        corners (`torch.BoolTensor` of shape `(1, frames, patches)`): what is computed.
        frames (`int`): of a call.

    Returns:
        A function of the cache, which returns the report of every call.
    """

    def run(cache: Any) -> list[Any]:
        parts, reports = iter(corners.split(frames, dim=1)), []
        with patch.object(planner, "choose_corners", lambda *unused: next(parts)):
            for piece in coming.split(frames, dim=1):
                output = model(piece, past_key_values=cache)
                cache = output.past_key_values
                reports.append(output.reuse)
        return reports

    return run


def table(result: dict[str, Any]) -> Block:
    """The tables of a result, one for every share and spread."""
    block: Block = []
    for row in result["rows"]:
        share, spread = row["key"]
        # The dense batch is the same work everywhere: its time shows what else ran.
        dense_seconds = next(iter(row["ways"].values()))["dense_seconds"]
        block += [
            f"{share} computed, {SPREADS[spread]}; the dense batch took {dense_seconds:.1f} s:",
            Table(
                ("way", "rows", "multiply-adds", "wall-clock", "realised"),
                (
                    (
                        way,
                        f"{values['rows']}",
                        f"{values['multiply_add_ratio']:.2f}x fewer",
                        f"{values['wall_clock_ratio']:.2f}x faster",
                        f"{values['realised']:.0%}",
                    )
                    for way, values in row["ways"].items()
                ),
            ),
        ]
    return block


PART = Part("speed", "packing", cells, lambda quick: {"model": "ViT-B/16, random weights, clips of 16 frames"})
