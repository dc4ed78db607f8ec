from __future__ import annotations

import pytest
import torch

from hf_ttr.planning.search import within_budget


WORTH = torch.linspace(-10, 5, 100).exp()


def plans_at(prices: torch.Tensor) -> torch.Tensor:
    """Tokens that are worth their price; those of stream b are worth b + 1 times as much."""
    return (torch.arange(prices.shape[1]) + 1)[None, :, None] * WORTH > prices[:, :, None]


def share_of(plans: torch.Tensor) -> torch.Tensor:
    return plans.float().mean(-1)


@pytest.mark.parametrize("budget", [0.01, 0.25, 0.5, 0.99])
def test_the_budget_is_used(budget: float) -> None:
    chosen = within_budget(plans_at, share_of, torch.zeros(3), budget)
    assert chosen.shape == (3, 100)
    assert chosen.sum(-1).tolist() == [round(budget * 100)] * 3


def test_each_stream_has_its_own_budget() -> None:
    chosen = within_budget(plans_at, share_of, torch.zeros(2), torch.tensor([0.1, 0.7]))
    assert chosen.sum(-1).tolist() == [10, 70]


def test_no_price_is_below_the_floor() -> None:
    floor = WORTH[[60, 80]] * torch.tensor([1, 2])
    chosen = within_budget(plans_at, share_of, floor, 1.0)
    assert chosen.sum(-1).tolist() == [39, 19]


def test_too_small_a_budget_takes_what_the_highest_price_does() -> None:
    chosen = within_budget(lambda prices: plans_at(prices.clamp(max=1)), share_of, torch.zeros(1), 0.0)
    assert torch.equal(chosen[0], WORTH > 1)


@pytest.mark.parametrize(("budget", "count"), [(0.3, 30), (0.0, 10)])
def test_errors_far_above_the_scale_of_a_stream_have_a_price_too(budget: float, count: int) -> None:
    worth = torch.linspace(15, 30, 100).exp()
    worth[90:] = torch.inf  # computed whatever the price
    chosen = within_budget(lambda prices: worth > prices[..., None], share_of, torch.zeros(1), budget)
    assert torch.equal(chosen[0], torch.arange(100) >= 100 - count)
