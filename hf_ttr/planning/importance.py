"""How much a position matters, and how much its surroundings matter to it."""

from __future__ import annotations

import torch


def saliency_weights(saliency: torch.Tensor, exponent: float) -> torch.Tensor:
    """
    Weights of the positions by the attention they receive.

    Args:
        saliency (`torch.Tensor` of shape `(batch, patches)`): attention of the CLS token, NaN where unknown.
        exponent (`float`): 0 weighs all positions alike, 0.5 takes the square root.

    Returns:
        `torch.FloatTensor` of shape `(batch, patches)` with mean 1 over the patches, all 1 where unknown.
    """
    weights = saliency.float().clamp(min=0).pow(exponent)
    weights = weights / weights.mean(-1, keepdim=True)
    return torch.nan_to_num(weights, nan=1.0)


def neighbourhood_mean(values: torch.Tensor, grid: tuple[int, int], size: int) -> torch.Tensor:
    """
    Mean over a square of patches around each position, cut off at the border of the grid.

    Args:
        values (`torch.Tensor` of shape `(batch, patches, ...)`): values of each position.
        grid (`tuple[int, int]`): rows and columns of patches.
        size (`int`): side of the square, odd.

    Returns:
        `torch.Tensor` of the same shape.
    """
    if size >= 2 * max(grid) - 1:
        return values.mean(1, keepdim=True).expand_as(values)
    maps = _window_sum(_window_sum(values.unflatten(1, grid), 1, size), 2, size)
    ones = values.new_ones(1, *grid)
    count = _window_sum(_window_sum(ones, 1, size), 2, size)
    return (maps / count.view(1, *grid, *[1] * (values.dim() - 2))).flatten(1, 2)


def _window_sum(values: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    """Sum over `size` neighbours along a dimension; nothing lies beyond the border."""
    length = values.shape[dim]
    total = values.clone()
    for shift in range(1, min(size // 2 + 1, length)):
        kept = length - shift
        total.narrow(dim, shift, kept).add_(values.narrow(dim, 0, kept))
        total.narrow(dim, 0, kept).add_(values.narrow(dim, shift, kept))
    return total


def spread_over_neighbours(values: torch.Tensor, grid: tuple[int, int], weight: float, size: int) -> torch.Tensor:
    """
    Adds to what each position changed what its surroundings changed.

    The deep states of a token follow what it attends to, which is mostly near.

    Args:
        values (`torch.FloatTensor` of shape `(batch, patches, ...)`): squared errors, or inner products.
        grid (`tuple[int, int]`): rows and columns of patches.
        weight (`float`): factor of the mean over the surroundings.
        size (`int`): side of the surroundings in patches, odd.

    Returns:
        `torch.FloatTensor` of the same shape.
    """
    if weight == 0:
        return values
    return values + weight * neighbourhood_mean(values, grid, size)
