"""
RGTP: rollout-guided token pruning (ICIP 2025), without the detections that it begins from.

Written anew after what its code does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cosine_similarity, pad, unfold

from .base import StreamMethod
from .buffers import Buffer
from .frames import FrameModel, attend, split_heads
from .layers import LayerParts


INTERVAL = 8
"""Frames from a full one to the next, as published."""


class RolloutPruning(StreamMethod):
    """
    Every eighth frame is computed whole, and its attention says which patches matter in those that follow.

    Importance is rolled out: attention of each layer (root of the mean square over heads), half of it and half of the
    identity, multiplied from the last layer to the first, and read from CLS; the paper reads it from the boxes that a
    detector found. In the frames between, the map moves with the picture: each patch takes the importance of the one
    that it is most like (cosine of the embeddings, without positions) among nine in the frame before. Behind the first
    layer a share of the patches of most importance goes on. What is dropped keeps, as in the paper, the features of
    the last full frame: the keys and values of the last layer, which CLS reads all of.
    """

    title = "RGTP, without boxes"
    paper = "after Rollout-guided token pruning, ICIP 2025"
    knob = "share of the patches kept between full frames"
    sweep = (0.75, 0.5, 0.35, 0.25, 0.15, 0.08, 0.03)

    def __init__(self, model: Any, setting: float = 0.25) -> None:
        super().__init__(model, setting)
        self.parts = FrameModel(model)
        self.layers = [LayerParts.of(layer) for layer in self.parts.layers]
        self.positions = model.vit.embeddings.position_embeddings[0, 1:]
        grid = model.vit.embeddings.patch_embeddings
        self.grid: tuple[int, int] = tuple(
            side // patch for side, patch in zip(grid.image_size, grid.patch_size, strict=True)
        )
        patches = self.parts.tokens - 1
        self.count = min(max(round(setting * patches), 1), patches)
        self.reset()

    def reset(self) -> None:
        """The next frame is a full one."""
        self.frame = 0
        self.importance = self.patches = torch.empty(0)
        self.keys, self.values = Buffer(), Buffer()

    def advance(self, frame: torch.Tensor) -> torch.Tensor:
        """A full frame, or one that follows it."""
        parts, cost = self.parts, self.parts.cost
        states = parts.embed(frame)[0]
        patches, tokens = states[1:] - self.positions, parts.tokens
        index = None
        if self.frame % INTERVAL == 0:
            fused = []
            for layer in self.layers[:-1]:
                states, probabilities = attended(layer, states)
                fused.append(probabilities)
            self.multiply_adds += parts.multiply_adds(tokens) + (cost.layers - 1) * tokens**2
        else:
            self.importance = moved(self.importance, self.patches, patches, self.grid)
            states = attended(self.layers[0], states)[0]
            kept = 1 + self.importance.topk(self.count).indices
            index = torch.cat([kept.new_zeros(1), kept])
            states = states[index]
            for layer in self.layers[1:-1]:
                states = attended(layer, states)[0]
            rows, between = len(states), cost.layers - 2
            self.multiply_adds += parts.outside + cost.layer(tokens, tokens**2) + between * cost.layer(rows, rows**2)
            self.multiply_adds += parts.last_layer(rows, tokens)
        layer = self.layers[-1]
        normed = layer.before(states)
        keys = self.keys.update(layer.key(normed), index)
        values = self.values.update(layer.value(normed), index)
        query = layer.query(normed[:1])
        if index is None:
            query_heads, key, value = (split_heads(part, layer) for part in (query, keys, values))
            weights = (query_heads @ key.mT * layer.scaling).softmax(-1)
            read = (weights @ value).transpose(0, 1).flatten(1)
            self.importance = rolled_out(root_mean_square(weights), fused)[1:]
        else:
            read = attend(query, keys, values, layer)
        self.patches = patches
        self.frame += 1
        return parts.logits(layer.finished(states[:1], read)[None])


def attended(layer: LayerParts, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The states `(tokens, size)` after a layer, and its attention `(tokens, tokens)`, heads fused."""
    normed = layer.before(states)
    query, key, value = (split_heads(part(normed), layer) for part in (layer.query, layer.key, layer.value))
    weights = (query @ key.mT * layer.scaling).softmax(-1)
    return layer.finished(states, (weights @ value).transpose(0, 1).flatten(1)), root_mean_square(weights)


def root_mean_square(weights: torch.Tensor) -> torch.Tensor:
    """Attention `(heads, queries, tokens)` of all heads as that of one, `(queries, tokens)`."""
    return weights.square().mean(0).sqrt()


def rolled_out(first: torch.Tensor, fused: list[torch.Tensor]) -> torch.Tensor:
    """
    What CLS reads of each token of the input.

    Args:
        first (`torch.Tensor` of shape `(1, tokens)`): attention of CLS in the last layer.
        fused (`list[torch.Tensor]`): attention `(tokens, tokens)` of the layers before it, in order.

    Returns:
        `torch.Tensor` of shape `(tokens,)`.
    """

    def with_itself(weights: torch.Tensor) -> torch.Tensor:
        weights = (weights + torch.eye(*weights.shape, device=weights.device)) / 2
        return weights / weights.sum(-1, keepdim=True)

    read = with_itself(first)
    for weights in reversed(fused):
        read = read @ with_itself(weights)
    return read[0]


def moved(
    importance: torch.Tensor, before: torch.Tensor, patches: torch.Tensor, grid: tuple[int, int]
) -> torch.Tensor:
    """
    The importance of patches: that of the one of nine around each, in the frame before, which it is most like.

    Args:
        importance (`torch.Tensor` of shape `(patches,)`): in the frame before.
        before, patches (`torch.Tensor` of shape `(patches, size)`): embeddings of the frame before, and of this one.
        grid (`tuple[int, int]`): rows and columns of patches.
    """
    places = torch.arange(1, 1 + len(patches), device=patches.device, dtype=torch.float32).view(1, 1, *grid)
    near = unfold(pad(places, (1, 1, 1, 1)), 3)[0].T.long() - 1
    likeness = cosine_similarity(before[near.clamp(min=0)], patches[:, None], dim=-1).masked_fill(near < 0, -torch.inf)
    # In a still picture nothing moves.
    likeness[:, 4] += 1e-6
    return importance[near.gather(1, likeness.argmax(1, keepdim=True))[:, 0]]
