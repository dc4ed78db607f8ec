"""
Eventful Transformers (Dutson, Li and Gupta, ICCV 2023), and the gate of spatio-temporal gated transformers in them.

Written anew from a description of the method. Frames come one by one; in every layer gates let through the tokens that
changed most, and buffers hold what was computed of the others.

As published, CLS competes with the other tokens. It often loses, as it changes little, and with it the logits: what
they are read from is stale. So there is each variant with CLS always let through as well, which is one of the count.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from .base import StreamMethod
from .buffers import Buffer
from .frames import FrameModel, attend, split_heads


class TokenGate:
    """
    Lets through as many tokens as it is told: those that differ most from their reference.

    The reference of a token is its value when it was last let through, so that a slow drift adds up.

    Args:
        count (`int`): tokens to let through.

    Attributes:
        reference (`torch.Tensor` of shape `(tokens, size)`, *optional*): there from the first frame on.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.reference: Any = None

    def choose(self, tokens: torch.Tensor) -> torch.Tensor | None:
        """Which of the tokens `(tokens, size)` to let through; `None` for all of them, in the first frame."""
        if self.reference is None:
            return None
        return self.error(tokens).topk(self.count, sorted=False).indices

    def error(self, tokens: torch.Tensor) -> torch.Tensor:
        """How far each token is from its reference, `(tokens,)`."""
        return (tokens - self.reference).norm(dim=-1)

    def remember(self, tokens: torch.Tensor, index: torch.Tensor | None) -> None:
        """Takes the tokens that are let through as their new reference."""
        if self.reference is None or index is None:
            self.reference = tokens.clone()
        else:
            self.reference.index_copy_(0, index, tokens[index])

    def select(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The tokens that are let through, and which they are."""
        index = self.choose(tokens)
        self.remember(tokens, index)
        return (tokens, None) if index is None else (tokens[index], index)


class PreviousFrameGate(TokenGate):
    """The gate of spatio-temporal gated transformers: the reference is the frame before, whatever was let through."""

    def remember(self, tokens: torch.Tensor, index: torch.Tensor | None) -> None:
        """Takes all tokens as the new reference."""
        self.reference = tokens.clone()


class ClsGate(TokenGate):
    """Lets CLS through in any case, and then what changed most."""

    def error(self, tokens: torch.Tensor) -> torch.Tensor:
        """Infinite for CLS."""
        error = super().error(tokens)
        error[0] = torch.inf
        return error


class ClsPreviousFrameGate(ClsGate, PreviousFrameGate):
    """The same with references of the frame before."""


class TokenwiseBlock:
    """
    A layer whose token-wise operations run on the tokens that the gates let through; attention is dense.

    A gate stands before queries, keys and values, one before the output projection, and one before the MLP, each after
    the layer norm and with a buffer behind; the residual stream stays dense.

    Args:
        layer: the layer of a ViT.
        count (`int`): tokens that every gate lets through.
        gate (`type`): the kind of gates.
    """

    def __init__(self, layer: Any, count: int, gate: type[TokenGate]) -> None:
        self.layer = layer
        self.gates = [gate(count) for _ in range(3)]
        self.buffers = [Buffer() for _ in range(5)]

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """The states `(tokens, size)` of the next frame after the layer."""
        layer, attention = self.layer, self.layer.attention
        first, second, third = self.gates
        rows, index = first.select(layer.layernorm_before(states))
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        queries, keys, values = (
            buffer.update(projection(rows), index) for projection, buffer in zip(projections, self.buffers)
        )
        rows, index = second.select(self.attend(queries, keys, values, index))
        states = states + self.buffers[3].update(attention.o_proj(rows), index)
        rows, index = third.select(layer.layernorm_after(states))
        return states + self.buffers[4].update(layer.mlp(rows), index)

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, changed: torch.Tensor | None
    ) -> torch.Tensor:
        """What all tokens read from all tokens, `(tokens, size)`."""
        return attend(queries, keys, values, self.layer.attention)

    @staticmethod
    def pairs(tokens: int, count: int) -> int:
        """Pairs of a query and a key that a frame after the first costs."""
        return tokens * tokens


class DeltaBlock(TokenwiseBlock):
    """
    The same with attention kept up to date instead of computed anew.

    Of the product of queries and keys only the rows and the columns of changed tokens are computed. The product of
    probabilities and values is corrected by what the changed columns and values make of it, of the tokens whose values
    changed most since they were last let through (a gate of its own; the probabilities follow the same choice).

    Attributes:
        values_gate (`TokenGate`): chooses the tokens by which the second product is corrected.
    """

    def __init__(self, layer: Any, count: int, gate: type[TokenGate]) -> None:
        super().__init__(layer, count, gate)
        self.values_gate = gate(count)
        self.scores = self.probabilities = self.read = torch.empty(0)

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, changed: torch.Tensor | None
    ) -> torch.Tensor:
        """What all tokens read from all tokens, `(tokens, size)`."""
        attention = self.layer.attention
        query, key = split_heads(queries * attention.scaling, attention)[0], split_heads(keys, attention)[0]
        if changed is None:
            self.scores = query @ key.mT
        else:
            self.scores.index_copy_(1, changed, query[:, changed] @ key.mT)
            self.scores.index_copy_(2, changed, query @ key[:, changed].mT)
        probabilities = self.scores.softmax(-1)
        index, reference = self.values_gate.choose(values), self.values_gate.reference
        if index is None or reference is None:
            self.probabilities, self.read = probabilities, probabilities @ split_heads(values, attention)[0]
        else:
            old, new = (split_heads(rows[index], attention)[0] for rows in (reference, values))
            columns = probabilities[:, :, index]
            shift = columns - self.probabilities[:, :, index]
            self.read = torch.baddbmm(torch.baddbmm(self.read, columns, new - old), shift, old)
            self.probabilities.index_copy_(2, index, columns)
        self.values_gate.remember(values, index)
        return self.read.transpose(0, 1).flatten(1)

    @staticmethod
    def pairs(tokens: int, count: int) -> int:
        """Rows and columns of the first product, and two terms of the second."""
        return 2 * tokens * count


class EventfulTokenwise(StreamMethod):
    """The token-wise operations on changed tokens, dense attention."""

    title = "Eventful, token-wise"
    paper = "Dutson et al., Eventful Transformers, ICCV 2023"
    knob = "share of the tokens let through"
    sweep = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05, 0.02)
    block: ClassVar[type[TokenwiseBlock]] = TokenwiseBlock
    gate: ClassVar[type[TokenGate]] = TokenGate

    def __init__(self, model: Any, setting: float = 0.25) -> None:
        super().__init__(model, setting)
        self.parts = FrameModel(model)
        self.count = min(max(round(setting * self.parts.tokens), 1), self.parts.tokens)
        self.reset()

    def reset(self) -> None:
        """Empties gates and buffers."""
        self.blocks = [self.block(layer, self.count, self.gate) for layer in self.parts.layers]
        self.is_first = True

    def advance(self, frame: torch.Tensor) -> torch.Tensor:
        """Everything in the first frame, then what changed."""
        parts = self.parts
        states = parts.embed(frame)[0]
        for block in self.blocks:
            states = block(states)
        rows = parts.tokens if self.is_first else self.count
        pairs = parts.tokens**2 if self.is_first else self.block.pairs(parts.tokens, self.count)
        layer = rows * (parts.cost.key_value + parts.cost.row) + pairs * parts.cost.pair
        self.multiply_adds += parts.outside + parts.cost.layers * layer
        self.is_first = False
        return parts.logits(states[None])


class EventfulFull(EventfulTokenwise):
    """Attention is kept up to date as well."""

    title = "Eventful, full"
    block = DeltaBlock


class GatedByPreviousFrame(EventfulTokenwise):
    """The token-wise variant with references of the frame before."""

    title = "STGT gate"
    paper = "Li et al., Spatio-temporal gated transformers, 2021; as in Dutson et al. 2023"
    gate = PreviousFrameGate


class ClsEventfulTokenwise(EventfulTokenwise):
    """The token-wise variant that always computes CLS."""

    title = "Eventful, token-wise, CLS always"
    gate = ClsGate


class ClsEventfulFull(EventfulFull):
    """The full variant that always computes CLS."""

    title = "Eventful, full, CLS always"
    gate = ClsGate


class ClsGatedByPreviousFrame(GatedByPreviousFrame):
    """References of the frame before, and CLS is always computed."""

    title = "STGT gate, CLS always"
    gate = ClsPreviousFrameGate
