"""
Bidirectional planning: a clip, whose future is known.

The embedding of each position over time is replaced by a polyline whose corners are the computed tokens. Among all
polylines this finds the best one: the least sum of squared errors plus a price for every corner. That is a shortest
path over the frames, solved for all positions and several prices at once; the errors of all pairs of corners follow
from inner products of the embeddings alone (polygonal approximation, Perez and Vidal 1994).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from ..configuration import TemporalReuseConfig
from ..devices import triton_unavailable_reason
from .importance import spread_over_neighbours
from .plan import NEVER, next_index, past_index
from .price import prices_of_streams
from .search import within_budget


TIME_WEIGHT = 0.01
"""Squared distance of two corners, relative to the mean norm, at which time counts as much as content between them."""

TOKENS_AT_ONCE = 512
"""How many tokens `content_alpha` looks at in one go on the CPU."""

FRAME_TOKENS_AT_ONCE = 2**14
"""The same elsewhere, in whole frames: 50 MB of embeddings of dimension 768."""

TokenIndex = tuple[int | torch.Tensor, torch.Tensor, torch.Tensor]
"""Indices of streams, frames and patches, which broadcast with one another."""


def choose_corners(
    features: torch.Tensor,
    reference: torch.Tensor | None,
    age: torch.Tensor | None,
    weights: torch.Tensor,
    grid: tuple[int, int],
    config: TemporalReuseConfig,
    budget: float | torch.Tensor | None = None,
    thresholds: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    Chooses the tokens whose computation removes more error than they cost.

    A token is worth computing if it takes at least the square of the threshold off the sum of the squared errors of
    its position. With a budget, the threshold of each stream is searched for.

    Args:
        features (`torch.FloatTensor` of shape `(batch, frames, patches, dim)`): embeddings.
        reference (`torch.FloatTensor` of shape `(batch, patches, dim)`, *optional*): those last computed.
        age (`torch.LongTensor` of shape `(batch, patches)`, *optional*): frames since then, `NEVER` = not valid.
        weights (`torch.FloatTensor` of shape `(batch, patches)`): factors of the errors, which are distances of
            embeddings; the threshold is meant for errors times weights.
        grid (`tuple[int, int]`): rows and columns of patches.
        config: the settings.
        budget (`float` or `torch.Tensor` of shape `(batch,)`, *optional*): share of the patches, over all frames, that
            may be computed.
        thresholds (`torch.Tensor` of shape `(batch,)`, *optional*): of the streams, instead of that of the settings.

    Returns:
        `torch.BoolTensor` of shape `(batch, frames, patches)`: the tokens to compute.
    """
    if reference is None or age is None:
        first = torch.ones_like(features[:, :1, :, 0], dtype=torch.bool)
        if features.shape[1] == 1:
            return first
        first_age = torch.ones(first[:, 0].shape, dtype=torch.long, device=features.device)
        if budget is not None:
            budget = (budget * features.shape[1] - 1) / (features.shape[1] - 1)
        settings: tuple[Any, ...] = (weights, grid, config, budget, thresholds)
        rest = choose_corners(features[:, 1:], features[:, 0], first_age, *settings)
        return torch.cat([first, rest], dim=1)

    batch, frames, patches, _ = features.shape
    # Seen from the cached point, which is then the origin; where there is none, the first frame stands in for it.
    points = (features - torch.where((age < NEVER)[..., None], reference, features[:, 0])[:, None]).transpose(1, 2)
    gram = nn.functional.pad(points @ points.transpose(2, 3), (1, 0, 1, 0))
    gram = spread_over_neighbours(gram, grid, config.context_weight, config.context_size)
    gram = gram * weights.square()[..., None, None]
    segments, tail = polyline_errors(gram.flatten(0, 1), age.flatten(), config.max_age)

    def computed_at(prices: torch.Tensor) -> torch.Tensor:
        """Tokens to compute at prices of shape `(n, batch)`; shape `(n, batch, frames, patches)`."""
        corners = best_corners(segments, tail, prices.repeat_interleave(patches, dim=1))
        computed = corners.unflatten(1, (batch, patches)).transpose(2, 3)[:, :, 1:]
        return computed | (computed.float().mean(-1, keepdim=True) > config.scene_cut)

    floor = prices_of_streams(config, thresholds, batch, gram.device)
    if budget is None:
        return computed_at(floor[None])[0]
    return within_budget(computed_at, lambda computed: computed.float().mean((-1, -2)), floor, budget)


def content_alpha(
    features: torch.Tensor,
    reference: torch.Tensor | None,
    past_age: torch.Tensor | None,
    computed: torch.Tensor,
    by_time: torch.Tensor,
    scale: torch.Tensor,
) -> torch.Tensor:
    """
    How much of the next corner is in each reused token, by content, and by time where the corners are alike.

    A background that an object leaves changes in a step, not in a ramp: the share of the next corner is that which
    brings the token's embedding nearest to the line between its corners. Noise must not decide between corners that
    hardly differ, so `TIME_WEIGHT` draws the share towards the linear one (ridge regression).

    Args:
        features, reference: as in `choose_corners`.
        past_age (`torch.LongTensor` of shape `(batch, patches)`, *optional*): age of the reference.
        computed (`torch.BoolTensor` of shape `(batch, frames, patches)`): the corners.
        by_time (`torch.FloatTensor` of shape `(batch, frames, patches)`): the linear share; 0 where a token is
            computed or held.
        scale (`torch.FloatTensor` of shape `(batch,)`): mean norm of the embeddings.

    Returns:
        `torch.FloatTensor` of shape `(batch, frames, patches)`, in [0, 1]; 0 where `by_time` is.
    """
    index = past_index(computed, past_age)
    left = index.cummax(1).values
    right = next_index(index, left)
    alpha = by_time.clone()
    time_weight = TIME_WEIGHT * scale.square()
    # By differences, as inner products would lose the small ones to rounding.
    for stream, time, position in tokens_between(by_time):
        after = features[stream, (right[stream, time + 1, position] - 1).clamp(min=0), position]
        start = left[stream, time + 1, position]
        before = features[stream, (start - 1).clamp(min=0), position]
        if reference is not None:
            before = torch.where((start == 0)[..., None], reference[stream, position], before)
        step = after - before
        along = ((features[stream, time, position] - before) * step).sum(-1)
        ridge, linear = time_weight[stream], by_time[stream, time, position]
        share = (along + ridge * linear) / (step.square().sum(-1) + ridge)
        alpha[stream, time, position] = torch.where(linear > 0, share.clamp(0, 1), 0)
    return alpha


def tokens_between(by_time: torch.Tensor) -> Iterable[TokenIndex]:
    """
    All tokens whose share in `by_time` is not 0, and maybe others, in groups of as many as are looked at in one go.

    Args:
        by_time (`torch.FloatTensor` of shape `(batch, frames, patches)`): see `content_alpha`.

    Returns:
        Indices of streams, frames and patches, which broadcast with one another.
    """
    if by_time.device.type != "cpu":
        return tokens_of_frames(by_time)
    # No others, and so few that what is gathered of them stays in the processor's cache.
    return (tokens.unbind(1) for tokens in by_time.nonzero().split(TOKENS_AT_ONCE))


def tokens_of_frames(by_time: torch.Tensor) -> Iterator[TokenIndex]:
    """`tokens_between` with all tokens: the host need not ask the device which ones they are."""
    batch, frames, patches = by_time.shape
    time, position = (torch.arange(size, device=by_time.device) for size in (frames, patches))
    for stream in range(batch):
        for times in time[:, None].split(max(FRAME_TOKENS_AT_ONCE // patches, 1)):
            yield stream, times, position


def polyline_errors(gram: torch.Tensor, age: torch.Tensor, max_age: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Squared errors of every possible piece of a polyline.

    Args:
        gram (`torch.FloatTensor` of shape `(n, points, points)`): inner products of the points of each trajectory; the
            first point is the cached one, the others are the frames.
        age (`torch.LongTensor` of shape `(n,)`): how long before the first frame the cached point was computed,
            `NEVER` if there is none.
        max_age (`int`, *optional*): the longest time between two corners.

    Returns:
        `segments` of shape `(n, points, reach)`: `segments[:, l, g - 1]` is the sum of squared distances of the points
        strictly between l and l + g to the line between the two, infinite where that is not allowed; and `tail` of
        shape `(n, points)`: the sum over the points after the last corner of their squared distances to it.
    """
    points = gram.shape[1]
    reach = max(points - 1 if max_age is None else min(max_age, points - 1), 1)
    index = torch.arange(points, device=gram.device)
    gap = torch.arange(1, reach + 1, device=gram.device)
    missing = (age >= NEVER)[:, None]
    padded = nn.functional.pad(gram, (0, reach, 0, reach))
    width = points + reach

    def at_right(values: torch.Tensor) -> torch.Tensor:
        """Of a padded matrix the entries (l, l + g), as a view of shape `(n, points, reach)`."""
        return values.as_strided(
            (len(values), points, reach), (width * width, width + 1, 1), values.storage_offset() + 1
        )

    def at_left(values: torch.Tensor) -> torch.Tensor:
        """The entries (l + g, l)."""
        offset = values.storage_offset() + width
        return values.as_strided((len(values), points, reach), (width * width, width + 1, width), offset)

    def before_right(values: torch.Tensor) -> torch.Tensor:
        """The entries (l, l + g - 1)."""
        return values.as_strided((len(values), points, reach), (width * width, width + 1, 1), values.storage_offset())

    def windows(values: torch.Tensor, start: int) -> torch.Tensor:
        """Of a vector the entries l + g - 1 + start, as a view of shape `(n, points, reach)`."""
        return nn.functional.pad(values, (0, reach))[:, start:].unfold(1, reach, 1)[:, :points]

    # Running sums over t of <l, t> and of t <l, t>, so that a sum strictly between l and r is a difference of two.
    sums = padded.cumsum(2)
    timed = (padded * torch.arange(width, device=gram.device)).cumsum(2)
    norm = gram.diagonal(dim1=1, dim2=2)
    norms = norm.cumsum(1)
    last = [values[:, :points, :points].diagonal(-1, 1, 2) for values in (sums, timed)]  # sums of <r, t> over t < r
    last = [nn.functional.pad(values, (1, 0)) for values in last]
    with_left = before_right(sums) - sums.diagonal(dim1=1, dim2=2)[:, :points, None]
    timed_left = before_right(timed) - timed.diagonal(dim1=1, dim2=2)[:, :points, None]
    with_right = windows(last[0], 1) - at_left(sums)
    timed_right = windows(last[1], 1) - at_left(timed)
    between = windows(norms, 0) - norms[:, :, None]
    product, right_norm = at_right(padded), windows(norm, 1)

    def pieces(rows: slice, elapsed: torch.Tensor) -> torch.Tensor:
        """Errors of the pieces that start at the given points, `elapsed` before the next frame."""
        # The point at step k = elapsed, elapsed + 1, ... is compared with (1 - a) left + a right, a = k / length.
        count = (gap - 1).to(gram.dtype)
        length = elapsed + count
        sum_a = count * (2 * elapsed + count - 1) / (2 * length)
        squares = (elapsed - 1).square() * count + (elapsed - 1) * count * (count + 1)
        sum_aa = (squares + count * (count + 1) * (2 * count + 1) / 6) / length.square()
        origin = (index[rows, None] + 1).to(gram.dtype) - elapsed
        left = with_left[:, rows] - (timed_left[:, rows] - origin * with_left[:, rows]) / length
        right = (timed_right[:, rows] - origin * with_right[:, rows]) / length
        return (
            between[:, rows]
            + (count - 2 * sum_a + sum_aa) * norm[:, rows, None]
            + sum_aa * right_norm[:, rows]
            + 2 * ((sum_a - sum_aa) * product[:, rows] - left - right)
        ).clamp_(min=0)

    elapsed = torch.where(missing, 1, age[:, None]).to(gram.dtype)
    segments = torch.cat(
        [pieces(slice(0, 1), elapsed[:, :, None]), pieces(slice(1, None), elapsed.new_ones(1, 1, 1))], dim=1
    )
    segments.masked_fill_(index[:, None] + gap >= points, torch.inf)
    too_long = missing & (gap > 1)
    if max_age is not None:
        too_long = too_long | ((elapsed + gap - 1 > max_age) & (gap > 1))
    segments[:, 0].masked_fill_(too_long, torch.inf)

    own = sums.diagonal(dim1=1, dim2=2)[:, :points]
    after = (points - 1 - index).to(gram.dtype)
    tail = (norms[:, -1:] - norms + after * norm - 2 * (sums[:, :points, points - 1] - own)).clamp(min=0)
    idle = torch.cat([elapsed + points - 2, after[1:].expand(len(gram), -1)], dim=1)
    idle_limit = torch.inf if max_age is None else max_age
    too_old = (idle >= idle_limit) & (index < points - 1)
    too_old[:, :1] |= missing
    # Rounding must not choose between corners that are as good: a stream is planned the same in any batch.
    return segments.round_(decimals=4), tail.round_(decimals=4).masked_fill_(too_old, torch.inf)


def best_corners(segments: torch.Tensor, tail: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
    """
    The polylines of least error plus price.

    Runs in one Triton kernel where it can, and otherwise as `reference_best_corners`.

    Args:
        segments, tail: as `polyline_errors` returns them.
        prices (`torch.FloatTensor` of shape `(k, n)`): price of a corner; k alternatives for each trajectory.

    Returns:
        `torch.BoolTensor` of shape `(k, n, points)`: the corners. Point 0, the cached one, costs nothing.
    """
    if triton_unavailable_reason(tail.device) is not None:
        return reference_best_corners(segments, tail, prices)
    from .best_corners_triton import triton_best_corners

    return triton_best_corners(segments, tail, prices)


def reference_best_corners(segments: torch.Tensor, tail: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
    """`best_corners` point by point in plain torch, on any device."""
    points = tail.shape[1]
    reach = segments.shape[2]
    cost = prices.new_full((*prices.shape, points), torch.inf)
    cost[..., 0] = -prices
    came_from = torch.zeros(cost.shape, dtype=torch.int32, device=cost.device)
    for point in range(points - 1):
        ahead = slice(point + 1, min(point + 1 + reach, points))
        cost[..., point] += prices
        candidate = cost[..., point, None] + segments[:, point, : ahead.stop - ahead.start]
        came_from[..., ahead].masked_fill_(candidate < cost[..., ahead], point)
        torch.minimum(cost[..., ahead], candidate, out=cost[..., ahead])
    cost[..., -1] += prices
    current = (cost + tail).argmin(-1)
    corners = torch.zeros(cost.shape, dtype=torch.bool, device=cost.device)
    corners[..., 0] = True
    for point in range(points - 1, 0, -1):
        is_corner = current == point
        corners[..., point] = is_corner
        current = torch.where(is_corner, came_from[..., point], current)
    return corners
