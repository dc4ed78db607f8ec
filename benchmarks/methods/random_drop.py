"""Random drop for models of frames: what any choice of tokens must beat."""

from __future__ import annotations

from typing import Any

import torch

from .base import Method
from .frames import CHUNK, FrameModel


class RandomDrop(Method):
    """Every frame keeps CLS and a random share of its patches, another in every frame; all frames in batches."""

    title = "random drop"
    knob = "share of the patches kept"
    sweep = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05, 0.02)

    def __init__(self, model: Any, setting: float = 0.25) -> None:
        super().__init__(model, setting)
        self.parts = FrameModel(model)
        patches = self.parts.tokens - 1
        self.count = min(max(round(setting * patches), 1), patches)

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """All frames; the choice is the same in every run."""
        parts, rows = self.parts, self.count + 1
        generator = torch.Generator().manual_seed(0)
        logits = []
        for part in pixels.split(CHUNK):
            order = torch.rand(len(part), parts.tokens - 1, generator=generator).argsort(1)
            kept = (1 + order[:, : self.count].sort(1).values).to(pixels.device)
            kept = torch.cat([torch.zeros_like(kept[:, :1]), kept], dim=1)
            tokens = parts.embed(part)
            tokens = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[-1]))
            logits.append(parts.logits(parts.through_layers(tokens)))
        self.multiply_adds += len(pixels) * parts.multiply_adds(rows)
        return torch.cat(logits)
