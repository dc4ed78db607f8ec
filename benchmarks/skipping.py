"""Which frames to leave out: what every choice costs, and the factor by which the choice is made, half by half."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from math import exp, log
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import hf_ttr
from hf_ttr.models.skipping import settings_for
from hf_ttr.planning.frame_skipping import REUSE_FACTOR, candidates, errors_of, inner_products

from .common import kl_divergence, real_data
from .curves import Point, kl_at_cost
from .fidelity import videos
from .measures import Reference
from .methods.frame_skipping import SHARES, InterpolatedFrames, interpolated
from .rates import CLIPS, FRAMES, RATES, WORSE, clips_at, loader
from .runner import Cell, Part
from .sweep_tables import SAVINGS
from .table import Block, Table


GRID = (14, 14)
"""Patches of the model."""
FACTORS = (0.0, 1.0, 2.0, 4.0, 5.0, 7.0, 10.0, 20.0, float("inf"))
"""Of the error of what is reused: 0 leaves no frame out, and infinity reuses nothing."""


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every rate and video."""
    folder = real_data()
    names = [name for found in videos(folder / "videos").values() for name in found]
    return [
        Cell(f"{rate} | {name}", partial(measure, folder, name, rate), {"frames": FRAMES, "clips": CLIPS})
        for rate in (RATES[:1] if quick else RATES)
        for name in (names[:2] if quick else names)
        if clips_at(folder / "videos" / name, rate)
    ]


@torch.no_grad()
def measure(folder: Path, name: str, rate: int) -> dict[str, Any]:
    """Of each clip the curve of frame skipping, and every choice at every saving."""
    model, dense = loader(folder, {name: clips_at(folder / "videos" / name, rate)})(name)
    reuse: Any = hf_ttr.with_temporal_reuse(model, {"mode": "bidirectional"})
    clips = []
    for number in range(len(dense.clips)):
        curve = []
        for share in SHARES:
            outcome = InterpolatedFrames(model, share).measured(dense.clips[number].pixels)
            curve.append(_point(dense, number, outcome.logits, outcome.multiply_adds))
        choices = {str(saving): _choices(reuse, dense, number, 1 / saving) for saving in SAVINGS}
        clips.append({"skipping": curve, "choices": choices})
    return {"clips": clips}


def _choices(reuse: Any, dense: Reference, number: int, budget: float) -> list[dict[str, float]]:
    pixels = dense.clips[number].pixels
    frames = len(pixels)
    gram = inner_products(pixels, GRID)
    found = []
    for kept in reversed(candidates(frames, budget)):
        count = len(kept)
        settings = hf_ttr.TemporalReuseConfig(compute_budget=budget)
        output = reuse(pixels[None, kept], temporal_reuse=settings_for(settings, count, frames), use_cache=False)
        logits = interpolated(output.frame_logits[0], kept, frames)
        share, kl = _point(dense, number, logits, int(output.reuse.multiply_adds))
        reused, skipped = (error.item() for error in errors_of(gram, kept.to(gram.device), budget))
        found.append({"kept": count, "share": share, "kl": kl, "reused": reused, "skipped": skipped})
    return found


def _point(dense: Reference, number: int, logits: torch.Tensor, multiply_adds: int) -> Point:
    kl = kl_divergence(dense.logits[number], logits).mean().item()
    return multiply_adds / dense.multiply_adds[number], kl


def chosen(choices: Sequence[dict[str, float]], factor: float) -> dict[str, float]:
    """What a factor chooses; of equals the one that keeps more frames."""

    def predicted(choice: dict[str, float]) -> float:
        reused = choice["reused"] * factor if choice["reused"] else 0.0
        return reused + choice["skipped"]

    return min(reversed(choices), key=predicted)


def ratios(rows: Iterable[dict[str, Any]], factor: float) -> dict[str, float]:
    """KL over that of frame skipping at the same multiply-adds, the mean over the clips of a video at a rate."""
    found = {}
    for row in rows:
        for saving in SAVINGS:
            pairs = []
            for clip in row["clips"]:
                choice = chosen(clip["choices"][str(saving)], factor)
                if (other := kl_at_cost([(share, kl) for share, kl in clip["skipping"]], choice["share"])) is not None:
                    pairs.append((choice["kl"], other))
            if pairs:
                name = f"{row['key'][1]}, {saving}x at {row['key'][0]} frames a second"
                found[name] = mean(kl for kl, _ in pairs) / mean(other for _, other in pairs)
    return found


def halves(result: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The cells of every second video, in the order of their names, and of the others."""
    names = sorted({row["key"][1] for row in result["rows"]})
    return [[row for row in result["rows"] if names.index(row["key"][1]) % 2 == half] for half in (0, 1)]


def table(result: dict[str, Any]) -> Block:
    """Each factor on each half of the videos, and what is worse with the one in use."""
    rows = []
    for factor in FACTORS:
        found = [ratios(half, factor) for half in halves(result)]
        name = {0.0: "0: no frame left out", FACTORS[-1]: "whole frames only"}.get(factor, f"{factor:g}")
        columns = (text for half in found for text in _summary(half))
        rows.append((f"**{name}**" if factor == REUSE_FACTOR else name, *columns))
    worse = {name: ratio for half in halves(result) for name, ratio in ratios(half, REUSE_FACTOR).items()}
    named = [f"{name} ({ratio:.2f})" for name, ratio in sorted(worse.items(), key=lambda pair: -pair[1])]
    count = sum(ratio > WORSE for ratio in worse.values())
    return [
        f"{result['model']}, up to {CLIPS} clips of up to {FRAMES} frames of each video, at {len(RATES)} frame rates, "
        f"{' and '.join(f'{saving}' for saving in SAVINGS)} times fewer tokens: KL over that of frame skipping at the "
        "same multiply-adds, by the factor of the error of what is reused. Geometric mean, and how many of the "
        f"videos, rates and savings are worse by more than {WORSE - 1:.0%}; every second video, and the others. Bold: "
        "the one in use.",
        Table(("factor", "one half", "worse", "other half", "worse"), rows),
        f"Worse with it: {'; '.join(named[:count]) or 'none'}.",
    ]


def _summary(found: dict[str, float]) -> tuple[str, str]:
    if not found:
        return "-", "-"
    worse = sum(ratio > WORSE for ratio in found.values())
    return f"{exp(mean(log(max(ratio, 1e-3)) for ratio in found.values())):.2f}", f"{worse} of {len(found)}"


PART = Part("fidelity", "frame_skipping", cells, lambda quick: {"model": "vit-tiny-tin200"})
