"""Wall-clock of methods of reduction, alone and with reuse, on models large enough to pay for their decisions."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any

import torch
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

import hf_ttr

from .common import changing_clip, random_vit
from .runner import Cell, Part
from .speed import use_settings
from .speed_videomae import QUICK_SIZE
from .table import Block, Table
from .timing import compare_times, realised


SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "ViT-B/16, 16 frames": {
        "ToMe, r = 8": {"mode": "off", "reduction": {"method": "tome", "r": 8}},
        "ToMe, r = 13": {"mode": "off", "reduction": {"method": "tome", "r": 13}},
        "VidToMe, 60 % and 36 %": {
            "mode": "off",
            "reduction": {"method": "vidtome", "local_ratio": 0.6, "global_ratio": 0.36},
        },
        "vid-TLDR": {"mode": "off", "reduction": {"method": "vid_tldr"}},
        "pruning, 70 % kept": {"mode": "off", "reduction": {"method": "pruning", "keep": 0.7}},
        "reuse, 25 % computed": {"compute_budget": 0.25, "frame_skipping": False, "scene_cut": 1.0},
        "reuse, 25 % computed, and ToMe, r = 8": {
            "compute_budget": 0.25,
            "frame_skipping": False,
            "scene_cut": 1.0,
            "reduction": {"method": "tome", "r": 8},
        },
    },
    "VideoMAE-B, a clip of 16 frames": {
        "ToMe, r = 65": {"mode": "off", "reduction": {"method": "tome", "r": 65}},
        "vid-TLDR": {"mode": "off", "reduction": {"method": "vid_tldr"}},
        "pruning, 70 % kept": {"mode": "off", "reduction": {"method": "pruning", "keep": 0.7}},
        "run lengths": {"mode": "off", "reduction": {"method": "run_length"}},
        "reuse, 30 % computed": {"compute_budget": 0.3},
        "reuse, 30 % computed, and ToMe, r = 65": {"compute_budget": 0.3, "reduction": {"method": "tome", "r": 65}},
    },
}
# How many of the rows are merged is set for the sizes of the models; a small one has fewer layers, not fewer rows.
SHARE = 0.25


def cells(quick: bool) -> Iterable[Cell]:
    """What is timed (`quick`: on small models, to see that it runs)."""
    rounds = 1 if quick else 5

    @lru_cache(maxsize=1)
    def model(name: str) -> Any:
        torch.manual_seed(0)
        if name.startswith("ViT"):
            return hf_ttr.with_temporal_reuse(random_vit("tiny" if quick else "base"))
        size: dict[str, Any] = QUICK_SIZE if quick else {}
        config_class: Any = VideoMAEConfig
        return hf_ttr.with_temporal_reuse(VideoMAEForVideoClassification(config_class(num_labels=400, **size)).eval())

    def timed(name: str, settings: dict[str, Any]) -> dict[str, Any]:
        return _timed(model(name), settings, rounds)

    return [
        Cell(f"{name} | {what}", partial(timed, name, settings), {"quick": quick, "rounds": rounds, **settings})
        for name, methods in SETTINGS.items()
        for what, settings in methods.items()
    ]


@torch.no_grad()
def _timed(model: Any, settings: dict[str, Any], rounds: int) -> dict[str, Any]:
    """A clip in one call against the dense model."""
    clip = changing_clip(SHARE)

    def dense() -> Any:
        use_settings(model, mode="off")
        return model(clip)

    def reduced() -> Any:
        use_settings(model, **settings)
        return model(clip)

    report = reduced().reuse
    ratio = (report.dense_multiply_adds / report.multiply_adds).item()
    return realised({"multiply_add_ratio": ratio, **compare_times(dense, reduced, rounds)})


def table(result: dict[str, Any]) -> Block:
    """The table of a result."""
    return [
        "Models in float32 with random weights, on a clip in which a quarter of the patches change from frame to "
        "frame; each method against the dense model in turn, medians.",
        Table(
            ("model", "method", "multiply-adds", "wall-clock", "realised"),
            (
                (
                    *row["key"][:2],
                    f"{row['multiply_add_ratio']:.2f}x fewer",
                    f"{row['wall_clock_ratio']:.2f}x faster",
                    f"{row['realised']:.0%}",
                )
                for row in result["rows"]
            ),
        ),
    ]


PART = Part("speed", "speed_reduction", cells, lambda quick: {"model": "ViT-B/16 and VideoMAE-B, random weights"})
