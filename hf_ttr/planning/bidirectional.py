"""
Bidirectional planning: a clip, whose future is known.

The embedding of each position over time is replaced by a polyline whose corners are the computed tokens. Among all
polylines this finds the best one: the least sum of squared errors plus a price for every corner. That is a shortest
path over the frames, solved for all positions and several prices at once; the errors of all pairs of corners follow
from inner products of the embeddings alone (polygonal approximation, Perez and Vidal 1994).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..configuration import TemporalReuseConfig
from .importance import spread_over_neighbours
from .plan import NEVER


PRICES = 16
"""Prices that the search for a budget tries at once."""


def choose_corners(
    features: torch.Tensor,
    reference: torch.Tensor | None,
    age: torch.Tensor | None,
    weights: torch.Tensor,
    grid: tuple[int, int],
    config: TemporalReuseConfig,
    budget: float | None = None,
) -> torch.Tensor:
    """
    Chooses the tokens whose computation removes more error than they cost.

    A token is worth computing if it takes at least the square of the threshold off the sum of the squared errors of
    its position. With a budget, the threshold of each stream is searched for.

    Args:
        features (`torch.FloatTensor` of shape `(batch, frames, patches, dim)`): embeddings over their mean norm.
        reference (`torch.FloatTensor` of shape `(batch, patches, dim)`, *optional*): those last computed.
        age (`torch.LongTensor` of shape `(batch, patches)`, *optional*): frames since then, `NEVER` = not valid.
        weights (`torch.FloatTensor` of shape `(batch, patches)`): factors of the errors.
        grid (`tuple[int, int]`): rows and columns of patches.
        config: the settings.
        budget (`float`, *optional*): share of the patches, over all frames, that may be computed.

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
        rest = choose_corners(features[:, 1:], features[:, 0], first_age, weights, grid, config, budget)
        return torch.cat([first, rest], dim=1)

    batch, frames, patches, _ = features.shape
    points = torch.cat([reference[:, None], features], dim=1).transpose(1, 2)
    points = points - torch.where((age < NEVER)[..., None], reference, features[:, 0])[:, :, None]
    gram = points @ points.transpose(2, 3)
    gram = spread_over_neighbours(gram, grid, config.context_weight, config.context_size)
    gram = gram * weights.square()[..., None, None]
    time = torch.arange(-1, frames, device=features.device).expand(batch * patches, -1).clone()
    time[:, 0] = -age.flatten().clamp(max=NEVER)
    segments, tail = polyline_errors(gram.flatten(0, 1), time, config.max_age)

    def computed_at(prices: torch.Tensor) -> torch.Tensor:
        """Tokens to compute at prices of shape `(n, batch)`; shape `(n, batch, frames, patches)`."""
        corners = best_corners(segments, tail, prices.repeat_interleave(patches, dim=1))
        computed = corners.unflatten(1, (batch, patches)).transpose(2, 3)[:, :, 1:]
        return computed | (computed.float().mean(-1, keepdim=True) > config.scene_cut)

    floor = config.effective_threshold**2
    if budget is None:
        return computed_at(gram.new_full((1, batch), floor))[0]
    return _within_budget(computed_at, gram.new_full((batch,), floor), budget)


def _within_budget(
    computed_at: Callable[[torch.Tensor], torch.Tensor], floor: torch.Tensor, budget: float
) -> torch.Tensor:
    """The computed tokens at the lowest price, of at least `floor`, that keeps each stream within the budget."""
    batch = floor.shape[0]
    low, high = floor.new_full((batch,), -16.0), floor.new_full((batch,), 8.0)
    streams = torch.arange(batch, device=floor.device)
    steps = torch.linspace(0, 1, PRICES, device=floor.device)[:, None]
    for _ in range(3):
        exponents = low + (high - low) * steps
        candidates = computed_at(torch.maximum(torch.exp(exponents), floor))
        fits = candidates.float().mean((-1, -2)) <= budget
        # Too small a budget leaves the highest price, which computes the least that is possible.
        best = torch.where(fits.any(0), fits.float().argmax(0), PRICES - 1)
        high = exponents[best, streams]
        low = exponents[(best - 1).clamp(min=0), streams]
    return candidates[best, streams]


def polyline_errors(gram: torch.Tensor, time: torch.Tensor, max_age: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Squared errors of every possible piece of a polyline.

    Args:
        gram (`torch.FloatTensor` of shape `(n, points, points)`): inner products of the points of each trajectory.
        time (`torch.LongTensor` of shape `(n, points)`): their times, ascending; the first one is the cached point, at
            minus its age, or at `-NEVER` if there is none; the others count up from 0.
        max_age (`int`, *optional*): the longest time between two corners.

    Returns:
        `segments` of shape `(n, points, points)`: `segments[:, r, l]` is the sum of squared distances of the points
        strictly between l and r to the line from l to r, infinite where l >= r or the gap is too long; and `tail` of
        shape `(n, points)`: the sum over the points after the last corner of their squared distances to it.
    """
    n, points, _ = gram.shape
    clock = time.clone()
    missing = time[:, 0] <= -NEVER
    clock[:, 0] = torch.where(missing, -1, time[:, 0])
    moment = clock.float()
    norm = gram.diagonal(dim1=1, dim2=2)

    def before(values: torch.Tensor) -> torch.Tensor:
        """Running sums: entry i is the sum over the points 1 to i (the cached point is never inside a piece)."""
        sums = values.cumsum(1)
        return sums - values[:, :1]

    inner = before(gram)  # entry (i, j): sum over the points t up to i of <t, j>
    timed = before(gram * moment[:, :, None])  # the same, times t
    norms, times, squares = before(norm), before(moment), before(moment.square())

    def between(sums: torch.Tensor) -> torch.Tensor:
        """Sum strictly between l and r, shape `(n, r, l)`, of running sums of shape `(n, points)`."""
        ends = torch.cat([sums[:, :1], sums[:, :-1]], dim=1)
        return ends[:, :, None] - sums[:, None, :]

    def between_with(sums: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same for inner products with l, and with r; running sums of shape `(n, points, points)`."""
        ends = torch.cat([sums[:, :1], sums[:, :-1]], dim=1)
        own = sums.diagonal(dim1=1, dim2=2)
        own_ends = ends.diagonal(dim1=1, dim2=2)
        return ends - own[:, None, :], own_ends[:, :, None] - sums.transpose(1, 2)

    start, end = moment[:, None, :], moment[:, :, None]
    gap = (end - start).clamp(min=1)
    index = torch.arange(points, device=gram.device)
    count = (index[:, None] - index[None, :] - 1).clamp(min=0).to(gram.dtype)
    with_left, with_right = between_with(inner)
    timed_left, timed_right = between_with(timed)
    # A point between is compared with (1 - a) * left + a * right, where a = (t - start) / gap.
    a_left = (timed_left - start * with_left) / gap
    a_right = (timed_right - start * with_right) / gap
    sum_a = (between(times) - count * start) / gap
    sum_aa = (between(squares) - 2 * start * between(times) + count * start.square()) / gap.square()
    segments = (
        between(norms)
        + (count - 2 * sum_a + sum_aa) * norm[:, None, :]
        + sum_aa * norm[:, :, None]
        - 2 * (with_left - a_left)
        - 2 * a_right
        + 2 * (sum_a - sum_aa) * gram
    ).clamp(min=0)

    last = inner[:, -1:]
    after = (points - 1 - index).to(gram.dtype)
    tail = (norms[:, -1:] - norms + after * norm - 2 * (last - inner.diagonal(dim1=1, dim2=2)[:, None])[:, 0]).clamp(
        min=0
    )

    forward = index[:, None] > index[None, :]
    neighbour = index[:, None] == index[None, :] + 1
    # Without a cached point the first frame has to be a corner.
    allowed = forward & ~(missing[:, None, None] & (index == 0)[None, None, :] & ~neighbour)
    reachable = ~(missing[:, None] & (index == 0))
    if max_age is not None:
        allowed = allowed & ((clock[:, :, None] - clock[:, None, :] <= max_age) | neighbour)
        reachable = reachable & ((clock[:, -1:] - clock < max_age) | (index == points - 1))
    return segments.masked_fill(~allowed, torch.inf), tail.masked_fill(~reachable, torch.inf)


def best_corners(segments: torch.Tensor, tail: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
    """
    The polylines of least error plus price.

    Args:
        segments, tail: as `polyline_errors` returns them.
        prices (`torch.FloatTensor` of shape `(k, n)`): price of a corner; k alternatives for each trajectory.

    Returns:
        `torch.BoolTensor` of shape `(k, n, points)`: the corners. Point 0, the cached one, costs nothing.
    """
    points = tail.shape[1]
    cost = [torch.zeros_like(prices)]
    came_from = [torch.zeros_like(prices, dtype=torch.long)]
    for point in range(1, points):
        best = (torch.stack(cost, dim=-1) + segments[:, point, :point]).min(-1)
        cost.append(best.values + prices)
        came_from.append(best.indices)
    current = (torch.stack(cost, dim=-1) + tail).argmin(-1)
    corners = [torch.ones_like(current, dtype=torch.bool)]
    for point in range(points - 1, 0, -1):
        is_corner = current == point
        corners.append(is_corner)
        current = torch.where(is_corner, came_from[point], current)
    return torch.stack([corners[0], *reversed(corners[1:])], dim=-1)
