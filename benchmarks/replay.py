"""
Wall-clock at a fidelity that was measured: plans of a trained model on real video, carried out by a larger one.

What is computed depends on the plan alone. The trained tiny model finds the sparsest threshold at which its KL per
frame stays under a limit; the plans it made then replace those of a ViT-B with random weights on the same frames,
against the dense batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from statistics import geometric_mean
from typing import Any
from unittest.mock import patch

import torch
from transformers import ViTForImageClassification

import hf_ttr
from hf_ttr.planning.plan import ReusePlan
from hf_ttr.planning.planner import Planner

from .common import first_frames, kl_divergence, random_vit, real_data
from .fidelity import STATIC
from .runner import Cell, Part
from .table import Block, Table
from .timing import compare_times, realised


FRAMES, QUICK_FRAMES = 32, 8
LIMIT = 0.02
MODES = ("bidirectional", "causal")
THRESHOLDS = (0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.125, 0.1, 0.075, 0.05, 0.025)


@contextmanager
def recorded_plans() -> Iterator[list[ReusePlan]]:
    """Collects the plans that are made within."""
    plans: list[ReusePlan] = []
    make = Planner.plan

    def record(self: Planner, *arguments: Any) -> ReusePlan:
        plans.append(make(self, *arguments))
        return plans[-1]

    with patch.object(Planner, "plan", record):
        yield plans


@contextmanager
def replayed_plans(plans: list[ReusePlan]) -> Iterator[None]:
    """
    Within, planners return the given plans in their order, once around for each clip.

    The plan is made all the same and thrown away, so that its time counts; the replayed one is a copy, as a plan keeps
    what it has derived.
    """
    make = Planner.plan
    number = 0

    def replay(self: Planner, *arguments: Any) -> ReusePlan:
        nonlocal number
        own = make(self, *arguments)
        plan = replace(plans[number % len(plans)])
        plan.planning_multiply_adds = own.planning_multiply_adds
        number += 1
        return plan

    with patch.object(Planner, "plan", replay):
        yield


def sparsest_under(
    limit: float, thresholds: Iterable[float], divergence: Callable[[float], float]
) -> tuple[float, float]:
    """The largest threshold whose divergence is at most the limit, and that divergence; the smallest if none is."""
    threshold = kl = 0.0
    for threshold in sorted(thresholds, reverse=True):
        kl = divergence(threshold)
        if kl <= limit:
            break
    return threshold, kl


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every static video and mode."""
    real_data()
    size, frames, rounds = ("tiny", QUICK_FRAMES, 1) if quick else ("base", FRAMES, 3)

    @lru_cache(maxsize=1)
    def models() -> tuple[Any, Any, Any]:
        directory = real_data() / "models" / "vit-tiny-tin200"
        processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory)
        small = ViTForImageClassification.from_pretrained(directory, dtype=torch.float32).eval()
        return processor, small, random_vit(size)

    def measure(video: str, mode: str) -> dict[str, Any]:
        processor, small, large = models()
        pixels = first_frames(processor, real_data() / "videos" / video, frames)
        return replayed(small, large, pixels, mode, rounds)

    videos = STATIC[:1] if quick else STATIC
    settings = {"size": size, "frames": frames, "rounds": rounds}
    return [Cell(f"{video} | {mode}", partial(measure, video, mode), settings) for video in videos for mode in MODES]


@torch.no_grad()
def replayed(small: Any, large: Any, pixels: torch.Tensor, mode: str, rounds: int) -> dict[str, Any]:
    """
    Chooses the threshold on the small model, and times its plans on the large one.

    Args:
        small, large: dense models.
        pixels (`torch.Tensor` of shape `(1, frames, channels, height, width)`): the clip.
        mode: of reuse.
        rounds: of timing.
    """
    expected = small(pixels[0]).logits
    reuse: Any = hf_ttr.with_temporal_reuse(small)

    def divergence(threshold: float) -> float:
        reuse.config.temporal_reuse = hf_ttr.TemporalReuseConfig(mode=mode, threshold=threshold)
        return kl_divergence(expected, reuse(pixels).frame_logits[0]).mean().item()

    threshold, kl = sparsest_under(LIMIT, THRESHOLDS, divergence)
    with recorded_plans() as plans:
        divergence(threshold)
    settings = hf_ttr.TemporalReuseConfig(mode=mode, threshold=threshold)
    larger: Any = hf_ttr.with_temporal_reuse(large, settings)
    with replayed_plans(plans):
        report = larger(pixels).reuse
        timing = compare_times(lambda: large(pixels[0]), lambda: larger(pixels), rounds)
    return realised(
        {
            "threshold": threshold,
            "kl": kl,
            "computed_share": report.computed_share.item(),
            "multiply_add_ratio": (report.dense_multiply_adds / report.multiply_adds).item(),
            **timing,
        }
    )


def table(result: dict[str, Any]) -> Block:
    """The table of a result."""
    return [
        f"The sparsest threshold whose KL per frame is under {LIMIT:g} on vit-tiny-tin200, {result['frames']} frames "
        f"of each video; its plans carried out by a {result['model']}, against the dense batch.",
        Table(
            ("video", "mode", "threshold", "KL", "computed", "multiply-adds", "wall-clock", "realised"),
            (
                (
                    *row["key"],
                    f"{row['threshold']:g}",
                    f"{row['kl']:.4f}",
                    f"{row['computed_share']:.1%}",
                    f"{row['multiply_add_ratio']:.2f}x fewer",
                    f"{row['wall_clock_ratio']:.2f}x faster",
                    f"{row['realised']:.0%}",
                )
                for row in result["rows"]
            ),
        ),
    ]


def summary(result: dict[str, Any]) -> Block:
    """The mean over the videos, a line for each mode."""

    def line(mode: str) -> tuple[str, ...]:
        rows = [row for row in result["rows"] if row["key"][1] == mode]
        means = (geometric_mean(row[name] for row in rows) for name in ("multiply_add_ratio", "wall_clock_ratio"))
        gains = [row["wall_clock_ratio"] for row in rows]
        extremes = f"{min(gains):.1f}x to {max(gains):.1f}x"
        return mode, f"{max(row['kl'] for row in rows):.3f}", *(f"{value:.2f}x" for value in means), extremes

    videos = len({row["key"][0] for row in result["rows"]})
    return [
        f"At a fidelity that was measured: plans whose KL per frame is at most {LIMIT:g} on the trained ViT-Tiny, "
        f"carried out by a {result['model']} in one call against the dense batch, geometric mean of {videos} videos "
        "of static cameras:",
        Table(("mode", "largest KL", "fewer multiply-adds", "faster", "single videos"), map(line, MODES)),
    ]


def _about(quick: bool) -> dict[str, Any]:
    name = "ViT-Tiny" if quick else "ViT-B/16"
    return {"model": f"{name} with random weights", "frames": QUICK_FRAMES if quick else FRAMES}


PART = Part("speed", "replay", cells, _about)
