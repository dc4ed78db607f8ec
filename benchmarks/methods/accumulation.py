"""
STA: pruning by semantic-aware temporal accumulation (Ding et al., ICCV 2023).

Written anew from descriptions of the method, without training, on a VideoMAE.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import normalize

from .base import Method
from .clip_model import ClipModel


class TemporalAccumulation(Method):
    """
    Three times on its way through the layers the clip loses tokens, as many in every tubelet.

    What goes has been seen before and means little. Seen before: likeness (cosine) to the tokens that the neighbouring
    tubelet keeps, each weighted by its own score, so that scores add up along time; forth in the first and last stage,
    back in the second. Means little: 1 - activation, the mean of the features of a token, scaled to 0..1 within its
    tubelet. The tubelet at the start of the chain has no neighbour; there those go that are most like another of it.
    """

    title = "STA"
    paper = "Ding et al., Prune spatio-temporal tokens by semantic-aware temporal accumulation, ICCV 2023"
    knob = "share of the tokens dropped at each of three stages"
    sweep = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)

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
            for stage in (stage for stage, start in enumerate(self.stages) if start == number):
                states = self.thinned(states, backwards=stage % 2 == 1)
            states = layer(states)
            rows = states.shape[1]
            self.multiply_adds += cost.rows(rows, rows, rows) // cost.layers
        return parts.logits(states)

    def thinned(self, states: torch.Tensor, backwards: bool) -> torch.Tensor:
        """The states `(1, tokens, size)` that a stage keeps."""
        tubelets = states[0].unflatten(0, (self.parts.times, -1))
        tokens, size = tubelets.shape[1:]
        count = tokens - min(round(self.setting * tokens), tokens - 1)
        if count == tokens:
            return states
        kept = kept_tokens(tubelets.flip(0) if backwards else tubelets, count)
        within = tokens // 2 * (tokens - tokens // 2)
        self.multiply_adds += size * (within + (self.parts.times - 1) * tokens * count)
        kept = (kept.flip(0) if backwards else kept)[..., None].expand(-1, -1, size)
        return tubelets.gather(1, kept).flatten(0, 1)[None]


def kept_tokens(tubelets: torch.Tensor, count: int) -> torch.Tensor:
    """
    Which tokens of every tubelet to keep.

    Args:
        tubelets (`torch.Tensor` of shape `(times, tokens, size)`): states, in the order in which scores add up.
        count (`int`): tokens to keep of each tubelet.

    Returns:
        `torch.LongTensor` of shape `(times, count)`, increasing within a tubelet.
    """
    directions = normalize(tubelets, dim=-1)
    meaningless = 1 - activation(tubelets)
    kept = [lowest(likeness_within(directions[0]), count)]
    score = meaningless[0]
    for time in range(1, len(tubelets)):
        before = kept[-1]
        likeness = (directions[time] @ directions[time - 1, before].T).clamp(min=0)
        weights = score[before] / score[before].sum().clamp(min=1e-12)
        score = (likeness * weights).sum(-1) * meaningless[time]
        kept.append(lowest(score, count))
    return torch.stack(kept)


def activation(tubelets: torch.Tensor) -> torch.Tensor:
    """The feature activation map: the mean feature of every token `(times, tokens, size)`, scaled to 0..1."""
    means = tubelets.mean(-1)
    low, high = means.amin(-1, keepdim=True), means.amax(-1, keepdim=True)
    return (means - low) / (high - low).clamp(min=1e-12)


def likeness_within(directions: torch.Tensor) -> torch.Tensor:
    """
    How like a token is to another of its tubelet, which stays if this one goes.

    As in token merging, every second token is compared with the tokens between; those go only when all of the others
    are gone, so they score lower than any likeness.

    Args:
        directions (`torch.Tensor` of shape `(tokens, size)`): states of length 1.

    Returns:
        `torch.Tensor` of shape `(tokens,)`.
    """
    likeness = directions[::2] @ directions[1::2].T
    result = directions.new_empty(len(directions))
    result[::2] = likeness.amax(1)
    result[1::2] = likeness.amax(0) - 4
    return result


def lowest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The `count` lowest of the scores, increasing by place."""
    return scores.topk(count, largest=False).indices.sort().values
