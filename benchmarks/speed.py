"""Wall-clock of reuse against the dense model, interleaved in one process. Random weights: nothing but speed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.progress import track

import hf_ttr
from hf_ttr.planning.planner import Planner


FRAMES = 16
SHARES = (0.1, 0.25)


def run(rounds: int = 7, quick: bool = False) -> dict[str, Any]:
    """Runs the suite on a ViT-B/16 (`quick`: a small one, for a check that it runs)."""
    torch.manual_seed(0)
    size = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768} if quick else {}
    config = hf_ttr.TemporalReuseViTConfig(num_labels=1000, **size)
    model = hf_ttr.TemporalReuseViTForVideoClassification(config).eval()
    rounds = 2 if quick else rounds
    results = [_clip(model, share, rounds) for share in SHARES]
    results.append(_stream(model, 0.25, rounds))
    results.append(_moving(model, rounds))
    return {"suite": "speed", "model": f"ViT, hidden size {config.hidden_size}, random weights", "results": results}


def changing_clip(share: float, frames: int = FRAMES, seed: int = 0) -> torch.Tensor:
    """A static scene of noise in which a random `share` of the patches changes in every frame; `(1, frames, ...)`."""
    generator = torch.Generator().manual_seed(seed)
    clip = torch.randn(1, 1, 3, 14, 16, 14, 16, generator=generator).repeat(1, frames, 1, 1, 1, 1, 1)
    for frame in range(1, frames):
        changed = torch.rand(14, 14, generator=generator) < share
        noise = torch.randn(3, 14, 16, 14, 16, generator=generator)
        clip[0, frame:] = torch.where(changed[None, :, None, :, None], noise, clip[0, frame:])
    return clip.flatten(5, 6).flatten(3, 4)


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare_times(name: str, dense: Callable[[], Any], reuse: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Median of the ratios of neighbouring runs, so that what else the machine does hits both sides."""
    pairs = []
    for number in track(range(rounds + 1), description=name):
        pair = (seconds(dense), seconds(reuse))
        if number:
            pairs.append(pair)
    return {
        "dense_seconds": statistics.median(pair[0] for pair in pairs),
        "reuse_seconds": statistics.median(pair[1] for pair in pairs),
        "wall_clock_ratio": statistics.median(pair[0] / pair[1] for pair in pairs),
    }


def use_settings(model: Any, **settings: Any) -> None:
    """Gives a model the given settings of reuse, and the defaults for the others."""
    model.config.temporal_reuse = hf_ttr.TemporalReuseConfig(**settings)


@torch.no_grad()
def _clip(model: Any, share: float, rounds: int) -> dict[str, Any]:
    """A clip in one call, at a given share of computed tokens."""
    clip = changing_clip(share)

    def dense() -> Any:
        use_settings(model, mode="off")
        return model(clip)

    def reuse() -> Any:
        use_settings(model, compute_budget=share, scene_cut=1.0)
        return model(clip)

    report = reuse().reuse
    result = {
        "name": f"clip of {FRAMES} frames, {share:.0%} computed",
        "computed_share": report.computed_share.item(),
        "multiply_add_ratio": (report.dense_multiply_adds / report.multiply_adds).item(),
        **compare_times(f"clip, {share:.0%}", dense, reuse, rounds),
    }
    result["realised"] = result["wall_clock_ratio"] / result["multiply_add_ratio"]
    patches = model.vit.embeddings.patch_embeddings(clip[0])[None]
    cache = model(clip[:, :1]).past_key_values

    def plan() -> Any:
        return Planner(model.config.temporal_reuse, (14, 14)).plan(patches[:, 1:], cache.streams)

    result["planner_seconds"] = statistics.median(seconds(plan) for _ in range(10))
    result["planner_share_of_dense"] = result["planner_seconds"] / result["dense_seconds"]
    return result


@torch.no_grad()
def _stream(model: Any, share: float, rounds: int) -> dict[str, Any]:
    """Causal mode, one frame at a time, against the dense model one frame at a time."""
    clip = changing_clip(share, frames=9)
    reports: list[Any] = []

    def frames(**settings: Any) -> None:
        cache = None
        for frame in range(1, clip.shape[1]):
            use_settings(model, **settings)
            output = model(clip[:, frame : frame + 1], past_key_values=cache or start)
            cache = output.past_key_values
            reports.append(output.reuse)

    use_settings(model, mode="causal", compute_budget=share, scene_cut=1.0)
    first = model(clip[:, :1]).past_key_values
    start = first

    def dense() -> None:
        use_settings(model, mode="off")
        for frame in range(1, clip.shape[1]):
            model(clip[:, frame : frame + 1])

    def reuse() -> None:
        frames(mode="causal", compute_budget=share, scene_cut=1.0)

    timing = compare_times(f"stream, {share:.0%}", dense, reuse, rounds)
    done = sum(report.multiply_adds.item() for report in reports)
    total = sum(report.dense_multiply_adds.item() for report in reports)
    computed = sum(report.computed_share.item() for report in reports) / len(reports)
    result = {
        "name": f"causal stream, frame by frame, {share:.0%} computed",
        "computed_share": computed,
        "multiply_add_ratio": total / done,
        **timing,
    }
    result["realised"] = result["wall_clock_ratio"] / result["multiply_add_ratio"]
    return result


@torch.no_grad()
def _moving(model: Any, rounds: int) -> dict[str, Any]:
    """A clip in which everything changes, at the default settings: what reuse costs where there is none."""
    clip = changing_clip(1.0)

    def dense() -> Any:
        use_settings(model, mode="off")
        return model(clip)

    def reuse() -> Any:
        use_settings(model)
        return model(clip)

    report = reuse().reuse
    return {
        "name": f"clip of {FRAMES} frames, everything changes, default settings",
        "computed_share": report.computed_share.item(),
        "multiply_add_ratio": (report.dense_multiply_adds / report.multiply_adds).item(),
        **compare_times("everything changes", dense, reuse, rounds),
    }
