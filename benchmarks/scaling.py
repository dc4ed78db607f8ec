"""
How the gain scales with frames, resolution, model, streams and the share that is computed. Random weights.

Everywhere the streams have begun: the first frame, which is computed whole, is behind them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any

import torch

import hf_ttr

from .common import changing_clip, random_vit
from .runner import Cell, Part
from .table import Block, Table
from .timing import compare_times, realised


SHARE = 0.1
FRAMES = {"small": (8, 16, 32, 64), "tiny": (64, 128, 256, 512)}
RESOLUTIONS = (224, 448, 672, 896)
SIZES = ("tiny", "small", "base", "large")
STREAMS = (1, 4, 16, 64)
SHARES = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
AXES = {
    "frames": "frames of a clip",
    "resolution": "pixels of a side",
    "size": "model",
    "streams": "streams, one frame each",
    "share": "computed share",
}


def cells(axis: str, quick: bool) -> Iterable[Cell]:
    """The cells of an axis; `quick` takes the two smallest values, a tiny model and one round."""
    rounds = 1 if quick else 2
    jobs: list[tuple[str, str, dict[str, Any]]] = []
    if axis == "frames":
        jobs = [(size, f"{n}", {"frames": n}) for size, values in FRAMES.items() for n in values]
    elif axis == "resolution":
        jobs = [("small", f"{n}", {"image_size": n, "frames": 8}) for n in RESOLUTIONS]
    elif axis == "size":
        jobs = [(size, size, {}) for size in SIZES]
    elif axis == "streams":
        jobs = [("small", f"{n}", {"streams": n, "frames": 1, "mode": "causal"}) for n in STREAMS]
    else:
        jobs = [("small", f"{share:g}", {"share": share}) for share in SHARES]
    if quick:
        jobs = [("tiny", value, settings) for _, value, settings in jobs[:2]]
    return [
        Cell(
            f"{axis} | ViT-{size} | {value}",
            partial(measure, size, rounds=rounds, **settings),
            {"size": size, "rounds": rounds, **settings},
        )
        for size, value, settings in jobs
    ]


@lru_cache(maxsize=1)
def _models(size: str, image_size: int) -> tuple[Any, Any]:
    parent = random_vit(size, image_size)
    return parent, hf_ttr.with_temporal_reuse(parent)


@torch.no_grad()
def measure(
    size: str,
    rounds: int,
    frames: int = 16,
    image_size: int = 224,
    share: float = SHARE,
    streams: int = 1,
    mode: str = "bidirectional",
) -> dict[str, Any]:
    """The next frames of streams that have begun, with a share of the tokens computed, against the dense batch."""
    parent, model = _models(size, image_size)
    clips = torch.cat([changing_clip(min(share, 0.5), frames + 1, seed, image_size) for seed in range(streams)])
    coming = clips[:, 1:]
    settings: dict[str, Any] = {"threshold": 0.0} if share == 1 else {"compute_budget": share, "frame_skipping": False}
    model.config.temporal_reuse = hf_ttr.TemporalReuseConfig(mode=mode, scene_cut=1.0, **settings)
    start = model(clips[:, :1]).past_key_values

    def reuse(cache: Any) -> Any:
        return model(coming, past_key_values=cache)

    def begun() -> Any:
        return copy.deepcopy(start)

    report = reuse(begun()).reuse
    timing = compare_times(lambda: parent(coming.flatten(0, 1)), reuse, rounds, prepare=begun)
    ratio = report.dense_multiply_adds.sum().item() / report.multiply_adds.sum().item()
    computed = report.computed_tokens.sum().item() / report.total_tokens.sum().item()
    return realised({"computed_share": computed, "multiply_add_ratio": ratio, **timing})


def table(result: dict[str, Any]) -> Block:
    """The table of an axis."""
    axis = result["rows"][0]["key"][0]
    return [
        f"Random weights, {SHARE:.0%} computed." if axis != "share" else "Random weights, clips of 16 frames.",
        Table(
            ("model", AXES[axis], "computed", "multiply-adds", "wall-clock", "realised"),
            (
                (
                    row["key"][1],
                    row["key"][2],
                    f"{row['computed_share']:.1%}",
                    f"{row['multiply_add_ratio']:.2f}x fewer",
                    f"{row['wall_clock_ratio']:.2f}x faster",
                    f"{row['realised']:.0%}",
                )
                for row in result["rows"]
            ),
        ),
    ]


PARTS = tuple(
    Part("scaling", f"scaling_{axis}", partial(cells, axis), lambda quick: {"model": "random weights"})
    for axis in AXES
)
