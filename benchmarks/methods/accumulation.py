"""
STA: pruning by semantic-aware temporal accumulation (Ding et al., ICCV 2023).

Written anew after the paper and what its code does, without training, on a VideoMAE.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import normalize

from .base import Method
from .clip_model import ClipModel


class TemporalAccumulation(Method):
    """
    Behind three of its layers, the first, and those at a third and two thirds, the clip loses tokens.

    Tokens lie in groups in time: one for each tubelet behind the first of these layers, half as many behind the
    second, and half of that behind the third (8, 4 and 2 of 16 frames). Each group loses as many tokens, at all three.

    What goes has been seen before and means little. Seen before: the likeness of its key (mean over heads, cosine) to
    those of the tokens that the group before keeps, as a softmax over the tokens of its own group, each weighted by
    its own score, so that scores add up along time; forth in the first and last stage, back in the second. Means
    little: 1 - activation, the sum of the absolute features of a token, scaled to 0..1 within its group. The group at
    the start of the chain has none before it; there those go that are most like another of it, and the next one
    compares with all of them.
    """

    title = "STA"
    paper = "Ding et al., Prune spatio-temporal tokens by semantic-aware temporal accumulation, ICCV 2023"
    knob = "tokens that each group loses at each of three stages, over those of a tubelet"
    sweep = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55)

    def __init__(self, model: Any, setting: float = 0.2) -> None:
        super().__init__(model, setting)
        self.parts = ClipModel(model)
        layers = self.parts.cost.layers
        self.stages = (0, layers // 3, 2 * layers // 3)

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """The clip, thinned out on its way."""
        parts, cost = self.parts, self.parts.cost
        states = parts.embed(pixels, torch.arange(parts.tokens, device=pixels.device))
        self.multiply_adds += parts.times * cost.patch + parts.head(parts.tokens)
        for number, layer in enumerate(parts.layers):
            self.multiply_adds += cost.layer(states.shape[1], states.shape[1] ** 2)
            if number in self.stages:
                states = self.thinned(*with_keys(layer, states), self.stages.index(number))
            else:
                states = layer(states)
        return parts.logits(states)

    def thinned(self, states: torch.Tensor, keys: torch.Tensor, stage: int) -> torch.Tensor:
        """The states `(1, tokens, size)` that a stage keeps, by keys `(tokens, head size)`."""
        groups = max(self.parts.times >> stage, 1)
        grouped, keys = states[0].unflatten(0, (groups, -1)), keys.unflatten(0, (groups, -1))
        tokens = grouped.shape[1]
        count = max(tokens - round(self.setting * self.parts.positions), 1)
        if count == tokens:
            return states
        is_back = stage == 1
        directed = [part.flip(0) if is_back else part for part in (grouped, keys)]
        kept = kept_tokens(directed[0], directed[1], count)
        later = [tokens, *[count] * groups][: groups - 1]
        self.multiply_adds += keys.shape[-1] * (tokens // 2 * (tokens - tokens // 2) + tokens * sum(later))
        kept = (kept.flip(0) if is_back else kept)[..., None].expand(-1, -1, states.shape[-1])
        return grouped.gather(1, kept).flatten(0, 1)[None]


def with_keys(layer: Any, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The states `(1, tokens, size)` after a layer, and the means over heads of its keys, `(tokens, head size)`."""
    attention, found = layer.attention.attention, []
    handle = attention.key.register_forward_hook(lambda module, inputs, output: found.append(output))
    try:
        states = layer(states)
    finally:
        handle.remove()
    return states, found[0][0].unflatten(-1, (attention.num_attention_heads, -1)).mean(-2)


def kept_tokens(states: torch.Tensor, keys: torch.Tensor, count: int) -> torch.Tensor:
    """
    Which tokens of every group to keep.

    Args:
        states (`torch.Tensor` of shape `(groups, tokens, size)`): in the order in which scores add up.
        keys (`torch.Tensor` of shape `(groups, tokens, head size)`): of the same tokens.
        count (`int`): tokens to keep of each group.

    Returns:
        `torch.LongTensor` of shape `(groups, count)`, in the order of the paper's code: what goes first, last.
    """
    directions, meaningless = normalize(keys, dim=-1), 1 - activation(states)
    kept = [unlike_others(directions[0])[:count]]
    before, weights = directions[0], keys.new_ones(keys.shape[1])
    for time in range(1, len(states)):
        likeness = (directions[time] @ before.T).softmax(0)
        score = (likeness * weights).sum(-1)
        kept.append((score * meaningless[time]).topk(count, largest=False).indices)
        before, weights = directions[time, kept[-1]], score[kept[-1]]
        weights = weights / weights.sum()
    return torch.stack(kept)


def activation(states: torch.Tensor) -> torch.Tensor:
    """The feature activation map: the sum of the absolute features `(groups, tokens, size)`, scaled to 0..1."""
    sums = states.abs().sum(-1)
    low, high = sums.amin(-1, keepdim=True), sums.amax(-1, keepdim=True)
    return (sums - low) / (high - low).clamp(min=1e-12)


def unlike_others(directions: torch.Tensor) -> torch.Tensor:
    """
    The tokens of a group, those last that are most like another of it, which stays if they go.

    As in token merging, every second token is compared with the tokens between; those go only when all of the others
    are gone.

    Args:
        directions (`torch.Tensor` of shape `(tokens, head size)`): keys of length 1.

    Returns:
        `torch.LongTensor` of shape `(tokens,)`.
    """
    best = (directions[::2] @ directions[1::2].T).amax(1)
    places = torch.arange(len(directions), device=directions.device)
    return torch.cat([places[1::2], places[::2][best.argsort()]])
