"""Temporal token reuse of this package, for models of frames and of clips."""

from __future__ import annotations

from typing import Any

import torch

import hf_ttr

from .base import Method, StreamMethod


class Bidirectional(Method):
    """The whole clip in one call: what is reused is interpolated between what was computed before and after it."""

    title = "reuse, bidirectional"
    knob = "threshold"
    sweep = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7)
    mode = "bidirectional"

    def __init__(self, model: Any, setting: float = 0.1) -> None:
        super().__init__(model, setting)
        self.reuse: Any = hf_ttr.with_temporal_reuse(model, {"threshold": setting, "mode": self.mode})

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """All frames."""
        output = self.reuse(pixels[None], use_cache=False)
        self.multiply_adds += int(output.reuse.multiply_adds)
        return output.frame_logits[0]


class CausalClip(Bidirectional):
    """The whole clip in one call, of which no frame looks ahead: what `Causal` computes, in less time."""

    title = "reuse, causal"
    mode = "causal"


class Budgeted(Bidirectional):
    """The whole clip in one call with a share of the tokens to spend; frames are left out whole where that helps."""

    title = "reuse, within a budget"
    knob = "share of the tokens"
    sweep = (0.7, 0.5, 0.35, 0.25, 0.18, 0.125, 0.09, 0.06)

    def __init__(self, model: Any, setting: float = 0.25) -> None:
        super().__init__(model, setting)
        self.reuse = hf_ttr.with_temporal_reuse(model, {"compute_budget": setting, "mode": self.mode})


class LookAhead(Bidirectional):
    """A few frames in each call, bidirectional among them; the cache goes from call to call."""

    title = "reuse, look-ahead of 8 frames"
    frames = 8

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """All frames, a few at a time."""
        cache, logits = None, []
        for part in pixels.split(self.frames):
            output = self.reuse(part[None], past_key_values=cache)
            cache = output.past_key_values
            self.multiply_adds += int(output.reuse.multiply_adds)
            logits.append(output.frame_logits[0])
        return torch.cat(logits)


class Causal(StreamMethod):
    """Frame by frame: what is reused is what was computed last."""

    title = "reuse, causal"
    knob = "threshold"
    sweep = Bidirectional.sweep

    def __init__(self, model: Any, setting: float = 0.1) -> None:
        super().__init__(model, setting)
        self.reuse: Any = hf_ttr.with_temporal_reuse(model, {"threshold": setting, "mode": "causal"})
        self.reset()

    def reset(self) -> None:
        """Drops the cache."""
        self.cache = None

    def advance(self, frame: torch.Tensor) -> torch.Tensor:
        """The next frame, with the cache of those before."""
        output = self.reuse(frame[None], past_key_values=self.cache)
        self.cache = output.past_key_values
        self.multiply_adds += int(output.reuse.multiply_adds)
        return output.frame_logits[0]


class ClipReuse(Method):
    """Models of clips: a computed token stands for a run of times of its position."""

    title = "reuse"
    knob = "threshold"
    sweep = (0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0)
    mode = "bidirectional"

    def __init__(self, model: Any, setting: float = 0.4) -> None:
        super().__init__(model, setting)
        self.reuse: Any = hf_ttr.with_temporal_reuse(model, {"threshold": setting, "mode": self.mode})

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """The clip as one window."""
        output = self.reuse(pixels[None], use_cache=False)
        self.multiply_adds += int(output.reuse.multiply_adds)
        return output.logits


class CausalClipReuse(ClipReuse):
    """The same with the first token of a run, which knows nothing of what comes."""

    title = "reuse, causal"
    mode = "causal"
