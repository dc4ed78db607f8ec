"""The polylines of least error plus price in one Triton kernel."""

from __future__ import annotations

import torch
import triton
import triton.language as tl


BLOCK_NUMBERS = 256
"""Costs that a program keeps: so many that 32 threads hold them in registers."""


@triton.jit
def best_corners_kernel(
    segments: tl.tensor,
    tail: tl.tensor,
    prices: tl.tensor,
    corners: tl.tensor,
    trajectories: tl.tensor,
    points: tl.tensor,
    reach: tl.tensor,
    BLOCK_TRAJECTORIES: tl.constexpr,
    BLOCK_POINTS: tl.constexpr,
) -> None:
    """
    A block of trajectories at one price each; the grid is `(blocks, k)`.

    See `best_corners` for the arguments, which are contiguous. It adds and compares what that does, in its order.
    """
    rows = tl.program_id(0) * BLOCK_TRAJECTORIES + tl.arange(0, BLOCK_TRAJECTORIES)
    is_row = rows < trajectories
    # In a large batch an offset may exceed 32 bits.
    alternative = tl.program_id(1).to(tl.int64) * trajectories + rows
    rows = rows.to(tl.int64)
    price = tl.load(prices + alternative, mask=is_row, other=0.0)

    # Point 0 has no column: it costs nothing, and every way back ends there.
    columns = 1 + tl.arange(0, BLOCK_POINTS)
    is_entry = is_row[:, None] & (columns < points)[None, :]
    pieces = segments + rows[:, None] * points * reach + columns[None, :] - 1
    cost = tl.full([BLOCK_TRAJECTORIES, BLOCK_POINTS], float("inf"), tl.float32)
    came_from = tl.zeros([BLOCK_TRAJECTORIES, BLOCK_POINTS], tl.int32)
    # With stages, pieces are read before the point in front of them is done.
    for point in tl.range(0, points - 1, num_stages=3):
        is_ahead = (columns > point) & (columns <= point + reach)
        piece = tl.load(pieces + point * (reach - 1), mask=is_entry & is_ahead[None, :], other=float("inf"))
        reached = tl.min(tl.where((columns == point)[None, :], cost, float("inf")), 1) + price
        reached = tl.where(point == 0, 0.0, reached)
        candidate = reached[:, None] + piece
        is_less = candidate < cost
        came_from = tl.where(is_less, point, came_from)
        cost = tl.where(is_less, candidate, cost)

    behind = tl.load(tail + rows[:, None] * points + columns[None, :], mask=is_entry, other=float("inf"))
    total = cost + price[:, None] + behind
    without = tl.load(tail + rows * points, mask=is_row, other=0.0)
    # Of corners that are as good, the first.
    current = tl.where(without <= tl.min(total, 1), 0, 1 + tl.argmin(total, 1))
    is_corner = tl.zeros([BLOCK_TRAJECTORIES, BLOCK_POINTS], tl.int1)
    while tl.max(current, 0) > 0:
        is_current = columns[None, :] == current[:, None]
        is_corner = is_corner | is_current
        current = tl.sum(tl.where(is_current, came_from, 0), 1)
    tl.store(corners + alternative * points, is_row, mask=is_row)
    tl.store(corners + alternative[:, None] * points + columns[None, :], is_corner, mask=is_entry)


def kernel_settings(points: int) -> dict[str, int]:
    """The compile-time settings of the kernel for so many points."""
    block_points = triton.next_power_of_2(max(points - 1, 1))
    return {
        "BLOCK_TRAJECTORIES": max(BLOCK_NUMBERS // block_points, 1),
        "BLOCK_POINTS": block_points,
        "num_warps": min(max(block_points // BLOCK_NUMBERS, 1), 16),
    }


def triton_best_corners(segments: torch.Tensor, tail: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
    """`best_corners` in one kernel, the same bit for bit where no number is NaN; see there."""
    segments, tail, prices = segments.contiguous(), tail.contiguous(), prices.contiguous()
    alternatives, trajectories = prices.shape
    points = tail.shape[1]
    corners = torch.empty((alternatives, trajectories, points), dtype=torch.bool, device=tail.device)
    if not corners.numel():
        return corners
    settings = kernel_settings(points)
    grid = (triton.cdiv(trajectories, settings["BLOCK_TRAJECTORIES"]), alternatives)
    # Triton launches on the current device, whatever the tensors are on.
    with torch.cuda.device_of(tail):
        best_corners_kernel[grid](segments, tail, prices, corners, trajectories, points, segments.shape[2], **settings)
    return corners
