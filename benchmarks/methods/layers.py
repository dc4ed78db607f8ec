"""The parts of a layer under one name each, for methods that run on frames and on clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass
class LayerParts:
    """
    A layer, taken apart.

    Attributes:
        before: the norm before attention.
        query, key, value, output: the projections.
        fed_forward: gives rows `(..., size)` after attention what the MLP adds.
        head_dim (`int`): numbers of a key in one head.
        scaling (`float`): factor of the scores.
    """

    before: Callable[[torch.Tensor], torch.Tensor]
    query: Callable[[torch.Tensor], torch.Tensor]
    key: Callable[[torch.Tensor], torch.Tensor]
    value: Callable[[torch.Tensor], torch.Tensor]
    output: Callable[[torch.Tensor], torch.Tensor]
    fed_forward: Callable[[torch.Tensor], torch.Tensor]
    head_dim: int
    scaling: float

    @classmethod
    def of(cls, layer: Any) -> LayerParts:
        """The parts of a layer of a ViT or a VideoMAE."""
        attention = layer.attention
        if hasattr(layer, "mlp"):

            def fed_forward(states: torch.Tensor) -> torch.Tensor:
                return states + layer.mlp(layer.layernorm_after(states))

            projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
            return cls(layer.layernorm_before, *projections, fed_forward, attention.head_dim, attention.scaling)

        def fed_forward_after(states: torch.Tensor) -> torch.Tensor:
            return layer.output(layer.intermediate(layer.layernorm_after(states)), states)

        own = attention.attention
        projections = (own.query, own.key, own.value, attention.output.dense)
        return cls(layer.layernorm_before, *projections, fed_forward_after, own.attention_head_size, own.scaling)

    def finished(self, states: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """Rows `(..., size)` after the layer, from those before it and what they read in attention."""
        return self.fed_forward(states + self.output(read))
