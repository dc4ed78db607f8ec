"""
Eventful Transformers (Dutson, Li and Gupta, ICCV 2023), and the gate of spatio-temporal gated transformers in them.

Written anew from a description of the method. Frames come one by one; in every layer gates let through the tokens that
changed most, and buffers hold what was computed of the others.

As published, CLS competes with the other tokens. It often loses, as it changes little, and with it the logits: what
they are read from is stale. So there is each variant with CLS always let through as well, which is one of the count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from hf_ttr.execution.flops import TransformerCost

from .base import StreamMethod
from .buffers import Buffer
from .frames import FrameModel, attend, finished, split_heads


THRESHOLDS = (0.025, 0.035, 0.05, 0.07, 0.1, 0.15, 0.3, 0.6)
"""From almost dense to very sparse."""


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


class ThresholdGate(TokenGate):
    """
    Lets CLS through in any case, and every token that differs by more than a threshold from its reference.

    Args:
        threshold (`float`): share of the mean norm of the gate's tokens in the first frame.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__(0)
        self.threshold = threshold
        self.scale: Any = None

    def choose(self, tokens: torch.Tensor) -> torch.Tensor | None:
        """See `TokenGate.choose`; as many as there are."""
        if self.reference is None:
            self.scale = tokens.norm(dim=-1).mean()
            return None
        passes = self.error(tokens) > self.threshold * self.scale
        passes[0] = True
        return passes.nonzero().squeeze(-1)


class TokenwiseBlock:
    """
    A layer whose token-wise operations run on the tokens that the gates let through; attention is dense.

    A gate stands before queries, keys and values, one before the output projection, and one before the MLP, each with
    a buffer behind; the residual stream stays dense. The first and the last see what comes out of a layer norm, or, in
    a variant of ours, what goes into it, and what they let through is normed then.

    Args:
        layer: the layer of a ViT.
        cost: the parts of the model.
        make_gate: makes a gate.
        before_norm (`bool`): whether gates see what goes into the layer norms.

    Attributes:
        multiply_adds (`int`): of the last call.
    """

    def __init__(
        self, layer: Any, cost: TransformerCost, make_gate: Callable[[], TokenGate], before_norm: bool = False
    ) -> None:
        self.layer, self.cost, self.before_norm = layer, cost, before_norm
        self.gates = [make_gate() for _ in range(3)]
        self.buffers = [Buffer() for _ in range(5)]
        self.multiply_adds = 0

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """The states `(tokens, size)` of the next frame after the layer."""
        layer, attention, cost = self.layer, self.layer.attention, self.cost
        first, second, third = self.gates
        rows, index = self.normed(first, states, layer.layernorm_before)
        self.multiply_adds = len(rows) * (cost.key_value + cost.query_output // 2)
        queries, keys, values = (
            buffer.update(projection(rows), index)
            for projection, buffer in zip((attention.q_proj, attention.k_proj, attention.v_proj), self.buffers)
        )
        rows, index = second.select(self.attend(queries, keys, values, index))
        self.multiply_adds += len(rows) * (cost.query_output // 2)
        states = states + self.buffers[3].update(attention.o_proj(rows), index)
        rows, index = self.normed(third, states, layer.layernorm_after)
        self.multiply_adds += len(rows) * cost.mlp
        return states + self.buffers[4].update(layer.mlp(rows), index)

    def normed(
        self, gate: TokenGate, states: torch.Tensor, norm: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What a gate lets through of the states `(tokens, size)`, normed, and which they are."""
        if not self.before_norm:
            return gate.select(norm(states))
        rows, index = gate.select(states)
        return norm(rows), index

    def last(self, states: torch.Tensor) -> torch.Tensor:
        """
        CLS `(1, size)` after the last layer: keys and values of the tokens that the first gate lets through, and the
        rest of CLS alone. As the other gates have nothing else to choose from, CLS passes them.
        """
        layer, attention = self.layer, self.layer.attention
        rows, index = self.normed(self.gates[0], states, layer.layernorm_before)
        self.multiply_adds = len(rows) * self.cost.key_value + self.cost.row
        keys, values = (
            buffer.update(projection(rows), index)
            for projection, buffer in zip((attention.k_proj, attention.v_proj), self.buffers)
        )
        query = attention.q_proj(layer.layernorm_before(states[:1]))
        return finished(layer, states[:1], self.attend(query, keys, values, index))

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, changed: torch.Tensor | None
    ) -> torch.Tensor:
        """What queries `(queries, size)`, of all tokens or of CLS, read from all tokens; adds to `multiply_adds`."""
        self.multiply_adds += len(queries) * len(keys) * self.cost.pair
        return attend(queries, keys, values, self.layer.attention)


class DeltaBlock(TokenwiseBlock):
    """
    The same with attention kept up to date instead of computed anew.

    Of the product of queries and keys only the rows and the columns of changed tokens are computed. The product of
    probabilities and values is corrected by what the changed columns and values make of it, of the tokens whose values
    changed most since they were last let through (a gate of its own; the probabilities follow the same choice).

    Attributes:
        values_gate (`TokenGate`): chooses the tokens by which the second product is corrected.
        anew (`bool`): whether a product is computed anew where correcting it costs as much: where half of the tokens
            or more have changed. Not as published.
    """

    anew = False

    def __init__(
        self, layer: Any, cost: TransformerCost, make_gate: Callable[[], TokenGate], before_norm: bool = False
    ) -> None:
        super().__init__(layer, cost, make_gate, before_norm)
        self.values_gate = make_gate()
        self.scores = self.probabilities = self.read = torch.empty(0)

    def attend(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, changed: torch.Tensor | None
    ) -> torch.Tensor:
        """See `TokenwiseBlock.attend`; two terms correct the second product, rows and columns the first."""
        attention = self.layer.attention
        query, key = split_heads(queries * attention.scaling, attention), split_heads(keys, attention)
        if changed is None or len(queries) == 1 or self.is_many(changed, keys):
            self.scores = query @ key.mT
            pairs = len(queries) * len(keys)
        else:
            self.scores.index_copy_(1, changed, query[:, changed] @ key.mT)
            self.scores.index_copy_(2, changed, query @ key[:, changed].mT)
            pairs = 2 * len(keys) * len(changed)
        probabilities = self.scores.softmax(-1)
        index, reference = self.values_gate.choose(values), self.values_gate.reference
        if index is None or reference is None or self.is_many(index, keys):
            self.probabilities, self.read = probabilities, probabilities @ split_heads(values, attention)
            pairs += len(queries) * len(keys)
        else:
            old, new = (split_heads(rows[index], attention) for rows in (reference, values))
            columns = probabilities[:, :, index]
            shift = columns - self.probabilities[:, :, index]
            self.read = torch.baddbmm(torch.baddbmm(self.read, columns, new - old), shift, old)
            self.probabilities.index_copy_(2, index, columns)
            pairs += 2 * len(queries) * len(index)
        self.values_gate.remember(values, index)
        # A pair stands for both products.
        self.multiply_adds += pairs * (self.cost.pair // 2)
        return self.read.transpose(0, 1).flatten(1)

    def is_many(self, changed: torch.Tensor, tokens: torch.Tensor) -> bool:
        """Whether so many tokens changed that computing a product anew costs no more."""
        return self.anew and 2 * len(changed) >= len(tokens)


class AnewBlock(DeltaBlock):
    """The same, and never dearer than dense attention."""

    anew = True


class EventfulTokenwise(StreamMethod):
    """The token-wise operations on changed tokens, dense attention."""

    title = "Eventful, token-wise"
    paper = "Dutson et al., Eventful Transformers, ICCV 2023"
    knob = "share of the tokens let through"
    sweep = (0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05, 0.02)
    block: ClassVar[type[TokenwiseBlock]] = TokenwiseBlock
    gate: ClassVar[type[TokenGate]] = TokenGate
    before_norm: ClassVar[bool] = False

    def __init__(self, model: Any, setting: float = 0.25) -> None:
        super().__init__(model, setting)
        self.parts = FrameModel(model)
        self.count = min(max(round(setting * self.parts.tokens), 1), self.parts.tokens)
        self.reset()

    def reset(self) -> None:
        """Empties gates and buffers."""
        self.blocks = [
            self.block(layer, self.parts.cost, self.make_gate, self.before_norm) for layer in self.parts.layers
        ]

    def make_gate(self) -> TokenGate:
        """A gate."""
        return self.gate(self.count)

    def advance(self, frame: torch.Tensor) -> torch.Tensor:
        """Everything in the first frame, then what changed."""
        parts = self.parts
        states = parts.embed(frame)[0]
        for block in self.blocks[:-1]:
            states = block(states)
        cls = self.blocks[-1].last(states)
        self.multiply_adds += parts.outside + sum(block.multiply_adds for block in self.blocks)
        return parts.logits(cls[None])


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


class EventfulBeforeNorm(ClsEventfulTokenwise):
    """
    A variant of ours: the gates see what goes into the layer norms.

    A norm scales tokens of little norm up, and noise in them with it, which then takes the places of what changed.
    """

    title = "Eventful, token-wise, CLS always, before the norm"
    paper = "a variant of ours, after Dutson et al. 2023"
    before_norm = True


class ThresholdEventfulTokenwise(EventfulBeforeNorm):
    """
    A variant of ours: as before, and each gate lets through what differs by more than a threshold of its own.

    The threshold is `h` times the mean norm of what the gate saw in the first frame, `h` the same for all gates and
    videos (the paper has one constant for all gates). A still frame costs little then, and one in which much changes
    gets what it needs.
    """

    title = "Eventful, token-wise, threshold"
    knob = "threshold, over the mean norm of a gate's tokens in the first frame"
    sweep = THRESHOLDS

    def make_gate(self) -> TokenGate:
        """A gate."""
        return ThresholdGate(self.setting)


class ThresholdEventfulFull(ThresholdEventfulTokenwise):
    """Attention is kept up to date as well, or computed anew where that costs less."""

    title = "Eventful, full, threshold"
    block = AnewBlock
