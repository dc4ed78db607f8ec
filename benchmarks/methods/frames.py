"""
What a frame costs, and the parts of a ViT, for methods that put them together in another way.

One rule holds for the last layer, in this package and in every method here: a ViT's head reads CLS alone, so the last
layer computes the keys and values that the method wants computed, and queries, output projection and MLP of CLS, in
all frames, those that a method computes whole included. Attention there is one query to all keys. The dense model is
what transformers runs, with a whole last layer; shares are over that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import ViTForImageClassification

from hf_ttr.execution.flops import TransformerCost
from hf_ttr.models.register import stand_in_for

from .layers import LayerParts


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
        """CLS `(frames, 1, size)` after all layers, in which all given tokens `(frames, tokens, size)` meet."""
        for layer in self.layers[:-1]:
            states = layer(states)
        layer = self.layers[-1]
        attention, normed = layer.attention, layer.layernorm_before(states)
        keys, values = attention.k_proj(normed), attention.v_proj(normed)
        return finished(layer, states[:, :1], attend(attention.q_proj(normed[:, :1]), keys, values, attention))

    def multiply_adds(self, rows: int) -> int:
        """Of a frame of which so many tokens go through all layers, as in `through_layers`."""
        return self.outside + (self.cost.layers - 1) * self.cost.layer(rows, rows**2) + self.last_layer(rows, rows)

    def last_layer(self, rows: int, keys: int) -> int:
        """Multiply-adds of the last layer: so many rows of keys and values computed, so many read by CLS."""
        return self.cost.layer_of_few(rows, keys, 1)


def whole_frames(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, int]:
    """
    Frames that a method computes whole.

    Args:
        model: the model; the last layer of a `ViTForImageClassification` is computed for CLS alone.
        pixels (`torch.Tensor` of shape `(frames, channels, height, width)`): the frames.

    Returns:
        Logits `(frames, labels)`, and multiply-adds.
    """
    if not isinstance(model, ViTForImageClassification):
        logits = [model(part).logits for part in pixels.split(CHUNK)]
        return torch.cat(logits), FrameCost.of(model).dense(len(pixels))
    parts = FrameModel(model)
    logits = [parts.logits(parts.through_layers(parts.embed(part))) for part in pixels.split(CHUNK)]
    return torch.cat(logits), len(pixels) * parts.multiply_adds(parts.tokens)


def split_heads(rows: torch.Tensor, attention: Any) -> torch.Tensor:
    """Rows `(..., rows, heads * size)` of queries, keys or values as `(..., heads, rows, size)`."""
    return rows.unflatten(-1, (-1, attention.head_dim)).transpose(-3, -2)


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, attention: Any) -> torch.Tensor:
    """
    What rows of queries read from rows of keys and values, before the output projection; heads side by side.

    Args:
        queries, keys, values (`torch.Tensor` of shape `(..., rows, heads * size)`): with or without frames in front.
    """
    query, key, value = (split_heads(part, attention) for part in (queries, keys, values))
    read = scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    return read.transpose(-3, -2).flatten(-2)


def finished(layer: Any, states: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
    """Rows `(..., rows, size)` after a layer, from those before it and what they read in attention."""
    return LayerParts.of(layer).finished(states, read)
