"""
Planning a clip whose tokens all attend to one another: which runs of time does one computed token stand for.

The times of a position are cut into runs, and each run is represented by one computed token, at its middle or at its
start (run-length tokenization, Choudhury et al. 2024, takes the start), or in neighbouring positions at different
times: where nothing moves, a model then still sees every time somewhere. Among all divisions this finds the best one:
the least sum of squared errors plus a price for every run. Where an earlier window of the stream left a state for the
same slot, a slot takes that one if it is nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from ..configuration import DEFAULT_WINDOW_THRESHOLD, TemporalReuseConfig
from ..devices import triton_unavailable_reason
from .importance import spread_over_neighbours
from .price import prices_of_streams
from .search import within_budget
from .window_plan import is_computed


HELD = -1
"""In place of a time: the slot keeps the state that an earlier window left."""

SPREAD = 5
"""Different places in a run that the tokens of neighbouring positions take."""


def choose_runs(
    features: torch.Tensor,
    held_errors: torch.Tensor | None,
    grid: tuple[int, int],
    config: TemporalReuseConfig,
    budget: float | None = None,
    thresholds: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Chooses the tokens whose computation removes more error than they cost.

    A token is worth computing if it takes at least the square of the threshold off the sum of the squared errors of
    its position. With a budget, the threshold of each stream is searched for.

    Args:
        features (`torch.FloatTensor` of shape `(batch, times, positions, dim)`): embeddings over their mean norm.
        held_errors (`torch.FloatTensor` of shape `(batch, times, positions)`, *optional*): squared distances of the
            features to those of the states that earlier windows left, infinite where there is none.
        grid (`tuple[int, int]`): rows and columns of positions.
        config: the settings.
        budget (`float`, *optional*): share of the tokens that may be computed.
        thresholds (`torch.Tensor` of shape `(batch,)`, *optional*): of the streams, instead of that of the settings.

    Returns:
        `torch.LongTensor` of shape `(batch, times, positions)`: the time of the token that stands for each slot, or
        `HELD`; and a `torch.FloatTensor` of the same shape: the squared error of what stands for it.
    """
    batch, times, positions, _ = features.shape
    errors = pairwise_distances(features.transpose(1, 2))
    if held_errors is not None:
        known = held_errors.isfinite().transpose(1, 2)
        errors = torch.cat([errors, torch.where(known, held_errors.transpose(1, 2), 0.0)[..., None]], dim=-1)
    errors = spread_over_neighbours(errors, grid, config.context_weight, config.context_size)
    distances = errors[..., :times] + drift(times, config, features.device)
    held = features.new_full((batch, positions, times), torch.inf)
    if held_errors is not None:
        held = torch.where(known, errors[..., times].round(decimals=5), torch.inf)
    distances, held = distances.flatten(0, 1), held.flatten(0, 1)
    fractions = representative_fractions(grid, config, features.device).repeat(batch)
    runs_at = best_runs(distances, held, fractions)

    def sources_at(prices: torch.Tensor) -> torch.Tensor:
        """Times that stand for the slots at prices of shape `(n, batch)`; shape `(n, batch, times, positions)`."""
        sources = runs_at(prices.repeat_interleave(positions, dim=1))
        return sources.unflatten(1, (batch, positions)).transpose(2, 3)

    floor = prices_of_streams(config, thresholds, batch, features.device, DEFAULT_WINDOW_THRESHOLD)
    sources = (
        sources_at(floor[None])[0]
        if budget is None
        else within_budget(sources_at, lambda found: is_computed(found).float().mean((-1, -2)), floor, budget)
    )
    own = distances.view(batch, positions, times, times).permute(0, 2, 3, 1)
    error = own.gather(2, sources.clamp(min=0)[:, :, None])[:, :, 0]
    # Where a division leaves a slot to what was held, the error there is not that of any token.
    return sources, torch.where(sources == HELD, held.view(batch, positions, times).transpose(1, 2), error)


def pairwise_distances(points: torch.Tensor) -> torch.Tensor:
    """Squared distances of all pairs, `(..., n, dim)` to `(..., n, n)`; 0 where points are the same up to rounding."""
    points = points - points[..., :1, :]
    gram = points @ points.transpose(-1, -2)
    norms = gram.diagonal(dim1=-2, dim2=-1)
    # Rounding must not choose between runs that are as good: a clip is planned the same in any batch.
    return (norms[..., None] + norms[..., None, :] - 2 * gram).clamp(min=0).round(decimals=5)


def drift(times: int, config: TemporalReuseConfig, device: torch.device) -> torch.Tensor:
    """
    What a slot loses by being represented by another time, whatever its content; shape `(times, times)`.

    Position embedding and context move on with time, so the error of a token that stands still grows as well.
    """
    time = torch.arange(times, device=device, dtype=torch.float32)
    return config.drift_weight * (time[:, None] - time).square()


def representative_fractions(
    grid: tuple[int, int], config: TemporalReuseConfig, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """How far into a run the token lies that stands for it, for each position, `float32` of shape `(positions,)`."""
    if config.representative == "spread" and config.mode != "causal":
        # A knight's move apart: every position and its four neighbours take all five places.
        rows, columns = (torch.arange(side, device=device) for side in grid)
        return (((2 * rows[:, None] + columns) % SPREAD + 0.5).float() / SPREAD).flatten()
    fraction = 0.0 if config.mode == "causal" or config.representative == "start" else 0.5
    return torch.full((grid[0] * grid[1],), fraction, dtype=torch.float32, device=device)


def representatives(times: int, fractions: torch.Tensor) -> torch.Tensor:
    """
    The time of the token that stands for a run, of shape `(positions, times, times)`: by position, start of the run,
    and its length less one.
    """
    start = torch.arange(times, device=fractions.device)[:, None]
    length = torch.arange(1, times + 1, device=fractions.device)
    return start + (fractions[:, None, None] * length).floor().long()


def best_runs(
    distances: torch.Tensor, held: torch.Tensor, fractions: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """
    What finds the divisions into runs of least error plus price.

    It runs in one Triton kernel where it can, and otherwise as `reference_best_runs`.

    Args:
        distances (`torch.FloatTensor` of shape `(n, times, times)`): squared errors of time t represented by time m.
        held (`torch.FloatTensor` of shape `(n, times)`): squared errors of what earlier windows left.
        fractions (`torch.FloatTensor` of shape `(n,)`): see `representative_fractions`.

    Returns:
        It takes prices of a run, a `torch.FloatTensor` of shape `(k, n)`, k alternatives for each position; and
        returns a `torch.LongTensor` of shape `(k, n, times)`: the time of the token that stands for each, or `HELD`
        between runs, and within a run where what an earlier window left is nearer than the token that stands for it.
    """
    sums = torch.minimum(distances, held[:, :, None]).cumsum(1)
    if triton_unavailable_reason(distances.device) is None:
        from .best_runs_triton import triton_best_runs

        return partial(triton_best_runs, distances, held, sums, fractions)
    middles = representatives(distances.shape[1], fractions)
    return partial(reference_best_runs, run_costs(sums, middles), distances, held, middles)


def run_costs(sums: torch.Tensor, middles: torch.Tensor) -> torch.Tensor:
    """
    Errors of all runs.

    Args:
        sums (`torch.FloatTensor` of shape `(n, times, times)`): of the times up to t, each represented by time m or by
            what was left, whichever is nearer.
        middles (`torch.LongTensor` of shape `(n, times, times)`): see `representatives`.

    Returns:
        `torch.FloatTensor` of shape `(n, times, times)`: `costs[:, a, g - 1]` is the sum of the squared errors of the
        times a to a + g - 1, each represented by the token of the run or by what was left, whichever is nearer;
        infinite where the run goes past the end.
    """
    count, times, _ = sums.shape
    # Sums over t before a, for every m.
    before = torch.nn.functional.pad(sums, (0, 0, 1, 0)).flatten(1)
    start = torch.arange(times, device=sums.device)[:, None]
    end = start + torch.arange(1, times + 1, device=sums.device)
    middle = middles.clamp(max=times - 1)
    at_end, at_start = (
        before.gather(1, (bound * times + middle).flatten(1)).view(count, times, times)
        for bound in (end.clamp(max=times), start)
    )
    return (at_end - at_start).clamp(min=0).masked_fill(end > times, torch.inf)


def reference_best_runs(
    costs: torch.Tensor, distances: torch.Tensor, held: torch.Tensor, middles: torch.Tensor, prices: torch.Tensor
) -> torch.Tensor:
    """
    `best_runs` time by time in plain torch, on any device.

    Args:
        costs: as `run_costs` returns them.
        distances, held, prices: as in `best_runs`.
        middles: as `run_costs` takes them.
    """
    count, times, _ = costs.shape
    device = costs.device
    ends = torch.arange(times + 1, device=device)
    lengths, position = ends[1:], torch.arange(count, device=device)[:, None]
    # By the end of a run, from the shortest; those that begin before the first time are not looked at.
    by_end = costs[:, (ends[1:, None] - lengths).clamp(min=0), lengths - 1]
    # What the times before each end cost, from the last to the first, as the runs lie that they are added to.
    total = prices.new_zeros((*prices.shape, times + 1))
    run = torch.zeros(total.shape, dtype=torch.long, device=device)
    for end in range(1, times + 1):
        # Runs that end here; then none, which costs nothing but the error of what was left.
        best, shortest = (total[..., times + 1 - end :] + by_end[:, end - 1, :end]).min(-1)
        best = best + prices
        idle = total[..., times + 1 - end] + held[:, end - 1]
        torch.mul(shortest + 1, ~(idle <= best), out=run[..., end])
        torch.minimum(idle, best, out=total[..., times - end])
    # The token of the run that ends at each time, and where the one before it ends: on a GPU it is dear to go back
    # over the times with more than one operation for each. A slot that is held is as wide as a run of one.
    is_idle, begin = run == 0, ends - run
    own = middles.flatten(1)[position, begin.clamp(max=times - 1) * times + (run - 1).clamp(min=0)]
    own, before = own.masked_fill(is_idle, HELD), (begin - is_idle.long()).clamp(min=0)
    path = [torch.full((*prices.shape, 1), times, device=device)]
    for _ in range(times - 1):
        path.append(before.gather(-1, path[-1]))
    taken = torch.cat(path, -1)
    # For each time the first end behind it of those that are taken.
    behind = torch.full_like(run, times).scatter_(-1, taken, taken)[..., 1:].flip(-1).cummin(-1).values.flip(-1)
    sources = own.gather(-1, behind)
    # Within a run, what an earlier window left may be nearer than the token that stands for the run.
    error = distances.expand(len(prices), -1, -1, -1).gather(-1, sources.clamp(min=0)[..., None])[..., 0]
    return sources.masked_fill((held < error) & (sources != ends[:-1]), HELD)
