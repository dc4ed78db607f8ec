"""How much a position matters, and how much its surroundings matter to it."""

from __future__ import annotations

import torch
from torch import nn


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
        values (`torch.Tensor` of shape `(n, patches)`): a value per position.
        grid (`tuple[int, int]`): rows and columns of patches.
        size (`int`): side of the square, odd.

    Returns:
        `torch.Tensor` of the same shape.
    """
    maps = values.unflatten(-1, grid).unsqueeze(1)
    for side in ((size, 1), (1, size)):
        padding = (side[0] // 2, side[1] // 2)
        maps = nn.functional.avg_pool2d(maps, side, stride=1, padding=padding, count_include_pad=False)
    return maps.squeeze(1).flatten(-2)


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
    maps = values.movedim(1, -1)
    mean = neighbourhood_mean(maps.reshape(-1, maps.shape[-1]), grid, size)
    return values + weight * mean.view(maps.shape).movedim(-1, 1)
