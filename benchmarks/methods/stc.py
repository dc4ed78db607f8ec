"""
STC-Cacher (CVPR 2026): reference frames, and between them the tokens whose keys turned away most.

Written anew from a description of the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.nn.functional import cosine_similarity

from .base import StreamMethod
from .frames import FrameModel, attend, finished


@dataclass
class LayerReference:
    """What a layer keeps of the reference frame, each `(tokens, size)`: keys, values, and what its two parts added."""

    keys: torch.Tensor
    values: torch.Tensor
    attended: torch.Tensor
    fed_forward: torch.Tensor


class SelectiveCaching(StreamMethod):
    """
    Every other frame is computed whole and kept as the reference.

    In the frames between, every layer computes the keys of all tokens; of those that are least like the keys of the
    reference (cosine) it computes the rest too, and takes over the others from the reference.

    The encoders of the paper have no CLS token. Where there is one it is always computed: its embedding never changes,
    so its key would always be like the reference, and the logits would be held.
    """

    title = "STC-Cacher"
    paper = "STC, CVPR 2026"
    knob = "share of the patches computed between reference frames"
    sweep = (0.75, 0.5, 0.35, 0.25, 0.15, 0.08, 0.03)
    interval: ClassVar[int] = 2
    """Frames from a reference frame to the next."""

    def __init__(self, model: Any, setting: float = 0.25) -> None:
        super().__init__(model, setting)
        self.parts = FrameModel(model)
        patches = self.parts.tokens - 1
        self.count = min(max(round(setting * patches), 1), patches)
        self.reset()

    def reset(self) -> None:
        """The next frame is a reference frame."""
        self.frame = 0
        self.references: list[LayerReference] = []
        self.last: Any = None

    def advance(self, frame: torch.Tensor) -> torch.Tensor:
        """A reference frame, or one that leans on it."""
        parts, cost = self.parts, self.parts.cost
        states = parts.embed(frame)[0]
        layer_pairs = parts.tokens * cost.pair
        if self.frame % self.interval == 0:
            self.references.clear()
            for layer in parts.layers[:-1]:
                states, reference = reference_layer(layer, states)
                self.references.append(reference)
            cls, *self.last = last_layer(parts.layers[-1], states)
            rows, key_value = parts.tokens, parts.tokens * cost.key_value
        else:
            for layer, reference in zip(parts.layers[:-1], self.references):
                states = dependent_layer(layer, states, reference, self.count)
            cls, *_ = last_layer(parts.layers[-1], states, self.last, self.count)
            rows = self.count + 1
            key_value = (parts.tokens + rows) * cost.key_value // 2
        self.multiply_adds += parts.outside + cost.layers * key_value
        self.multiply_adds += ((cost.layers - 1) * rows + 1) * (cost.row + layer_pairs)
        self.frame += 1
        return parts.logits(cls[None])


class RareReferences(SelectiveCaching):
    """The same with a reference frame in eight, which can save more than half."""

    title = "STC-Cacher, a reference in 8 frames"
    interval = 8


def reference_layer(layer: Any, states: torch.Tensor) -> tuple[torch.Tensor, LayerReference]:
    """A layer on all tokens `(tokens, size)`, and what it keeps."""
    attention, normed = layer.attention, layer.layernorm_before(states)
    keys, values = attention.k_proj(normed), attention.v_proj(normed)
    attended = attention.o_proj(attend(attention.q_proj(normed), keys, values, attention))
    states = states + attended
    fed_forward = layer.mlp(layer.layernorm_after(states))
    return states + fed_forward, LayerReference(keys, values, attended, fed_forward)


def dependent_layer(layer: Any, states: torch.Tensor, reference: LayerReference, count: int) -> torch.Tensor:
    """A layer on `count` of the patches and CLS; what it adds to the others is the reference's."""
    attention, normed = layer.attention, layer.layernorm_before(states)
    keys = attention.k_proj(normed)
    index = turned_away(keys, reference.keys, count)
    rows = normed[index]
    values = reference.values.index_copy(0, index, attention.v_proj(rows))
    attended = attention.o_proj(attend(attention.q_proj(rows), keys, values, attention))
    states = states + reference.attended.index_copy(0, index, attended)
    fed_forward = layer.mlp(layer.layernorm_after(states[index]))
    return states + reference.fed_forward.index_copy(0, index, fed_forward)


def last_layer(
    layer: Any, states: torch.Tensor, reference: Sequence[torch.Tensor] | None = None, count: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    The last layer, of which CLS alone is computed.

    Args:
        layer: the layer.
        states (`torch.Tensor` of shape `(tokens, size)`): of all tokens.
        reference (`Sequence[torch.Tensor]`, *optional*): keys and values of the reference frame, unless this is one.
        count (`int`): patches whose values are computed otherwise.

    Returns:
        CLS `(1, size)`, and keys and values `(tokens, size)`.
    """
    attention, normed = layer.attention, layer.layernorm_before(states)
    keys = attention.k_proj(normed)
    if reference is None:
        values = attention.v_proj(normed)
    else:
        index = turned_away(keys, reference[0], count)
        values = reference[1].index_copy(0, index, attention.v_proj(normed[index]))
    read = attend(attention.q_proj(normed[:1]), keys, values, attention)
    return finished(layer, states[:1], read), keys, values


def turned_away(keys: torch.Tensor, reference: torch.Tensor, count: int) -> torch.Tensor:
    """CLS, and the `count` patches whose keys `(tokens, size)` are least like those of the reference."""
    likeness = cosine_similarity(keys, reference, dim=-1)
    likeness[0] = -torch.inf
    return likeness.topk(count + 1, largest=False, sorted=False).indices
