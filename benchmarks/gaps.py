"""How the error grows with the gap between computed frames, for interpolated and for held tokens."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from statistics import mean
from typing import Any
from unittest.mock import patch

import torch

from hf_ttr.configuration import TemporalReuseConfig
from hf_ttr.planning import planner

from .ablation import FRAMES, prepared
from .common import kl_divergence, real_data
from .corners import whole_frames
from .fidelity import OTHERS, STATIC
from .runner import Cell, Part
from .table import Block, Table


GAPS = (2, 3, 4, 6, 8, 12, 16, 24)
WAYS = ("interpolated", "held")


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every video, way and gap."""
    real_data()
    return [
        Cell(f"{video} | {way} | {gap}", partial(measure, video, way, gap), {"frames": FRAMES})
        for video in (STATIC[:1] if quick else STATIC + OTHERS)
        for gap in (GAPS[:2] if quick else GAPS)
        for way in WAYS
    ]


@torch.no_grad()
def measure(video: str, way: str, gap: int) -> dict[str, Any]:
    """Every `gap`-th frame is computed whole, and all tokens of the others are reused."""
    model, clip, dense = prepared(video)
    if way == "held":
        # Nothing is ever due but by its age.
        model.config.temporal_reuse = TemporalReuseConfig(mode="causal", threshold=1e6, max_age=gap, scene_cut=1.0)
        output = model(clip, output_reuse_plan=True)
    else:
        model.config.temporal_reuse = TemporalReuseConfig()
        with patch.object(planner, "choose_corners", whole_frames(gap)):
            output = model(clip, output_reuse_plan=True)
    reused = ~output.reuse.plan[0].all(-1)
    embeddings = model.vit.embeddings.patch_embeddings(clip[0])
    error = embedding_error(embeddings, reused, way)
    return {"kl": kl_divergence(dense, output.frame_logits[0])[reused].mean().item(), "embedding_error": error}


def embedding_error(embeddings: torch.Tensor, reused: torch.Tensor, way: str) -> float:
    """
    Root mean square distance of the reused embeddings from the true ones, relative to the mean norm.

    Args:
        embeddings (`torch.FloatTensor` of shape `(frames, patches, dim)`): of all frames.
        reused (`torch.BoolTensor` of shape `(frames,)`): the frames that are not computed.
        way: `"interpolated"` is linear in time.
    """
    time = torch.arange(len(reused))
    left = torch.where(reused, 0, time).cummax(0).values
    right = torch.where(reused, len(time), time).flip(0).cummin(0).values.flip(0)
    right = torch.where(right == len(time), left, right)
    share = (time - left) / (right - left).clamp(min=1) if way == "interpolated" else torch.zeros(len(time))
    made = torch.lerp(embeddings[left], embeddings[right], share[:, None, None])
    distance = (embeddings - made)[reused].square().sum(-1).mean().sqrt()
    return (distance / embeddings[0].norm(dim=-1).mean()).item()


def by_gap(result: dict[str, Any], way: str, static: bool, name: str) -> list[float]:
    """The mean over videos of a measured value, for each of `GAPS`."""
    rows = [row for row in result["rows"] if row["key"][1] == way and (row["key"][0] in STATIC) == static]
    return [mean(row[name] for row in rows if row["key"][2] == str(gap)) for gap in GAPS]


def table(result: dict[str, Any]) -> Block:
    """The table of a result."""
    rows = []
    for static, group in ((True, STATIC), (False, OTHERS)):
        for way in WAYS:
            kls, errors = (by_gap(result, way, static, name) for name in ("kl", "embedding_error"))
            cells = (f"{kl:.4f}; {error:.2f}" for kl, error in zip(kls, errors))
            rows.append((f"{len(group)} {'videos' if static else 'others'}, {way}", *cells))
    return [
        f"{result['model']}, {result['frames']} frames of each video: every n-th frame is computed whole. KL to the "
        "dense model of the frames between, and the distance of their patch embeddings from the true ones, relative "
        "to the mean norm.",
        Table(("tokens", *(f"n = {gap}" for gap in GAPS)), rows),
    ]


PART = Part("fidelity", "gaps", cells, lambda quick: {"model": "vit-tiny-tin200", "frames": FRAMES})
