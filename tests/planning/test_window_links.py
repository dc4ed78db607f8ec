"""Links to rows of a table, against plans whose rows lie one behind the other."""

from __future__ import annotations

import pytest
import torch

from hf_ttr.planning.window_links import WindowLinks, held_uses, link_slots, uses_of_rows
from hf_ttr.planning.window_plan import PastSlots, WindowPlan
from hf_ttr.planning.window_state import WindowState


BATCH, TIMES, POSITIONS, CAPACITY = 2, 4, 9, 48


def state_of(left: torch.Tensor, right: torch.Tensor, alpha: torch.Tensor, capacity: int = CAPACITY) -> WindowState:
    """A state of which nothing but the links counts."""
    rows = torch.zeros(BATCH * capacity)
    empty = torch.zeros(0)
    return WindowState(empty, empty, rows, rows, rows, left, right, alpha, rows, [capacity] * BATCH)


def random_sources(share: float, known: bool, seed: int) -> torch.Tensor:
    """About such a share of the slots is computed, and of others most are held where something is known."""
    generator = torch.Generator().manual_seed(seed)
    shape = (BATCH, TIMES, POSITIONS)
    computed = torch.rand(shape, generator=generator) < share
    computed[:, 0] |= not known
    time = torch.arange(TIMES)[:, None].expand(shape)
    latest = torch.where(computed, time, -1).cummax(1).values
    held = known & (torch.rand(shape, generator=generator) < 0.7) & ~computed
    return torch.where(held, -1, latest)


@pytest.mark.parametrize("interpolate", [False, True])
def test_slots_are_made_of_the_same_tokens_as_with_plans(interpolate: bool) -> None:
    past: PastSlots | None = None
    zeros = torch.zeros(BATCH, TIMES, POSITIONS, dtype=torch.long)
    state = state_of(zeros, zeros, torch.zeros(BATCH, TIMES, POSITIONS))
    # What lies in each row, of the plan and of the table: the number of the token that was computed there.
    of_plan, of_table = torch.zeros(0), torch.full((BATCH * CAPACITY,), torch.nan)
    for window in range(12):
        sources = random_sources(0.3, window > 0, window)
        plan = WindowPlan.build(sources, past, interpolate)
        links = link_slots(sources, state, interpolate)
        assert torch.equal(links.alpha, plan.alpha)
        tokens = 1000.0 * (window + 1) + plan.rows
        of_plan = torch.cat([of_plan, tokens])[plan.live]
        of_table[links.places.flatten()[plan.rows]] = tokens
        left, right = plan.live_slots
        assert torch.equal(of_table[links.left], of_plan[left])
        assert torch.equal(of_table[links.right], of_plan[right])
        assert (links.counts > 0).sum(1).tolist() == plan.live_counts
        torch.testing.assert_close(links.counts.flatten()[links.left], plan.counts[left])
        assert torch.equal(links.numbers.flatten()[plan.rows], numbers_of(plan))
        past = PastSlots(left, right, plan.alpha, plan.live_counts)
        state = state_of(links.left, links.right, links.alpha)


def numbers_of(plan: WindowPlan) -> torch.Tensor:
    """How many computed slots of the same stream come before each."""
    return torch.cat([torch.arange(count) for count in plan.row_counts])


def linked(seed: int) -> tuple[torch.Tensor, WindowState, WindowLinks]:
    """A window of which something is held, the state before, and its links."""
    zeros = torch.zeros(BATCH, TIMES, POSITIONS, dtype=torch.long)
    first = link_slots(random_sources(0.5, False, 0), state_of(zeros, zeros, zeros.float()), True)
    state = state_of(first.left, first.right, first.alpha)
    sources = random_sources(0.3, True, seed)
    return sources, state, link_slots(sources, state, True)


def test_rows_that_are_held_are_not_given_away() -> None:
    sources, state, links = linked(1)
    computed = sources == torch.arange(TIMES)[:, None]
    given = links.places[computed.flatten(1)]
    assert len(given.unique()) == len(given)
    assert (held_uses(sources, state).flatten()[given] == 0).all()
    assert (given // CAPACITY == computed.nonzero()[:, 0]).all()


def test_links_done_again_with_their_own_result_are_the_same() -> None:
    sources, _, links = linked(2)
    again = link_slots(sources, state_of(links.left, links.right, links.alpha), True)
    for name in ("left", "right", "alpha", "places", "counts"):
        assert torch.equal(getattr(again, name), getattr(links, name)), name


def test_uses_of_some_slots_are_shares_of_each() -> None:
    left, right = torch.tensor([[[0, 1]]]), torch.tensor([[[2, 1]]])
    alpha = torch.tensor([[[0.25, 0.0]]])
    assert uses_of_rows(left, right, alpha, 4).tolist() == [0.75, 1, 0.25, 0]
    assert uses_of_rows(left, right, alpha, 4, torch.tensor([[[True, False]]])).tolist() == [0.75, 0, 0.25, 0]
