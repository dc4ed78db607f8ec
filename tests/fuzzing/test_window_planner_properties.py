"""What holds for every plan of windows, whatever the settings and the content."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from hf_ttr import TemporalReuseConfig
from hf_ttr.planning.window_plan import WindowPlan
from hf_ttr.planning.window_planner import WindowPlanner
from hf_ttr.planning.window_state import WindowState

from .content import KINDS, SEEDS, SIZES, embeddings, few, window_settings


GRID, TIMES, POSITIONS, DIM = (2, 3), 4, 6, 4
SLOTS = TIMES * POSITIONS
BATCHES = st.integers(1, 3)
# How far each window is ahead of the one before; 0 shows the same again.
STRIDES = st.lists(st.integers(0, TIMES), min_size=0, max_size=3)
ANY = {
    "settings": window_settings(),
    "first_is_read": st.booleans(),
    "kind": st.sampled_from(KINDS),
    "size": SIZES,
    "seed": SEEDS,
    "batch": BATCHES,
    "strides": STRIDES,
}


def windows(kind: str, seed: int, batch: int, strides: list[int], size: float = 1.0) -> list[torch.Tensor]:
    patches = embeddings(kind, seed, (batch, TIMES + sum(strides), POSITIONS, DIM), size)
    starts = [sum(strides[:index]) for index in range(len(strides) + 1)]
    return [patches[:, start : start + TIMES] for start in starts]


def run(
    settings: dict[str, Any], shown: list[torch.Tensor], first_is_read: bool = False
) -> tuple[list[WindowPlan], list[WindowState | None]]:
    """The plans of windows that follow one another, and what was known before each and after the last."""
    planner = WindowPlanner(TemporalReuseConfig(**settings), GRID, first_is_read)
    plans: list[WindowPlan] = []
    states: list[WindowState | None] = [None]
    for patches in shown:
        plans.append(planner.plan(patches, states[-1]))
        states.append(planner.remember(plans[-1], patches, patches.double().sum((2, 3)), states[-1]))
    return plans, states


@few(1.5)
@given(**ANY)
def test_rows_count_as_often_as_they_are_used_and_belong_to_their_position(
    settings: dict[str, Any],
    first_is_read: bool,
    kind: str,
    size: float,
    seed: int,
    batch: int,
    strides: list[int],
) -> None:
    plans, states = run(settings, windows(kind, seed, batch, strides, size), first_is_read)
    held: list[tuple[int, int]] = []  # stream and position of the rows that are left
    for plan, state in zip(plans, states[1:]):
        own = [(stream, position) for stream, _, position in plan.computed.nonzero().tolist()]
        table = held + own
        place = torch.tensor([stream * POSITIONS + position for stream, position in table])
        expected = torch.arange(batch * POSITIONS).view(batch, 1, POSITIONS).expand(plan.shape)
        assert torch.equal(place[plan.left], expected)
        assert torch.equal(torch.where(plan.alpha > 0, place[plan.right], expected), expected)
        assert ((plan.alpha >= 0) & (plan.alpha <= 1)).all()
        assert not plan.alpha[plan.computed].any()
        assert torch.equal(plan.left[plan.computed], len(held) + torch.arange(len(own)))
        for counts in plan.counts.split(plan.live_counts):
            assert float(counts.sum()) == pytest.approx(SLOTS, abs=1e-4)
            assert (counts > 0).all()
        held = [table[row] for row in plan.live.tolist()]
        assert [stream for stream, _ in held] == sorted(stream for stream, _ in held)
        left, right = plan.live_slots
        # Whatever a slot is made of is live.
        for links, weight in ((left, 1 - plan.alpha), (right, plan.alpha)):
            assert (links[weight > 0] >= 0).all()
        assert state.counts == plan.live_counts
        assert len(state.age) == len(held)
        if first_is_read:
            assert plan.computed[:, 0, 0].all()


@few(1.5)
@given(**ANY)
def test_a_new_window_computes_something_at_every_position_and_keeps_to_its_budget(
    settings: dict[str, Any],
    first_is_read: bool,
    kind: str,
    size: float,
    seed: int,
    batch: int,
    strides: list[int],
) -> None:
    plans, _ = run(settings, windows(kind, seed, batch, [], size), first_is_read)
    assert plans[0].computed.any(1).all()
    budget = settings.get("compute_budget")
    if budget is not None and kind != "zero":
        # No price makes a new window cheaper than a token for each position.
        most = max(budget * SLOTS, POSITIONS) + first_is_read
        assert all(count <= most + 1e-4 for count in plans[0].row_counts)


@few(1.5)
@given(**ANY)
def test_no_row_gets_older_than_max_age(
    settings: dict[str, Any],
    first_is_read: bool,
    kind: str,
    size: float,
    seed: int,
    batch: int,
    strides: list[int],
) -> None:
    assume(settings["max_age"] is not None)
    _, states = run(settings, windows(kind, seed, batch, strides, size), first_is_read)
    for state in states[1:]:
        assert (state.age <= settings["max_age"]).all()


@few(1.5)
@given(**ANY)
def test_streams_are_planned_in_a_batch_as_alone(
    settings: dict[str, Any],
    first_is_read: bool,
    kind: str,
    size: float,
    seed: int,
    batch: int,
    strides: list[int],
) -> None:
    assume(batch > 1)
    shown = windows(kind, seed, batch, strides, size)
    together, _ = run(settings, shown, first_is_read)
    for stream in range(batch):
        alone, _ = run(settings, [patches[stream : stream + 1] for patches in shown], first_is_read)
        for mine, theirs in zip(alone, together):
            assert torch.equal(mine.computed[0], theirs.computed[stream])
            assert torch.equal(mine.alpha[0], theirs.alpha[stream])
            assert torch.equal(mine.counts, theirs.counts.split(theirs.live_counts)[stream])


@few(1)
@given(
    settings=window_settings(max_age=None),
    first_is_read=st.booleans(),
    kind=st.sampled_from(KINDS),
    size=SIZES,
    seed=SEEDS,
    batch=BATCHES,
    again=st.integers(1, 3),
)
def test_the_same_window_again_computes_nothing_but_what_is_read(
    settings: dict[str, Any], first_is_read: bool, kind: str, size: float, seed: int, batch: int, again: int
) -> None:
    plans, _ = run(settings, windows(kind, seed, batch, [0] * again, size), first_is_read)
    for plan in plans[1:]:
        assert plan.row_counts == [int(first_is_read)] * batch


@few(1)
@given(
    settings=window_settings(drift_weight=0),
    seed=SEEDS,
    batch=BATCHES,
    size=SIZES,
)
def test_a_still_window_computes_one_token_for_each_position(
    settings: dict[str, Any], seed: int, batch: int, size: float
) -> None:
    plans, _ = run(settings, windows("still", seed, batch, [], size))
    assert plans[0].row_counts == [POSITIONS] * batch


@few(1)
@given(
    settings=window_settings(),
    everything=st.sampled_from([{"threshold": 0, "compute_budget": None}, {"threshold": None, "compute_budget": 1}]),
    kind=st.sampled_from(KINDS),
    seed=SEEDS,
    batch=BATCHES,
    strides=STRIDES,
)
def test_threshold_0_and_a_budget_of_1_compute_everything(
    settings: dict[str, Any], everything: dict[str, Any], kind: str, seed: int, batch: int, strides: list[int]
) -> None:
    plans, _ = run({**settings, **everything}, windows(kind, seed, batch, strides))
    assert all(plan.is_dense for plan in plans)


@few(1)
@given(
    settings=window_settings(),
    kind=st.sampled_from([kind for kind in KINDS if kind != "zero"]),
    seed=SEEDS,
    batch=BATCHES,
    strides=STRIDES,
    exponent=st.integers(-12, 12),
)
def test_plans_are_relative_to_the_size_of_the_embeddings(
    settings: dict[str, Any], kind: str, seed: int, batch: int, strides: list[int], exponent: int
) -> None:
    shown = windows(kind, seed, batch, strides)
    plain, larger = run(settings, shown)[0], run(settings, [2.0**exponent * patches for patches in shown])[0]
    for mine, theirs in zip(plain, larger):
        assert torch.equal(mine.computed, theirs.computed)
        assert torch.equal(mine.left, theirs.left)
        assert torch.equal(mine.alpha, theirs.alpha)


@few(1)
@given(
    settings=window_settings(),
    kind=st.sampled_from(KINDS),
    seed=SEEDS,
    batch=st.integers(2, 3),
    strides=st.lists(st.integers(0, TIMES), min_size=1, max_size=2),
    data=st.data(),
)
def test_reset_streams_are_planned_as_new_and_the_others_go_on(
    settings: dict[str, Any], kind: str, seed: int, batch: int, strides: list[int], data: st.DataObject
) -> None:
    *shown, last = windows(kind, seed, batch, strides)
    chosen = data.draw(st.sets(st.integers(0, batch - 1)))
    _, states = run(settings, shown)
    planner = WindowPlanner(TemporalReuseConfig(**settings), GRID)
    going_on, new = planner.plan(last, states[-1]), planner.plan(last, None)
    plan = planner.plan(last, states[-1].without_rows_of(chosen))
    for stream in range(batch):
        expected = new if stream in chosen else going_on
        assert torch.equal(plan.computed[stream], expected.computed[stream])
        assert torch.equal(plan.alpha[stream], expected.alpha[stream])


@few(1)
@given(**{**ANY, "prefix": st.integers(0, 2), "moves": st.booleans()})
def test_rows_stand_in_the_window_at_the_position_of_their_slots_whatever_moves(
    settings: dict[str, Any],
    first_is_read: bool,
    kind: str,
    size: float,
    seed: int,
    batch: int,
    strides: list[int],
    prefix: int,
    moves: bool,
) -> None:
    planner = WindowPlanner(TemporalReuseConfig(**settings), GRID, first_is_read, prefix=prefix)
    state, max_age = None, settings.get("max_age", 24)
    for stride, patches in zip([0, *strides], windows(kind, seed, batch, strides, size)):
        entering = stride if moves and 0 < stride < TIMES else 0
        state = state.shifted(entering) if entering else state
        plan = planner.plan(patches, state, entering=entering)
        state = planner.remember(plan, patches, patches.double().sum((2, 3)), state)
        assert plan.row_counts == (prefix + plan.computed.flatten(1).sum(1)).tolist()
        positions = torch.arange(POSITIONS).expand(plan.shape)
        for links in (state.left, torch.where(state.alpha > 0, state.right, state.left)):
            assert torch.equal(state.row_slots[links] % POSITIONS, positions)
        assert (state.row_slots >= 0).all()
        assert (state.row_slots < SLOTS).all()
        # What is computed stands at its slot.
        own = torch.arange(SLOTS).view(TIMES, POSITIONS).expand(plan.shape)
        assert torch.equal(state.row_slots[state.left][plan.computed], own[plan.computed])
        counts = plan.counts.split(plan.live_counts)
        for stream, front in enumerate(plan.live_prefix.tolist()):
            assert float(counts[stream].sum()) == pytest.approx(prefix + SLOTS, abs=1e-4)
            assert (plan.counts[front] == 1).all()
        assert max_age is None or (state.age <= max_age).all()
