from __future__ import annotations

import pytest
import torch

from hf_ttr.planning.window_plan import PastSlots, WindowPlan


def by_position(*positions: list[int]) -> torch.Tensor:
    """Sources of one stream, written position by position; shape `(1, times, positions)`."""
    return torch.tensor(positions).T[None]


def past(left: list[list[int]], counts: list[int]) -> PastSlots:
    """Slots that are each held by one row; `left` is written position by position, of one stream each."""
    rows = torch.tensor(left).T[None]
    return PastSlots(rows, rows, torch.zeros(rows.shape), counts)


def test_slots_are_linked_to_the_rows_that_stand_for_them() -> None:
    plan = WindowPlan.build(by_position([0, 0, 2, 2], [1, 1, 1, 1], [0, 1, 3, 3]))
    # Rows are ordered by time and position.
    assert plan.rows.tolist() == [0, 2, 4, 5, 6, 11]
    assert plan.left[0].T.tolist() == [[0, 0, 4, 4], [2, 2, 2, 2], [1, 3, 5, 5]]
    assert torch.equal(plan.left, plan.right)
    assert not plan.alpha.any()
    assert plan.past_counts == [0]
    assert not plan.has_past
    assert plan.row_counts == [6]
    assert plan.live.tolist() == [0, 1, 2, 3, 4, 5]
    assert plan.counts.tolist() == [2, 1, 4, 1, 2, 2]
    assert plan.shape == (1, 4, 3)
    assert plan.slots == 12


def test_interpolation_is_linear_in_time_and_holds_at_the_ends() -> None:
    plan = WindowPlan.build(by_position([1, 1, 1, 1, 5, 5, 5]), interpolate=True)
    assert plan.left[0, :, 0].tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert plan.right[0, :, 0].tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert plan.alpha[0, :, 0].tolist() == [0, 0, 0.25, 0.5, 0.75, 0, 0]
    assert plan.counts.tolist() == [2 + 0.75 + 0.5 + 0.25, 2 + 0.25 + 0.5 + 0.75]


def test_rows_of_the_past_come_first_and_the_unused_are_not_live() -> None:
    sources = by_position([-1, -1, 2], [-1, 1, 1], [-1, -1, -1])
    plan = WindowPlan.build(sources, past([[0, 0, 1], [2, 2, 2], [4, 3, 3]], [5]))
    assert plan.left[0].T.tolist() == [[0, 0, 6], [2, 5, 5], [4, 3, 3]]
    assert plan.has_past
    assert plan.live.tolist() == [0, 2, 3, 4, 5, 6]
    assert plan.counts.tolist() == [2, 1, 2, 1, 2, 1]
    assert plan.live_counts == [6]
    assert plan.live_slots[0][0].T.tolist() == [[0, 0, 5], [1, 4, 4], [3, 2, 2]]


def test_held_slots_stay_mixed() -> None:
    kept = PastSlots(*(torch.tensor(part).view(1, 3, 1) for part in ([0, 0, 1], [0, 1, 1], [0.0, 0.5, 0.0])), [2])
    plan = WindowPlan.build(by_position([-1, -1, 2]), kept, interpolate=True)
    assert plan.left[0, :, 0].tolist() == [0, 0, 2]
    assert plan.right[0, :, 0].tolist() == [0, 1, 2]
    assert plan.alpha[0, :, 0].tolist() == [0, 0.5, 0]
    assert plan.live.tolist() == [0, 1, 2]
    assert plan.counts.tolist() == [1.5, 0.5, 1]


def test_live_rows_are_ordered_by_stream() -> None:
    sources = torch.cat([by_position([-1, 1], [-1, -1]), by_position([0, 0], [0, 1])])
    kept = PastSlots(
        torch.tensor([[[0, 1], [0, 1]], [[-1, -1], [-1, -1]]]),
        torch.tensor([[[0, 1], [0, 1]], [[-1, -1], [-1, -1]]]),
        torch.zeros(2, 2, 2),
        [2, 0],
    )
    plan = WindowPlan.build(sources, kept)
    # The table: two rows that are left, one computed of the first stream, three of the second.
    assert plan.row_counts == [1, 3]
    assert plan.live.tolist() == [0, 1, 2, 3, 4, 5]
    assert plan.live_counts == [3, 3]
    assert plan.left.flatten(1).tolist() == [[0, 1, 2, 1], [3, 4, 3, 5]]


def test_live_rows_of_the_past_and_the_present_are_sorted_stream_by_stream() -> None:
    left = torch.tensor([[[0], [1]], [[2], [3]]])
    sources = torch.tensor([[[-1], [1]], [[0], [-1]]])
    plan = WindowPlan.build(sources, PastSlots(left, left, torch.zeros(2, 2, 1), [2, 2]))
    # The first stream uses rows 0 and 4, the second 5 and 3.
    assert plan.live.tolist() == [0, 4, 3, 5]
    assert plan.live_counts == [2, 2]
    assert plan.live_slots[0][..., 0].tolist() == [[0, 1], [3, 2]]


def test_a_row_without_weight_is_not_live() -> None:
    computed = torch.tensor([[[True], [False]]])
    links = (torch.tensor([[[1], [1]]]), torch.tensor([[[1], [0]]]), torch.zeros(1, 2, 1))
    plan = WindowPlan(computed, *links, [1])
    assert plan.live.tolist() == [1]
    assert [part.flatten().tolist() for part in plan.live_slots] == [[0, 0], [0, 0]]


@pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
@pytest.mark.parametrize("seed", range(5))
def test_counts_sum_to_the_slots(seed: int, interpolate: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randint(0, 5, (3, 1, 7), generator=generator).repeat(1, 5, 1)
    extra = torch.rand(3, 5, 7, generator=generator) < 0.3
    sources = torch.where(extra, torch.arange(5)[:, None], sources)
    first = WindowPlan.build(sources, interpolate=interpolate)
    left, right = first.live_slots
    kept = PastSlots(left, right, first.alpha, first.live_counts)
    held = torch.rand(3, 5, 7, generator=generator) < 0.5
    computed = sources == torch.arange(5)[:, None]
    later = torch.where(held & ~computed, -1, sources)
    for plan in (first, WindowPlan.build(later, kept, interpolate)):
        sums = torch.stack([part.sum() for part in plan.counts.split(plan.live_counts)])
        torch.testing.assert_close(sums, torch.full((3,), 35.0))


def test_a_plan_that_computes_everything_is_dense() -> None:
    every = torch.arange(3)[:, None].expand(2, 3, 4)
    assert WindowPlan.build(every).is_dense
    kept = past([[0, 0, 0]] * 4, [1])
    plan = WindowPlan.build(every[:1], kept)
    assert plan.is_dense
    assert plan.live.tolist() == list(range(1, 13))
    assert not WindowPlan.build(by_position([0, 0])).is_dense


@pytest.mark.parametrize(
    ("sources", "kept"),
    [
        (by_position([-1, 1]), None),
        (by_position([-1, 1]), past([[-1, -1]], [0])),
        (by_position([-1, -1]), past([[0, -1]], [1])),
    ],
    ids=["no-past", "fresh", "not-held"],
)
@pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
def test_a_slot_without_a_row_is_refused(sources: torch.Tensor, kept: PastSlots | None, interpolate: bool) -> None:
    with pytest.raises(ValueError, match="^a slot of the plan is neither computed nor held from an earlier window.$"):
        WindowPlan.build(sources, kept, interpolate)


def test_tokens_in_front_come_first_and_count_once() -> None:
    sources = torch.cat([by_position([0, 0], [0, 1]), by_position([1, 1], [0, 0])])
    first = WindowPlan.build(sources, prefix=2)
    assert (first.tokens, first.slots, first.row_counts) == (6, 4, [5, 4])
    # Tokens 0 and 1 are in front; slots follow by time and position.
    assert first.rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 9, 10]
    assert first.row_slots.tolist() == [0, 0, 0, 1, 3, 0, 0, 1, 2]
    assert first.left.flatten(1).tolist() == [[2, 3, 2, 4], [8, 7, 8, 7]]
    assert first.counts.tolist() == [1, 1, 2, 1, 1, 1, 1, 2, 2]
    assert first.live_prefix.tolist() == [[0, 1], [5, 6]]
    assert first.stands_alone == [True, True]
    assert not first.is_dense
    assert WindowPlan.build(torch.tensor([[[0], [1]]]), prefix=1).is_dense
    of_slots = torch.arange(1.0, 9).view(2, 4, 1)
    assert first.of_rows(of_slots).flatten().tolist() == [0, 0, 1, 2, 4, 0, 0, 6, 7]

    # The next window computes those in front, and one slot; what the last one had in front is gone.
    kept = PastSlots(*first.live_slots, first.alpha, first.live_counts, first.live_row_slots)
    sources = torch.cat([by_position([-1, -1], [-1, -1]), by_position([-1, 1], [-1, -1])])
    second = WindowPlan.build(sources, kept, prefix=2)
    assert second.row_counts == [2, 3]
    assert second.live.tolist() == [2, 3, 4, 9, 10, 7, 8, 11, 12, 13]
    assert second.live_counts == [5, 5]
    assert second.counts.tolist() == [2, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    assert second.live_prefix.tolist() == [[3, 4], [7, 8]]
    assert second.live_row_slots.tolist() == [0, 1, 3, 0, 0, 1, 2, 0, 0, 2]
    assert second.live_slots[0].flatten(1).tolist() == [[0, 1, 0, 2], [6, 5, 9, 5]]
