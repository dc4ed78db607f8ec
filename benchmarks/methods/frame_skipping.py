"""Frame skipping: the dense model on some frames; what the others are is held or interpolated."""

from __future__ import annotations

from typing import Any

import torch

from hf_ttr.planning import frame_skipping

from .base import Method, StreamMethod
from .frames import whole_frames


SHARES = (0.75, 0.5, 0.35, 0.25, 0.18, 0.12, 0.06, 0.03)


class HeldFrames(StreamMethod):
    """Evenly spaced frames computed whole, the first among them; the last logits stand for the frames between."""

    title = "frame skipping, logits held"
    knob = "share of the frames computed"
    sweep = SHARES

    def __init__(self, model: Any, setting: float = 0.5) -> None:
        super().__init__(model, setting)
        self.reset()

    def reset(self) -> None:
        """Starts with a computed frame."""
        self.frame = 0
        self.held = torch.empty(0)

    def advance(self, frame: torch.Tensor) -> torch.Tensor:
        """Computes the frame if its turn has come: when the share of the frames so far reaches the next number."""
        if self.frame == 0 or int(self.frame * self.setting) > int((self.frame - 1) * self.setting):
            self.held, spent = whole_frames(self.model, frame)
            self.multiply_adds += spent
        self.frame += 1
        return self.held


class InterpolatedFrames(Method):
    """Evenly spaced frames computed whole, first and last among them; logits between lie on straight lines."""

    title = "frame skipping, logits interpolated"
    knob = "share of the frames computed"
    sweep = SHARES

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """The chosen frames in one batch, and the others from them."""
        chosen = evenly_spaced(len(pixels), self.setting).to(pixels.device)
        logits, spent = whole_frames(self.model, pixels[chosen])
        self.multiply_adds += spent
        return interpolated(logits, chosen, len(pixels))


def evenly_spaced(frames: int, share: float) -> torch.Tensor:
    """The frames to compute, at least the first and the last: `torch.LongTensor`, increasing."""
    return frame_skipping.evenly_spaced(frames, min(max(round(frames * share), 2), frames))


def interpolated(logits: torch.Tensor, chosen: torch.Tensor, frames: int) -> torch.Tensor:
    """
    Logits of all frames on straight lines between those of the chosen ones.

    Args:
        logits (`torch.Tensor` of shape `(chosen, labels)`): of the chosen frames.
        chosen (`torch.LongTensor` of shape `(chosen,)`): which they are, first and last included.
        frames (`int`): number of frames.

    Returns:
        `torch.Tensor` of shape `(frames, labels)`.
    """
    left, right, share = frame_skipping.places_between(chosen, frames)
    return torch.lerp(logits[left], logits[right], share.to(logits.dtype)[:, None])
