"""What a frame costs, and the parts of a ViT, for methods that put them together in another way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from hf_ttr.execution.flops import TransformerCost
from hf_ttr.models.register import stand_in_for


CHUNK = 64
"""Frames that run as one batch at most: enough to fill the machine, and memory stays bounded."""


@dataclass
class FrameCost:
    """
    Multiply-adds of an image classifier.

    Attributes:
        parts (`TransformerCost`): of the parts of its encoder.
        tokens (`int`): of a frame, those in front of the patches included.
        head (`int`): of the classifier, for a frame.
    """

    parts: TransformerCost
    tokens: int
    head: int

    @classmethod
    def of(cls, model: Any) -> FrameCost:
        """That of a classifier of transformers with position embeddings that are learnt, of a kind with reuse."""
        base, reuse = model.base_model, stand_in_for(type(model))
        assert reuse is not None
        encoder: Any = reuse.encoder_class  # type: ignore[attr-defined]
        patches = base.embeddings.patch_embeddings.num_patches
        tokens = base.embeddings.position_embeddings.shape[1]
        return cls(encoder.parts.cost(base, patches), tokens, model.classifier.weight.numel())

    def dense(self, frames: int) -> int:
        """Of some frames, of which every token is computed."""
        return self.parts.dense(frames, self.tokens) + frames * self.head


class FrameModel:
    """
    A `ViTForImageClassification`, taken apart.

    Args:
        model: the model.

    Attributes:
        layers: its layers.
        tokens (`int`): of a frame, CLS, the first of them, included.
        cost (`TransformerCost`): of the parts.
        head (`int`): multiply-adds of the classifier for a frame.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.layers = model.vit.layers
        cost = FrameCost.of(model)
        self.cost, self.tokens, self.head = cost.parts, cost.tokens, cost.head
        self.outside = self.cost.patch + self.head
        """Multiply-adds of a frame outside the layers."""

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Tokens `(frames, tokens, size)` of frames, positions added."""
        return self.model.vit.embeddings(pixels)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits `(frames, labels)` of the last states `(frames, tokens, size)`, CLS first."""
        return self.model.classifier(self.model.vit.layernorm(states[:, 0]))

    def through_layers(self, states: torch.Tensor) -> torch.Tensor:
        """The states `(frames, tokens, size)` after all layers, in which all given tokens of a frame meet."""
        for layer in self.layers:
            states = layer(states)
        return states


def split_heads(rows: torch.Tensor, attention: Any) -> torch.Tensor:
    """Rows `(rows, heads * size)` of queries, keys or values as `(1, heads, rows, size)`."""
    return rows.view(len(rows), -1, attention.head_dim).transpose(0, 1)[None]


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, attention: Any) -> torch.Tensor:
    """What rows of queries read from rows of keys and values, before the output projection; heads side by side."""
    query, key, value = (split_heads(part, attention) for part in (queries, keys, values))
    return scaled_dot_product_attention(query, key, value, scale=attention.scaling)[0].transpose(0, 1).flatten(1)
