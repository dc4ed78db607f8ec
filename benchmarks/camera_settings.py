"""How much cameras may reuse, or skip: as much as leaves the answers of a trained model of their kind alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import VideoMAEForVideoClassification, ViTForImageClassification

import hf_ttr
from hf_ttr.answers.scores import divergence
from hf_ttr.streaming import open_source

from .common import real_data
from .fidelity import loaders


LARGEST_KL = 0.02
MODELS = {
    "vit": ("vit-tiny-tin200", ViTForImageClassification),
    "videomae": ("videomae-tiny-tin200", VideoMAEForVideoClassification),
}
THRESHOLDS = {
    "vit": (0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.56),
    # One answer stands for a window, in which an error of a part weighs less.
    "videomae": (0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.56, 0.8, 1.1),
}
SKIPS = {"vit": (2, 3, 4, 6, 8), "videomae": ()}
"""Of windows that lie apart nothing is known between them."""


def choose(kind: str, paths: Sequence[str], rate: int) -> dict[str, Any]:
    """
    The largest threshold, and the most frames skipped, at which a trained model stays near itself without reuse.

    Args:
        kind: of model, `"vit"` or `"videomae"`.
        paths: of what cameras show.
        rate: frames of it that are looked at in a second.

    Returns:
        `threshold` (0 where the least is too much), `skip` (1 where any is), and the mean KL at each of both; the
        first answer for each camera does not count, as it is computed whole in any case.
    """
    name, parent = MODELS[kind]
    processor, load = loaders(real_data() / "models" / name, parent)
    model = load()
    clips = [_shown(path, rate, processor()) for path in paths]
    with torch.inference_mode():
        dense = [_answers(model, clip) for clip in clips]
        kls: dict[str, dict[str, float]] = {"threshold": {}, "skip": {}}
        for threshold in THRESHOLDS[kind]:
            reuse = hf_ttr.with_temporal_reuse(model, {"mode": "causal", "threshold": threshold})
            kls["threshold"][f"{threshold:g}"] = mean_kl(dense, [_reused_answers(reuse, clip) for clip in clips])
        for skip in SKIPS[kind]:
            held = [logits[torch.arange(len(logits)) // skip * skip] for logits in dense]
            kls["skip"][f"{skip}"] = mean_kl(dense, held)
    near = {name: [float(value) for value, kl in values.items() if kl <= LARGEST_KL] for name, values in kls.items()}
    return {
        "threshold": max(near["threshold"], default=0.0),
        "skip": int(max(near["skip"], default=1)),
        "kls": kls,
    }


def mean_kl(dense: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> float:
    """Mean over the answers `(answers, labels)` of all cameras, but for the first of each."""
    kls = [divergence(expected[1:], got[1:], "softmax").flatten() for expected, got in zip(dense, found)]
    return float(torch.cat(kls).mean())


def _shown(path: str, rate: int, processor: Any) -> torch.Tensor:
    with open_source(path, max_fps=rate) as source:
        frames = [frame.pixels for frame in source.frames()]
    pixels: torch.Tensor = processor(frames, do_sample_frames=False, return_tensors="pt").pixel_values[0]
    return pixels


def _answers(model: Any, clip: torch.Tensor) -> torch.Tensor:
    window = getattr(model.config, "num_frames", None)
    if window is None:
        logits: torch.Tensor = model(clip).logits
        return logits
    return torch.cat([model(part[None]).logits for part in clip.split(window)])


def _reused_answers(model: Any, clip: torch.Tensor) -> torch.Tensor:
    """Those of a stream, whose windows do not overlap."""
    window = model.config.window_frames
    if window is None:
        logits: torch.Tensor = model(clip[None]).frame_logits[0]
        return logits
    found: list[torch.Tensor] = []
    options: dict[str, Any] = {}
    for part in clip.split(window):
        out = model(part[None], **options)
        options = {"past_key_values": out.past_key_values, "stride": window}
        found.append(out.logits)
    return torch.cat(found)
