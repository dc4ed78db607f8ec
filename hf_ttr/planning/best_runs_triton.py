"""The runs of least error plus price in one Triton kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


BLOCK_NUMBERS = 64
"""Costs that a program keeps: few, as a window has but some hundred positions and a GPU as many processors."""


@triton.jit
def best_runs_kernel(
    distances: tl.tensor,
    held: tl.tensor,
    sums: tl.tensor,
    fractions: tl.tensor,
    prices: tl.tensor,
    sources: tl.tensor,
    positions: tl.tensor,
    times: tl.tensor,
    BLOCK_POSITIONS: tl.constexpr,
    BLOCK_TIMES: tl.constexpr,
) -> None:
    """
    A block of positions at one price each; the grid is `(blocks, k)`.

    See `triton_best_runs` for the arguments, which are contiguous. It adds and compares what `run_costs` and
    `reference_best_runs` do, in their order.
    """
    rows = tl.program_id(0) * BLOCK_POSITIONS + tl.arange(0, BLOCK_POSITIONS)
    is_row = rows < positions
    # In a large batch an offset may exceed 32 bits.
    alternative = tl.program_id(1).to(tl.int64) * positions + rows
    rows = rows.to(tl.int64)
    price = tl.load(prices + alternative, mask=is_row, other=0.0)
    fraction = tl.load(fractions + rows, mask=is_row, other=0.0)

    # A column is a time, and a run that ends there.
    time = tl.arange(0, BLOCK_TIMES)
    is_slot = is_row[:, None] & (time < times)[None, :]
    slots = rows[:, None] * times + time[None, :]
    best = tl.full([BLOCK_POSITIONS, BLOCK_TIMES], float("inf"), tl.float32)
    length = tl.zeros([BLOCK_POSITIONS, BLOCK_TIMES], tl.int32)
    # What the times before `begin` cost.
    cost = tl.zeros([BLOCK_POSITIONS], tl.float32)
    for begin in tl.range(0, times):
        is_run = is_slot & (time >= begin)[None, :]
        own = time - begin + 1
        middle = begin + (fraction[:, None] * own.to(tl.float32)[None, :]).to(tl.int32)
        at_end = tl.load(sums + slots * times + middle, mask=is_run, other=float("inf"))
        before = sums + (rows[:, None] * times + begin - 1) * times + middle
        at_start = tl.load(before, mask=is_run & (begin > 0), other=0.0)
        candidate = cost[:, None] + tl.maximum(at_end - at_start, 0.0)
        # Of runs that are as good, the shortest.
        is_best = is_run & (candidate <= best)
        best = tl.where(is_best, candidate, best)
        length = tl.where(is_best, own[None, :], length)
        # What ends with this time: a run, or the time by itself, left to what was held.
        is_now = (time == begin)[None, :]
        of_run = tl.min(tl.where(is_now, best, float("inf")), 1) + price
        idle = cost + tl.load(held + rows * times + begin, mask=is_row, other=float("inf"))
        length = tl.where(is_now & (idle <= of_run)[:, None], 0, length)
        cost = tl.minimum(idle, of_run)

    source = tl.full([BLOCK_POSITIONS, BLOCK_TIMES], -1, tl.int32)
    end = tl.where(is_row, times, 0)
    while tl.max(end, 0) > 0:
        taken = tl.sum(tl.where((time + 1)[None, :] == end[:, None], length, 0), 1)
        first = end - tl.maximum(taken, 1)
        token = first + (fraction * taken.to(tl.float32)).to(tl.int32)
        is_inside = (time[None, :] >= first[:, None]) & (time[None, :] < end[:, None])
        source = tl.where(is_inside & (taken > 0)[:, None], token[:, None], source)
        end = tl.maximum(first, 0)

    # Within a run, what was held may be nearer than the token that stands for the run.
    error = tl.load(distances + slots * times + source, mask=is_slot & (source >= 0), other=0.0)
    left = tl.load(held + slots, mask=is_slot, other=float("inf"))
    source = tl.where((left < error) & (source != time[None, :]), -1, source)
    place = sources + alternative[:, None] * times + time[None, :]
    tl.store(place, source.to(tl.int64), mask=is_slot)


def kernel_settings(times: int) -> dict[str, int]:
    """The compile-time settings of the kernel for so many times."""
    block_times = triton.next_power_of_2(max(times, 1))
    return {
        "BLOCK_POSITIONS": max(BLOCK_NUMBERS // block_times, 1),
        "BLOCK_TIMES": block_times,
        "num_warps": min(max(block_times // BLOCK_NUMBERS, 1), 16),
    }


def triton_best_runs(
    distances: torch.Tensor, held: torch.Tensor, sums: torch.Tensor, fractions: torch.Tensor, prices: torch.Tensor
) -> torch.Tensor:
    """
    What `best_runs` finds in one kernel, the same bit for bit where no number is NaN.

    Args:
        distances, held, fractions, prices: as in `best_runs`.
        sums: as `run_costs` takes them.
    """
    distances, held, sums = distances.contiguous(), held.contiguous(), sums.contiguous()
    fractions, prices = fractions.contiguous(), prices.contiguous()
    alternatives, positions = prices.shape
    times = held.shape[1]
    sources = torch.empty((alternatives, positions, times), dtype=torch.long, device=held.device)
    if not sources.numel():
        return sources
    settings = kernel_settings(times)
    grid = (triton.cdiv(positions, settings["BLOCK_POSITIONS"]), alternatives)
    # Triton launches on the current device, whatever the tensors are on.
    with torch.cuda.device_of(held):
        best_runs_kernel[grid](distances, held, sums, fractions, prices, sources, positions, times, **settings)
    return sources
