"""
Other ways to choose corners and shares than the planner's, for the ablation.

A chooser has the arguments and the result of `hf_ttr.planning.bidirectional.choose_corners`, for one stream whose
first frame is behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hf_ttr.configuration import TemporalReuseConfig
from hf_ttr.planning import bidirectional
from hf_ttr.planning.bidirectional import polyline_errors


Chooser = Callable[..., torch.Tensor]


def whole_frames(step: int) -> Chooser:
    """A planner that computes every `step`-th frame, and interpolates all tokens of the others."""

    def choose(features: torch.Tensor, *unused: Any) -> torch.Tensor:
        computed = torch.zeros(features.shape[:3], dtype=torch.bool)
        computed[:, step - 1 :: step] = True
        computed[:, -1] = True
        return computed

    return choose


def greedy_corners(
    features: torch.Tensor,
    reference: torch.Tensor,
    age: torch.Tensor,
    weights: torch.Tensor,
    grid: tuple[int, int],
    config: TemporalReuseConfig,
    budget: float,
    thresholds: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    Douglas-Peucker on every position: split where the error is largest, until the budget is spent.

    The order in which one position is split does not depend on the budget, so it is found once; the errors of all
    positions then compete for the budget. Same arguments and result as `hf_ttr.planning.bidirectional.choose_corners`.
    """
    points = torch.cat([reference[:, None], features], dim=1)[0].transpose(0, 1)
    points = points - points[:, :1]
    gram = bidirectional.spread_over_neighbours(
        (points @ points.transpose(1, 2))[None], grid, config.context_weight, config.context_size
    )[0]
    gram = (gram * weights[0].square()[:, None, None]).movedim(0, -1)
    count, _, positions = gram.shape
    index = torch.arange(count)[:, None].expand(-1, positions)
    position = torch.arange(positions).expand(count, -1)
    norm = gram.diagonal().T
    corner = torch.zeros(count, positions, dtype=torch.bool)
    corner[0] = corner[-1] = True
    priority = torch.zeros(count, positions)
    priority[0] = torch.inf
    priority[-1] = (norm + norm[:1] - 2 * gram[:, 0]).amax(0)
    while True:
        left = torch.where(corner, index, -1).cummax(0).values
        right = torch.where(corner, index, count).flip(0).cummin(0).values.flip(0)
        alpha = (index - left) / (right - left).clamp(min=1)
        error = (
            norm
            + (1 - alpha).square() * norm.gather(0, left)
            + alpha.square() * norm.gather(0, right)
            - 2 * (1 - alpha) * gram[index, left, position]
            - 2 * alpha * gram[index, right, position]
            + 2 * alpha * (1 - alpha) * gram[left, right, position]
        ).clamp(min=0)
        error = torch.where(corner, 0.0, error)
        largest = torch.zeros_like(error).scatter_reduce(0, left, error, "amax").gather(0, left)
        split = (error == largest) & (error > 1e-9)
        if not split.any():
            break
        bound = torch.minimum(priority.gather(0, left), priority.gather(0, right))
        priority = torch.where(split, torch.minimum(error, bound), priority)
        corner |= split
    priority = priority[1:]
    kept = int(budget * priority.numel())
    limit = priority.flatten().sort(descending=True).values[kept]
    return (priority > limit)[None]


def patch_pixels(clip: torch.Tensor, patch: int, side: int) -> torch.Tensor:
    """
    The pixels of every patch, in means over squares so that `side` x `side` of them are left.

    Args:
        clip (`torch.FloatTensor` of shape `(frames, channels, height, width)`): the frames.
        patch (`int`): pixels of a side of a patch.
        side (`int`): a divisor of `patch`; `patch` keeps all pixels, 1 the mean colour.

    Returns:
        `torch.FloatTensor` of shape `(frames, patches, channels * side * side)`.
    """
    return nn.functional.unfold(nn.functional.avg_pool2d(clip, patch // side), side, stride=side).transpose(1, 2)


def mean_change(values: torch.Tensor) -> torch.Tensor:
    """Mean squared distance from the first frame, over the frames and patches of `(1, frames, patches, dim)`."""
    return (values - values[:, :1]).square().sum(-1).mean()


def by_signal(signal: torch.Tensor) -> Chooser:
    """
    The default planner, which sees a signal instead of the embeddings.

    The signal is scaled so that it changes as much as they do on the whole. With a budget a factor decides nothing,
    but prices are searched for between limits, and errors are rounded.

    Args:
        signal (`torch.FloatTensor` of shape `(1, frames, patches, dim)`): of all frames, with the first one.
    """

    def choose(features: torch.Tensor, reference: torch.Tensor, *settings: Any) -> torch.Tensor:
        change = mean_change(torch.cat([reference[:, None], features], dim=1))
        scaled = signal * (change / mean_change(signal)).sqrt()
        return bidirectional.choose_corners(scaled[:, 1:], scaled[:, 0], *settings)

    return choose


def random_corners(features: torch.Tensor, *settings: Any) -> torch.Tensor:
    """Frames drawn by chance, as many at every position, up to the fraction of one that the budget leaves."""
    budget = settings[5]
    generator = torch.Generator().manual_seed(0)
    order = torch.rand(features.shape[:3], generator=generator).argsort(1).argsort(1)
    fraction = torch.rand(features.shape[0], 1, features.shape[2], generator=generator)
    return order < (budget * features.shape[1] + fraction).floor()


def random_times(features: torch.Tensor, *settings: Any) -> torch.Tensor:
    """As many corners at each position as the default planner chooses, in frames drawn by chance."""
    corners = bidirectional.choose_corners(features, *settings)
    generator = torch.Generator().manual_seed(0)
    return corners.gather(1, torch.rand(corners.shape, generator=generator).argsort(1))


def linear_shares(*arguments: torch.Tensor) -> torch.Tensor:
    """Shares that are linear in time; arguments and result of `hf_ttr.planning.bidirectional.content_alpha`."""
    return arguments[4]


def no_shares(*arguments: torch.Tensor) -> torch.Tensor:
    """Shares of 0: every reused token is the last computed one of its position. As `linear_shares`."""
    return torch.zeros_like(arguments[4])


def hold_errors(gram: torch.Tensor, age: torch.Tensor, max_age: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """As `hf_ttr.planning.bidirectional.polyline_errors`, of tokens that are held until the next corner."""
    segments, tail = polyline_errors(gram, age, max_age)
    norm = gram.diagonal(dim1=1, dim2=2)
    sums = (norm[:, :, None] + norm[:, None] - 2 * gram).clamp(min=0).triu().cumsum(2)
    points, reach = segments.shape[1:]
    last = (torch.arange(points)[:, None] + torch.arange(reach)).clamp(max=points - 1)
    held = sums.gather(2, last.expand(len(gram), -1, -1))
    return torch.where(segments.isinf(), segments, held.round(decimals=4)), tail
