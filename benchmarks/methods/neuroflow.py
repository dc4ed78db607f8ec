"""
NeuroFlow, architecture C (2026): tokens that differ from a running mean meet only one another.

Written anew from a description of the method.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from .base import StreamMethod
from .buffers import Buffer
from .frames import FrameModel, attend, finished


RATE = 0.01
"""How fast the running mean follows, as published."""
FLOOR = 4
"""Patches that are active in any frame, as published."""


class SurpriseGate(StreamMethod):
    """
    Only surprising patches go through the encoder, and attend to nothing but one another.

    A patch is surprising if the cosine between its embedding (position added) and the running mean of it is below
    1 - threshold. The first frame is computed whole. In the paper a head that pools by attention reads the last states
    of all tokens, those of inactive ones from a cache. What comes nearest in a model with CLS: it is always active,
    and in the last layer, of which only CLS is computed, it reads all tokens, inactive ones from a cache.
    """

    title = "NeuroFlow-C"
    paper = "Schmitt, EMA-gated temporal sequence compression in vision transformers, 2026"
    knob = "surprise threshold"
    sweep = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1, 0.35)

    def __init__(self, model: Any, setting: float = 0.05) -> None:
        super().__init__(model, setting)
        self.parts = FrameModel(model)
        self.reset()

    def reset(self) -> None:
        """Drops the running mean and the cache."""
        self.mean: torch.Tensor | None = None
        self.keys, self.values = Buffer(), Buffer()

    def advance(self, frame: torch.Tensor) -> torch.Tensor:
        """The active tokens of the frame."""
        parts, cost = self.parts, self.parts.cost
        tokens = parts.embed(frame)
        index = self.active(tokens[0, 1:])
        if index is not None:
            index = torch.cat([index.new_zeros(1), 1 + index])
            tokens = tokens[:, index]
        rows, layers = tokens.shape[1], cost.layers - 1
        self.multiply_adds += parts.outside + layers * cost.layer(rows, rows**2) + parts.last_layer(rows, parts.tokens)
        for layer in parts.layers[:-1]:
            tokens = layer(tokens)
        return parts.logits(self.read(tokens[0], index)[None])

    def read(self, states: torch.Tensor, index: torch.Tensor | None) -> torch.Tensor:
        """CLS `(1, size)` after the last layer, from the states of the tokens `index` and the cache of the others."""
        layer = self.parts.layers[-1]
        attention, normed = layer.attention, layer.layernorm_before(states)
        keys = self.keys.update(attention.k_proj(normed), index)
        values = self.values.update(attention.v_proj(normed), index)
        return finished(layer, states[:1], attend(attention.q_proj(normed[:1]), keys, values, attention))

    def active(self, patches: torch.Tensor) -> torch.Tensor | None:
        """Which of the embeddings `(patches, size)` are surprising, `None` for all; the mean then follows them."""
        if self.mean is None:
            self.mean = patches.clone()
            return None
        surprise = 1 - cosine_similarity(patches, self.mean, dim=-1)
        self.mean.lerp_(patches, RATE)
        active = (surprise > self.setting).nonzero().squeeze(-1)
        return active if len(active) >= FLOOR else surprise.topk(min(FLOOR, len(surprise))).indices
