"""Wall-clock of reuse against the dense model, interleaved in one process. Random weights: nothing but speed."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any

import torch

import hf_ttr
from hf_ttr.planning.planner import Planner

from .common import VIT_SIZES, changing_clip, random_vit
from .runner import Cell, Part
from .table import Table
from .timing import compare_times, realised, seconds


FRAMES = 16
SHARES = (0.1, 0.25)


def cells(quick: bool) -> Iterable[Cell]:
    """What is timed on a ViT-B/16 (`quick`: on a tiny one, to see that it runs)."""
    size, rounds = ("tiny", 1) if quick else ("base", 7)

    @lru_cache(maxsize=1)
    def models() -> tuple[Any, Any]:
        parent = random_vit(size)
        return hf_ttr.with_temporal_reuse(parent), parent

    jobs: dict[str, Any] = {
        **{f"clip of {FRAMES} frames, {share:.0%} computed": partial(_clip, share) for share in SHARES},
        **{
            f"clip of {FRAMES} frames, {share:.0%} computed, with hf_ttr.optimize": partial(optimized, _clip, share)
            for share in SHARES
        },
        "causal stream, frame by frame, 25% computed": partial(_stream, 0.25),
        "causal stream, frame by frame, 25% computed, with hf_ttr.optimize": partial(optimized, _stream, 0.25),
        f"clip of {FRAMES} frames, everything changes, default settings": _moving,
    }
    overheads: dict[str, dict[str, Any]] = {
        "threshold 0: everything computed": {"threshold": 0},
        'mode "off"': {"mode": "off"},
    }

    def measure(name: str) -> dict[str, Any]:
        model, parent = models()
        values = _overhead(overheads[name], model, parent, rounds) if name in overheads else jobs[name](model, rounds)
        return {"name": name, **realised(values)}

    return [Cell(name, partial(measure, name), {"size": size, "rounds": rounds}) for name in (*jobs, *overheads)]


def use_settings(model: Any, **settings: Any) -> None:
    """Gives a model the given settings of reuse, and the defaults for the others."""
    model.config.temporal_reuse = hf_ttr.TemporalReuseConfig(**settings)


@torch.no_grad()
def _clip(share: float, model: Any, rounds: int) -> dict[str, Any]:
    """A clip in one call, at a given share of computed tokens."""
    clip = changing_clip(share)

    def dense() -> Any:
        use_settings(model, mode="off")
        return model(clip)

    def reuse() -> Any:
        use_settings(model, compute_budget=share, frame_skipping=False, scene_cut=1.0)
        return model(clip)

    report = reuse().reuse
    result = {
        "computed_share": report.computed_share.item(),
        "multiply_add_ratio": (report.dense_multiply_adds / report.multiply_adds).item(),
        **compare_times(dense, reuse, rounds),
    }
    tokens = model.vit.embeddings(clip[0])[None]
    positions = model.vit.embeddings.position_embeddings[:, 1:]
    cache = model(clip[:, :1]).past_key_values

    def plan() -> Any:
        planner = Planner(model.config.temporal_reuse, (14, 14), positions=positions)
        return planner.plan(tokens[:, 1:, 1:], cache.streams)

    result["planner_seconds"] = statistics.median(seconds(plan) for _ in range(10))
    result["planner_share_of_dense"] = result["planner_seconds"] / result["dense_seconds"]
    return result


@torch.no_grad()
def _stream(share: float, model: Any, rounds: int) -> dict[str, Any]:
    """Causal mode, one frame at a time, against the dense model one frame at a time."""
    clip = changing_clip(share, frames=9)
    settings = {"mode": "causal", "compute_budget": share, "scene_cut": 1.0}
    reports: list[Any] = []
    use_settings(model, **settings)
    first = model(clip[:, :1]).past_key_values

    def dense() -> None:
        use_settings(model, mode="off")
        for frame in clip[:, 1:].split(1, dim=1):
            model(frame)

    def reuse(cache: Any) -> None:
        use_settings(model, **settings)
        reports.clear()
        for frame in clip[:, 1:].split(1, dim=1):
            output = model(frame, past_key_values=cache)
            cache = output.past_key_values
            reports.append(output.reuse)

    timing = compare_times(dense, reuse, rounds, prepare=lambda: copy.deepcopy(first))
    done, total = (sum(report[name].item() for report in reports) for name in ("multiply_adds", "dense_multiply_adds"))
    return {
        "computed_share": statistics.mean(report.computed_share.item() for report in reports),
        "multiply_add_ratio": total / done,
        **timing,
    }


def optimized(job: Callable[..., dict[str, Any]], share: float, model: Any, rounds: int) -> dict[str, Any]:
    """The same with packed weights, which the dense model uses too where its rows are few enough."""
    hf_ttr.optimize(model, frozen=True)
    try:
        return job(share, model, rounds)
    finally:
        hf_ttr.optimize(model)


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
        "computed_share": report.computed_share.item(),
        "multiply_add_ratio": (report.dense_multiply_adds / report.multiply_adds).item(),
        **compare_times(dense, reuse, rounds),
    }


@torch.no_grad()
def _overhead(settings: dict[str, Any], model: Any, parent: Any, rounds: int) -> dict[str, Any]:
    """What settings under which everything is computed cost over transformers' own model, with the same weights."""
    clip = changing_clip(1.0)

    def reuse() -> Any:
        use_settings(model, **settings)
        return model(clip)

    report = reuse().reuse
    return {
        "computed_share": 1.0,
        "multiply_add_ratio": 1.0 if report is None else (report.dense_multiply_adds / report.multiply_adds).item(),
        **compare_times(lambda: parent(clip[0]), reuse, rounds),
    }


def speed_table(rows: list[dict[str, Any]]) -> Table:
    """The table of a part of speed."""
    return Table(
        ("what", "computed", "multiply-adds", "wall-clock", "realised", "planner / dense time"),
        (
            (
                row["name"],
                f"{row['computed_share']:.1%}",
                f"{row['multiply_add_ratio']:.2f}x fewer",
                f"{row['wall_clock_ratio']:.2f}x faster",
                f"{row['realised']:.0%}" if "realised" in row else "",
                f"{row['planner_share_of_dense']:.2%}" if "planner_share_of_dense" in row else "",
            )
            for row in rows
        ),
    )


def _about(quick: bool) -> dict[str, Any]:
    return {"model": f"ViT, hidden size {VIT_SIZES['tiny' if quick else 'base']['hidden_size']}, random weights"}


PART = Part("speed", "speed", cells, _about)
