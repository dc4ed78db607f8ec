"""The search for the threshold that meets a budget."""

from __future__ import annotations

from collections.abc import Callable

import torch


PRICES = 16
"""Prices that are tried at once."""

LOWEST, HIGHEST, EXTREME = -16.0, 8.0, 64.0
"""Logarithms of the prices between which is searched; the last for streams whose errors dwarf their embeddings."""


def within_budget(
    plans_at: Callable[[torch.Tensor], torch.Tensor],
    share_of: Callable[[torch.Tensor], torch.Tensor],
    floor: torch.Tensor,
    budget: float | torch.Tensor,
) -> torch.Tensor:
    """
    What is chosen at the lowest price, of at least `floor`, that keeps each stream within the budget.

    Args:
        plans_at: takes prices of shape `(n, batch)`, returns what is chosen at each, `(n, batch, ...)`.
        share_of: the share of the tokens computed in it, `(n, batch)`; it falls as the price rises.
        floor (`torch.FloatTensor` of shape `(batch,)`): the lowest price.
        budget (`float` or `torch.Tensor` of shape `(batch,)`): the largest share.

    Returns:
        `torch.Tensor` of shape `(batch, ...)`; where no price is within the budget, what the highest one chooses.
    """
    batch = floor.shape[0]
    low, high = floor.new_full((batch,), LOWEST), floor.new_full((batch,), HIGHEST)
    # A higher price than necessary leaves errors no digits, so none is tried that computes as much.
    ends = torch.stack([high, floor.new_full((batch,), EXTREME)])
    most, least = share_of(plans_at(torch.maximum(torch.exp(ends), floor)))
    beyond = (most > budget) & (least < most)
    low, high = torch.where(beyond, HIGHEST, low), torch.where(beyond, EXTREME, high)
    budget = torch.where(beyond, least.clamp(min=budget), budget)
    streams = torch.arange(batch, device=floor.device)
    steps = torch.linspace(0, 1, PRICES, dtype=floor.dtype, device=floor.device)[:, None]
    for _ in range(3):
        exponents = low + (high - low) * steps
        candidates = plans_at(torch.maximum(torch.exp(exponents), floor))
        fits = share_of(candidates) <= budget
        # Too small a budget leaves the highest price, which computes the least that is possible.
        best = torch.where(fits.any(0), fits.float().argmax(0), PRICES - 1)
        high = exponents[best, streams]
        low = exponents[(best - 1).clamp(min=0), streams]
    return candidates[best, streams]
