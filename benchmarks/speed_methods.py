"""Wall-clock of every method at one matched setting, and its latency from frame to frame. Random weights."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from functools import cache, lru_cache, partial
from typing import Any

import torch

from .common import demo_clip, random_vit
from .curves import percentile
from .fidelity import Methods, described, vit_methods
from .methods.base import Method, StreamMethod
from .runner import Cell, Part
from .table import Block, Table
from .timing import compare_times, realised


FRAMES, QUICK_FRAMES = 16, 4
STREAM_FRAMES, QUICK_STREAM_FRAMES = 64, 8
RATIO = 4.0
"""The saving of multiply-adds to which settings are matched: about a quarter of the tokens."""
PERCENTILES = (0.5, 0.9)
"""Of a stream's frames after the first, which every method computes whole: too few for the 99th."""


@lru_cache(maxsize=1)
def random_model(size: str) -> Any:
    """The last model of random weights that was asked for."""
    return random_vit(size)


@cache
@torch.no_grad()
def matched_setting(method: type[Method], dense: type[Method], size: str) -> float:
    """
    The setting of the sweep that saves most nearly `RATIO` times the multiply-adds, found on a tiny model; for models
    that are tiny themselves, which only show that it runs, the middle of the sweep.
    """
    if size == "tiny" or len(method.sweep) == 1:
        return method.sweep[len(method.sweep) // 2]
    model, pixels = random_vit("tiny"), demo_clip(FRAMES)
    whole = dense(model, dense.sweep[0]).measured(pixels).multiply_adds

    def distance(setting: float) -> float:
        return abs(math.log(whole / method(model, setting).measured(pixels).multiply_adds / RATIO))

    return min(method.sweep, key=distance)


def method_cells(quick: bool) -> Iterable[Cell]:
    """A cell for every method: a clip of 16 frames against the dense batch."""
    size, frames, rounds = ("tiny", QUICK_FRAMES, 1) if quick else ("base", FRAMES, 3)
    methods = vit_methods()
    settings: dict[str, Any] = {"size": size, "frames": frames, "rounds": rounds}
    return [Cell(f"clip | {key}", partial(_measure, methods, key, **settings), settings) for key in methods]


@torch.no_grad()
def _measure(methods: Methods, key: str, size: str, frames: int, rounds: int) -> dict[str, Any]:
    pixels = demo_clip(frames)
    setting = matched_setting(methods[key], methods["dense"], size)
    model = random_model(size)
    dense, method = methods["dense"](model, methods["dense"].sweep[0]), methods[key](model, setting)
    timing = compare_times(lambda: dense.clip(pixels), lambda: method.clip(pixels), rounds)
    ratio = dense.multiply_adds / method.multiply_adds
    return {"setting": setting, **realised({"multiply_add_ratio": ratio, **timing})}


def latency_cells(quick: bool) -> Iterable[Cell]:
    """A cell for every method that takes frames one by one."""
    size, frames = ("tiny", QUICK_STREAM_FRAMES) if quick else ("base", STREAM_FRAMES)
    methods = vit_methods()
    return [
        Cell(f"stream | {key}", partial(_latency, methods, key, size, frames), {"size": size, "frames": frames})
        for key, method in methods.items()
        if issubclass(method, StreamMethod)
    ]


@torch.no_grad()
def _latency(methods: Methods, key: str, size: str, frames: int) -> dict[str, Any]:
    """Milliseconds of each frame of a stream; a few frames of another stream warm up."""
    pixels = demo_clip(frames)
    setting = matched_setting(methods[key], methods["dense"], size)
    method: Any = methods[key](random_model(size), setting)
    method.clip(pixels[:3])
    method.reset()
    milliseconds = []
    for frame in pixels:
        start = time.perf_counter()
        method.step(frame[None])
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return {"setting": setting, "milliseconds": milliseconds}


def method_table(result: dict[str, Any]) -> Block:
    """The table of part `methods`."""
    rows = sorted(result["rows"], key=lambda row: -row["wall_clock_ratio"])
    methods = result["methods"]
    return [
        f"{result['model']}, the first {result['frames']} frames of the clip that ships, against the dense batch; of "
        f"each sweep the setting that, on a tiny model, saves most nearly {RATIO:g} times the multiply-adds; what it "
        "saves here stands beside it.",
        Table(
            ("method", "setting", "multiply-adds", "wall-clock", "realised"),
            (
                (
                    emphasised(methods, row["key"][1]),
                    f"{row['setting']:g}",
                    f"{row['multiply_add_ratio']:.2f}x fewer",
                    f"{row['wall_clock_ratio']:.2f}x faster",
                    f"{row['realised']:.0%}",
                )
                for row in rows
            ),
        ),
    ]


def latency_of(row: dict[str, Any]) -> dict[str, float]:
    """
    The milliseconds of the frames of a stream.

    Returns:
        `first`: of the first frame, which every method computes whole; of all others the percentiles `p50` and `p90`,
        and the `largest`; `rate`: frames per second, the first among them.
    """
    first, *others = row["milliseconds"]
    found = {f"p{100 * share:.0f}": percentile(others, share) for share in PERCENTILES}
    rate = 1e3 * len(row["milliseconds"]) / sum(row["milliseconds"])
    return {"first": first, **found, "largest": max(others), "rate": rate}


def latency_table(result: dict[str, Any]) -> Block:
    """The table of part `latency`."""
    methods = result["methods"]
    rows = sorted(((row, latency_of(row)) for row in result["rows"]), key=lambda pair: pair[1]["p50"])
    return [
        f"{result['model']}, {len(rows[0][0]['milliseconds'])} frames of the clip that ships, one at a time: "
        "milliseconds of the first frame, which every method computes whole, and the median, the 90th percentile and "
        "the largest of the others. Frames per second are those of all.",
        Table(
            ("method", "setting", "first frame", "p50", "p90", "largest", "frames per second"),
            (
                (
                    emphasised(methods, row["key"][1]),
                    f"{row['setting']:g}",
                    *(f"{value:.1f}" for value in found.values()),
                )
                for row, found in rows
            ),
        ),
    ]


def emphasised(methods: dict[str, Any], key: str) -> str:
    """The title of a method, bold if it is of this package."""
    method = methods.get(key, {"title": key, "ours": False})
    return f"**{method['title']}**" if method["ours"] else method["title"]


def _about(quick: bool) -> dict[str, Any]:
    name = "ViT-Tiny" if quick else "ViT-B/16"
    return {
        "model": f"{name}, random weights, float32",
        "frames": QUICK_FRAMES if quick else FRAMES,
        "methods": described(vit_methods()),
    }


METHOD_PART = Part("speed", "methods", method_cells, _about)
LATENCY_PART = Part("speed", "latency", latency_cells, _about)
