"""The VideoMAE that ships with the package, whose classes need motion: accuracy, at the same multiply-adds."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from transformers import VideoMAEForVideoClassification

import hf_ttr
from hf_ttr.configuration import DEFAULT_WINDOW_THRESHOLD

from .clips import OURS, Arena, Clip, by_ratio
from .common import ROOT, markdown


RATIOS = (2.0, 3.0, 5.0)
CLIPS = 360
SEED = 1
"""Not the seed of the clips that the model was accepted on."""


@torch.no_grad()
def run(quick: bool = False) -> dict[str, Any]:
    """Runs the suite on generated clips; `quick` takes a few."""
    sys.path.insert(0, str(ROOT / "scripts"))
    from make_motion_assets import LABELS, held_out_clip

    directory = ROOT / "hf_ttr" / "assets" / "videomae-demo"
    reuse: Any = hf_ttr.TemporalReuseVideoMAEForVideoClassification.from_pretrained(directory).eval()
    model = VideoMAEForVideoClassification(reuse.config).eval()
    model.load_state_dict(reuse.state_dict())
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory)
    clips = []
    with tempfile.TemporaryDirectory() as folder:
        for number in track(range(18 if quick else CLIPS), description="clips"):
            frames, label = held_out_clip(SEED, number, Path(folder))
            clips.append(Clip(str(number), processor(frames, return_tensors="pt").pixel_values[0], label))
    arena = Arena(model, clips)
    rows = arena.rows(RATIOS[1:2] if quick else RATIOS, OURS)
    arena.reuse.config.temporal_reuse = hf_ttr.TemporalReuseConfig()
    costs = arena.planned({}, DEFAULT_WINDOW_THRESHOLD)
    outputs = [arena.reuse(clip.pixels[None], use_cache=False).logits for clip in clips]
    found = (torch.cat(outputs), arena.dense_cost * len(costs) / sum(costs), DEFAULT_WINDOW_THRESHOLD)
    return {
        "suite": "motion",
        "model": directory.name,
        "labels": list(LABELS),
        "clips": len(clips),
        "default": arena.row("default settings", 0.0, found),
        "rows": rows,
    }


def table(result: dict[str, Any]) -> list[str]:
    """Markdown tables of a result."""
    rows, default = result["rows"], result["default"]
    dense = rows[0]
    lines = [
        f"{result['clips']} generated clips that the model has not seen. Dense accuracy {dense['accuracy']:.1%}; with "
        f"reuse at threshold {default['threshold']:g} {default['accuracy']:.1%}, {default['ratio']:.1f} times fewer "
        f"multiply-adds in the encoder, agreement {default['agreement']:.3f}.",
        "",
        "Accuracy (KL to the dense model):",
        "",
        *by_ratio(rows, lambda row: f"{row['accuracy']:.1%} ({row['kl']:.3f})"),
        "Accuracy of each class at 3x:",
        "",
    ]
    chosen = [dense, *(row for row in rows if row["setting"] == 3.0)]
    lines += markdown(
        ("", *result["labels"]),
        ((row["method"], *(f"{value:.0%}" for value in row["accuracy_per_class"])) for row in chosen),
    )
    return lines
