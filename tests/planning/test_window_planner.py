from __future__ import annotations

from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseConfig
from hf_ttr.planning.plan import NEVER
from hf_ttr.planning.window_plan import WindowPlan
from hf_ttr.planning.window_planner import WindowPlanner
from hf_ttr.planning.window_state import WindowState


GRID = (2, 3)
POSITIONS, DIM, TIMES = 6, 4, 4
PLAIN = {"context_weight": 0, "drift_weight": 0, "window_weight": 0, "max_age": None}


def planner(first_is_read: bool = False, compute_all: bool = False, **settings: Any) -> WindowPlanner:
    settings = {**PLAIN, "threshold": None if "compute_budget" in settings else 0.3, **settings}
    return WindowPlanner(TemporalReuseConfig(**settings), GRID, first_is_read, compute_all)


def patches(batch: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(batch, 1, POSITIONS, DIM, generator=generator)
    return first + torch.randn(batch, TIMES, POSITIONS, DIM, generator=generator).mul(0.3).cumsum(1)


def checksums(batch: int = 2) -> torch.Tensor:
    return torch.arange(batch * 8, dtype=torch.float64).view(batch, 8)


def state_after(window: torch.Tensor, state: WindowState | None = None, **settings: Any) -> WindowState:
    """What is known after a window was planned and carried out."""
    maker = planner(**settings)
    return maker.remember(maker.plan(window, state), window, checksums(len(window)), state)


@pytest.mark.parametrize(
    ("settings", "compute_all"), [({"threshold": 0}, False), ({"compute_budget": 1}, False), ({}, True)], ids=str
)
def test_everything(settings: dict[str, Any], compute_all: bool) -> None:
    window = patches()
    for state in (None, state_after(window)):
        plan = planner(compute_all=compute_all, **settings).plan(window, state)
        assert plan.shape == (2, TIMES, POSITIONS)
        assert plan.is_dense
        assert plan.planning_multiply_adds == 0
        assert plan.past_counts == ([0, 0] if state is None else state.counts)


def test_making_a_plan_costs_the_products_of_all_pairs_of_times() -> None:
    assert planner().plan(patches(), None).planning_multiply_adds == POSITIONS * TIMES * TIMES * DIM


def test_a_new_window_computes_something_at_every_position() -> None:
    computed = planner().plan(patches(), None).computed
    assert computed.any(1).all()
    assert not computed.all()


@pytest.mark.parametrize("representative", ["start", "middle", "interpolate", "spread"])
def test_the_first_slot_is_computed_where_it_is_read(representative: str) -> None:
    window = patches()[:, :1].repeat(1, TIMES, 1, 1)
    state = None
    for _ in range(3):
        maker = planner(first_is_read=True, representative=representative)
        plan = maker.plan(window, state)
        assert plan.computed[:, 0, 0].all()
        if state is not None:
            assert plan.row_counts == [1, 1]
        state = maker.remember(plan, window, checksums(), state)


@pytest.mark.parametrize(
    ("mode", "representative", "mixed"),
    [
        ("bidirectional", "interpolate", True),
        ("bidirectional", "spread", True),
        ("bidirectional", "middle", False),
        ("bidirectional", "start", False),
        ("causal", "interpolate", False),
    ],
)
def test_which_settings_mix_tokens(mode: str, representative: str, mixed: bool) -> None:
    plan = planner(mode=mode, representative=representative).plan(patches(), None)
    assert bool(plan.alpha.any()) is mixed


def test_nothing_is_computed_where_nothing_changed() -> None:
    window = patches()
    assert not planner().plan(window, state_after(window)).computed.any()


def test_what_was_decided_for_a_slot_stands_while_it_is_still() -> None:
    window = patches()
    state = state_after(window, threshold=2.0)
    # The slots hold tokens that are far from them by now, but were good enough when they were chosen.
    assert not planner(threshold=1e-4).plan(window, state).computed.any()
    moved = window + 1e-2 * torch.randn(window.shape, generator=torch.Generator().manual_seed(1))
    assert planner(threshold=1e-4).plan(moved, state).computed.any()


def test_what_changed_by_more_than_the_threshold_is_computed() -> None:
    window = patches()
    state = state_after(window)
    window = window.clone()
    window[1, 2:, 4] += 3.0
    computed = planner().plan(window, state).computed
    assert computed[1, 2:, 4].any()
    computed[1, :, 4] = False
    assert not computed.any()


def test_errors_are_relative_to_the_norm_of_the_window() -> None:
    plans = []
    for factor in (1.0, 64.0):
        first, second = factor * patches(), factor * patches(seed=3)
        torch.testing.assert_close(planner().scale(second), second.norm(dim=-1).mean((1, 2)))
        plans.append((planner().plan(first, None), planner().plan(second, state_after(first))))
    for mine, theirs in zip(*plans):
        assert 0 < mine.computed.float().mean() < 1
        assert torch.equal(mine.computed, theirs.computed)


@pytest.mark.parametrize("max_age", [1, 2, 3])
def test_max_age_counts_the_windows_since_the_computation(max_age: int) -> None:
    window, state, counts = patches(), None, []
    for _ in range(7):
        maker = planner(max_age=max_age)
        plan = maker.plan(window, state)
        state = maker.remember(plan, window, checksums(), state)
        counts.append(plan.row_counts)
    assert [count != [0, 0] for count in counts] == [time % max_age == 0 for time in range(7)]
    assert all(count == counts[0] for count in counts if count != [0, 0])


def test_fresh_streams_are_planned_on_their_own() -> None:
    window, other = patches(3), patches(3, seed=5)
    state = state_after(window).without_rows_of({1})
    plan = planner().plan(other, state)
    alone = planner().plan(other[1:2], None)
    assert torch.equal(plan.computed[1:2], alone.computed)
    going_on = planner().plan(other, state_after(window))
    assert torch.equal(plan.computed[[0, 2]], going_on.computed[[0, 2]])


@pytest.mark.parametrize("budget", [0.3, 0.6])
def test_a_window_that_goes_on_meets_its_budget(budget: float) -> None:
    state = state_after(patches())
    share = planner(compute_budget=budget).plan(patches(seed=7), state).computed.float().mean((1, 2))
    assert (share <= budget).all()
    assert (share > budget - 0.1).all()


class TestRemember:
    def test_a_new_stream(self) -> None:
        window = patches(1)
        sources = torch.tensor([[[0, 1] * 3, [0, 1] * 3, [0, 2] * 3, [0, 2] * 3]])
        plan = WindowPlan.build(sources)
        state = planner().remember(plan, window, checksums(1), None)
        expected = [window[0, time, position] for time in range(TIMES) for position in range(POSITIONS)
                    if plan.computed[0, time, position]]  # fmt: skip
        assert torch.equal(state.reference, torch.stack(expected))
        assert state.age.tolist() == [1] * 9
        assert state.counts == [9]
        assert torch.equal(state.left, plan.left)
        assert torch.equal(state.checksums, checksums(1))
        assert torch.equal(state.patches, window)

    def test_a_stream_that_goes_on(self) -> None:
        first, second = patches(1), patches(1, seed=5)
        state = planner().remember(WindowPlan.build(torch.zeros(1, 4, 6, dtype=torch.long)), first, checksums(1), None)
        sources = torch.full((1, 4, 6), -1)
        sources[0, :, 2] = 3
        sources[0, 3, 4] = 3
        state = planner().remember(WindowPlan.build(sources, state.past), second, checksums(1), state)
        # Position 2 has another row, and the one it had stands for nothing; position 4 has both.
        rows = [first[0, 0, position] for position in (0, 1, 3, 4, 5)] + [second[0, 3, 2], second[0, 3, 4]]
        assert torch.equal(state.reference, torch.stack(rows))
        assert state.age.tolist() == [2] * 5 + [1, 1]
        assert state.left[0].T.tolist() == [[0] * 4, [1] * 4, [5] * 4, [2] * 4, [3, 3, 3, 6], [4] * 4]
        assert torch.equal(state.patches, second)

    def test_ages_stop_where_tokens_are_not_valid(self) -> None:
        window = patches(1)
        state = state_after(window)
        state.age = torch.full_like(state.age, NEVER)
        assert (state_after(window, state).age <= NEVER).all()

    def test_nothing_keeps_a_graph(self) -> None:
        window = patches().requires_grad_()
        assert not any(tensor.requires_grad for tensor in state_after(window, state_after(window)).tensors())


def test_what_was_left_counts_how_much_the_windows_changed_since() -> None:
    window, state = patches(batch=1), None
    state = state_after(window)
    assert (state.change == 0).all()
    expected = torch.zeros(())
    for step in range(1, 4):
        # One position moves away; the others stand still and are held.
        moved = window.clone()
        moved[:, :, 0] += step * 10
        plan = planner().plan(moved, state)
        assert plan.computed[0, :, 0].any()
        assert not plan.computed[0, :, 1:].any()
        norm = moved.norm(dim=-1).mean()
        expected = expected + ((moved - state.patches) / norm).square().sum(-1).mean()
        state = planner().remember(plan, moved, checksums(1), state)
        torch.testing.assert_close(state.change[state.age > 1], expected.expand(int((state.age > 1).sum())))
        assert (state.change[state.age == 1] == 0).all()


@pytest.mark.parametrize(("window_weight", "refreshed"), [(0.0, False), (1e-6, False), (1.0, True)])
def test_what_was_left_is_refreshed_once_the_window_changed(window_weight: float, refreshed: bool) -> None:
    window = patches(batch=1)
    state = state_after(window)
    moved = window.clone()
    moved[:, :, 0] += 10
    plan = planner(window_weight=window_weight).plan(moved, state)
    assert bool(plan.computed[0, :, 1:].any()) == refreshed
    assert not planner(window_weight=window_weight).plan(window, state).computed.any()


@pytest.mark.parametrize(("drift_weight", "computed"), [(0.0, 0), (0.01, 0), (0.1, POSITIONS)])
def test_what_comes_in_holds_the_last_time_until_that_is_far_away(drift_weight: float, computed: int) -> None:
    still = patches()[:, :1].repeat(1, TIMES, 1, 1)
    maker = planner(mode="causal", drift_weight=drift_weight)
    # One row for each position, at time 0; what comes in would stand 3 times behind it.
    state = state_after(still, mode="causal").shifted(1)
    plan = maker.plan(still, state, entering=1)
    assert plan.row_counts == [computed, computed]
    assert not plan.computed[:, :-1].any()
    assert plan.live_row_slots.max() == (TIMES * POSITIONS - 1 if computed else POSITIONS - 1)


def test_what_moves_along_is_held_and_what_comes_in_is_computed() -> None:
    video = torch.cat([patches(seed=1), patches(seed=2)], dim=1)
    maker, state = planner(mode="causal", threshold=1e-3), None
    for start in range(TIMES + 1):
        window = video[:, start : start + TIMES]
        state = None if state is None else state.shifted(1)
        plan = maker.plan(window, state, entering=int(start > 0))
        assert torch.equal(plan.computed, torch.arange(TIMES)[None, :, None].expand(2, TIMES, 6) >= (start and 3))
        state = maker.remember(plan, window, checksums(), state)
        # Each row stands at its slot.
        assert state.row_slots.tolist() == [*range(TIMES * POSITIONS)] * 2
        assert torch.equal(state.reference.view(window.shape), window)


def test_tokens_in_front_are_in_every_plan() -> None:
    maker = WindowPlanner(TemporalReuseConfig(**PLAIN, threshold=0.3), GRID, prefix=2)
    window, state = patches(), None
    for _ in range(3):
        plan = maker.plan(window, state)
        state = maker.remember(plan, window, checksums(), state)
        assert state.counts == plan.live_counts
        assert not state.reference[plan.live_prefix.flatten()].any()
    assert plan.row_counts == [2, 2]
