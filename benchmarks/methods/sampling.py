"""
ATS: adaptive token sampling (Fayyaz et al., ECCV 2022).

Written anew after the paper and what its code does, without training.
"""

from __future__ import annotations

from typing import Any

import torch

from .base import Method
from .frames import FrameModel, attend, split_heads
from .layers import LayerParts


class AdaptiveSampling(Method):
    """
    From the layer at a quarter of the model on, each layer goes on with as many tokens as a frame needs.

    A token matters as much as CLS attends to it (sum over heads) times the norm of its values. Where these scores are
    summed up in rising order, so many evenly spaced points each choose the token whose share they fall in: a few large
    scores are hit again and again, so fewer tokens are chosen than there are points, another number in each frame.
    Queries, and what comes after them, are computed of those alone; they attend to all tokens that came in.
    """

    title = "ATS"
    paper = "Fayyaz et al., Adaptive token sampling, ECCV 2022, without training"
    knob = "points in each layer, over the number of patches"
    sweep = (8.0, 4.0, 2.0, 1.0, 0.7, 0.5, 0.3, 0.15)

    def __init__(self, model: Any, setting: float = 1.0) -> None:
        super().__init__(model, setting)
        self.parts = FrameModel(model)
        self.layers = [LayerParts.of(layer) for layer in self.parts.layers]
        self.start = len(self.layers) // 4
        self.points = max(round(setting * (self.parts.tokens - 1)), 1)

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """Frame by frame, as each has its own number of tokens."""
        return torch.cat([self.parts.logits(self.through_layers(frame)) for frame in pixels.split(1)])

    def through_layers(self, frame: torch.Tensor) -> torch.Tensor:
        """CLS `(1, 1, size)` of a frame `(1, channels, height, width)` behind the last layer."""
        parts = self.parts
        states = parts.embed(frame)[0]
        self.multiply_adds += parts.outside
        for number, layer in enumerate(self.layers):
            rows, is_last = len(states), number == len(self.layers) - 1
            normed = layer.before(states)
            keys, values = layer.key(normed), layer.value(normed)
            if is_last or number < self.start:
                count = 1 if is_last else rows
                states = layer.finished(states[:count], attend(layer.query(normed[:count]), keys, values, layer))
            else:
                query, key, value = (split_heads(part, layer) for part in (layer.query(normed[:1]), keys, values))
                weights = (query @ key.mT * layer.scaling).softmax(-1)
                significance = weights[:, 0, 1:].sum(0) * values[1:].norm(dim=-1)
                chosen = 1 + sampled(significance, self.points)
                read = attend(layer.query(normed[chosen]), keys, values, layer)
                read = torch.cat([(weights @ value).transpose(0, 1).flatten(1), read])
                states = layer.finished(torch.cat([states[:1], states[chosen]]), read)
            self.multiply_adds += parts.cost.layer_of_few(rows, len(states) * rows, len(states))
        return states[None]


def sampled(significance: torch.Tensor, points: int) -> torch.Tensor:
    """
    Inverse transform sampling at evenly spaced points.

    Args:
        significance (`torch.Tensor` of shape `(tokens,)`): scores.
        points (`int`): how many tokens at most.

    Returns:
        `torch.LongTensor` of shape `(chosen,)`, increasing: each token at most once.
    """
    scores, order = significance.sort()
    reached = scores.cumsum(0) / scores.sum()
    levels = (torch.arange(points, device=scores.device) + 0.5) / points
    chosen = torch.searchsorted(reached, levels).clamp(max=len(scores) - 1)
    return order[chosen.unique()].sort().values
