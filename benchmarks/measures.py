"""What is measured of a method on clips, against the dense model on the same clips."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .common import kl_divergence
from .methods.base import Method


@dataclass
class Clip:
    """A clip, `(frames, channels, height, width)`, its name, and its class where it is known."""

    name: str
    pixels: torch.Tensor
    label: int | None = None


@dataclass
class Reference:
    """
    The dense model on some clips, run once for all methods.

    Attributes:
        clips: the clips.
        logits: of each clip, as the methods return them.
        multiply_adds, seconds: of each clip.
    """

    clips: Sequence[Clip]
    logits: list[torch.Tensor] = field(default_factory=list)
    multiply_adds: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @classmethod
    @torch.no_grad()
    def of(cls, dense: Method, clips: Sequence[Clip]) -> Reference:
        """Runs the dense model; a first run of one clip warms up."""
        reference = cls(clips)
        dense.clip(clips[0].pixels)
        for clip in clips:
            logits, seconds = timed(dense, clip.pixels)
            reference.logits.append(logits)
            reference.seconds.append(seconds)
            reference.multiply_adds.append(dense.multiply_adds)
        return reference


@torch.no_grad()
def measure(method: Method, reference: Reference) -> dict[str, Any]:
    """
    One method on all clips.

    Returns:
        `share` (of the dense multiply-adds) and, each a mean over the clips: `kl` per frame, `clip_kl` of the mean
        logits, `agreement` and `clip_agreement` of the top class, `flicker` and `dense_flicker` (share of the frames
        whose top class is not that of the frame before); `seconds` and `dense_seconds` of processor time of all clips;
        with more than one clip the `worst` one and its KL; with labels `accuracy` and `dense_accuracy` of the clips.
    """
    rows, worst = [], ("", -1.0)
    hits: list[tuple[bool, bool]] = []
    for clip, expected, multiply_adds in zip(reference.clips, reference.logits, reference.multiply_adds):
        logits, seconds = timed(method, clip.pixels)
        row = compared(expected, logits)
        row |= {"share": method.multiply_adds / multiply_adds, "seconds": seconds}
        rows.append(row)
        worst = max(worst, (clip.name, row["kl"]), key=lambda pair: pair[1])
        if clip.label is not None:
            hits.append((int(logits.mean(0).argmax()) == clip.label, int(expected.mean(0).argmax()) == clip.label))
    result: dict[str, Any] = {
        "frames": sum(len(logits) for logits in reference.logits),
        **{name: sum(row[name] for row in rows) / len(rows) for name in rows[0] if name != "seconds"},
        "seconds": sum(row["seconds"] for row in rows),
        "dense_seconds": sum(reference.seconds),
    }
    if len(rows) > 1:
        result |= {"clips": len(rows), "worst": worst[0], "worst_kl": worst[1]}
    if hits:
        result["accuracy"], result["dense_accuracy"] = (sum(side) / len(hits) for side in zip(*hits))
    return result


def compared(expected: torch.Tensor, logits: torch.Tensor) -> dict[str, float]:
    """Divergence, agreement and flicker of the logits of one clip, `(frames, labels)`, against the dense ones."""
    return {
        "kl": kl_divergence(expected, logits).mean().item(),
        "clip_kl": kl_divergence(expected.mean(0), logits.mean(0)).item(),
        "agreement": (expected.argmax(-1) == logits.argmax(-1)).double().mean().item(),
        "clip_agreement": float(expected.mean(0).argmax() == logits.mean(0).argmax()),
        "flicker": flicker(logits),
        "dense_flicker": flicker(expected),
    }


def flicker(logits: torch.Tensor) -> float:
    """Share of the frames, but for the first, whose top class is not that of the frame before."""
    top = logits.argmax(-1)
    return (top[1:] != top[:-1]).double().mean().item() if len(top) > 1 else 0.0


def timed(method: Method, pixels: torch.Tensor) -> tuple[torch.Tensor, float]:
    """
    Logits of a clip, and the processor time of the run: with one thread it is the wall-clock of an idle machine,
    whatever else runs meanwhile.
    """
    start = time.process_time()
    logits = method.clip(pixels)
    return logits, time.process_time() - start
