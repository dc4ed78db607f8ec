"""The dense model of frames."""

from __future__ import annotations

from typing import Any

import torch

from .base import Method, StreamMethod
from .frames import CHUNK, FrameCost


class Dense(Method):
    """The dense model on all frames at once, in batches."""

    title = "dense"

    def __init__(self, model: Any, setting: float = 0.0) -> None:
        super().__init__(model, setting)
        self.cost = FrameCost.of(model)

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """All frames."""
        self.multiply_adds += self.cost.dense(len(pixels))
        return torch.cat([self.model(part).logits for part in pixels.split(CHUNK)])


class DenseStream(StreamMethod):
    """The dense model frame by frame, as a live stream asks for."""

    title = "dense, frame by frame"

    def __init__(self, model: Any, setting: float = 0.0) -> None:
        super().__init__(model, setting)
        self.cost = FrameCost.of(model)
        self.reset()

    def reset(self) -> None:
        """There is nothing to forget."""

    def advance(self, frame: torch.Tensor) -> torch.Tensor:
        """The frame on its own."""
        self.multiply_adds += self.cost.dense(1)
        return self.model(frame).logits
