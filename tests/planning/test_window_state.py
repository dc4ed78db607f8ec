from __future__ import annotations

import pytest
import torch

from hf_ttr.planning.window_state import WindowState


def state() -> WindowState:
    """Streams of 2, 0, 1 and 3 rows, with one time and three positions; every number names its stream or row."""
    left = torch.tensor([[[0, 1, 1]], [[-1, -1, -1]], [[2, 2, 2]], [[5, 3, 4]]])
    right = torch.tensor([[[0, 0, 1]], [[-1, -1, -1]], [[2, 2, 2]], [[5, 4, 4]]])
    stream = torch.arange(4.0)
    return WindowState(
        patches=stream.view(4, 1, 1, 1).repeat(1, 1, 3, 2),
        checksums=stream.double()[:, None] * 10,
        reference=torch.arange(6.0)[:, None].repeat(1, 2),
        age=torch.arange(6) + 1,
        change=torch.arange(6.0) / 8,
        left=left,
        right=right,
        alpha=torch.tensor([[[0, 0.5, 0]], [[0, 0, 0]], [[0, 0, 0]], [[0, 0.25, 0]]]),
        row_slots=torch.arange(6) % 3,
        counts=[2, 0, 1, 3],
    )


def test_what_a_state_says_of_itself() -> None:
    known = state()
    assert known.batch_size == 4
    assert known.is_fresh == [False, True, False, False]
    assert len(known.tensors()) == 9
    assert known.past.counts == [2, 0, 1, 3]
    assert torch.equal(known.past.left, known.left)


@pytest.mark.parametrize(
    ("streams", "rows"),
    [([0], [0, 1]), ([1], []), ([3, 0], [3, 4, 5, 0, 1]), ([2, 1, 2], [2, 2]), ([], [])],
    ids=str,
)
def test_rows_of_streams(streams: list[int], rows: list[int]) -> None:
    assert state().rows_of(torch.tensor(streams, dtype=torch.long)).tolist() == rows


def test_selected_streams_find_their_rows() -> None:
    chosen = state().select(torch.tensor([3, 1, 0, 3]))
    assert chosen.counts == [3, 0, 2, 3]
    assert chosen.reference[:, 0].tolist() == [3, 4, 5, 0, 1, 3, 4, 5]
    assert chosen.age.tolist() == [4, 5, 6, 1, 2, 4, 5, 6]
    assert chosen.left[:, 0].tolist() == [[2, 0, 1], [-1, -1, -1], [3, 4, 4], [7, 5, 6]]
    assert chosen.right[:, 0].tolist() == [[2, 1, 1], [-1, -1, -1], [3, 3, 4], [7, 6, 6]]
    assert chosen.alpha[:, 0, 1].tolist() == [0.25, 0, 0.5, 0.25]
    assert chosen.checksums[:, 0].tolist() == [30, 10, 0, 30]
    assert chosen.patches[:, 0, 0, 0].tolist() == [3, 1, 0, 3]


def test_there_and_back_changes_nothing() -> None:
    known = state()
    order = torch.tensor([2, 3, 1, 0])
    again = known.select(order).select(order.argsort())
    assert again.counts == known.counts
    for mine, theirs in zip(again.tensors(), known.tensors(), strict=True):
        assert torch.equal(mine, theirs)


def test_forgotten_streams_are_new_and_the_others_find_their_rows() -> None:
    known = state().without_rows_of({0})
    assert known.counts == [0, 0, 1, 3]
    assert known.is_fresh == [True, True, False, False]
    assert known.reference[:, 0].tolist() == [2, 3, 4, 5]
    assert known.age.tolist() == [3, 4, 5, 6]
    assert known.left[:, 0].tolist() == [[-1] * 3, [-1] * 3, [0] * 3, [3, 1, 2]]
    assert known.right[:, 0].tolist() == [[-1] * 3, [-1] * 3, [0] * 3, [3, 2, 2]]
    assert known.without_rows_of({0}).left.tolist() == known.left.tolist()


def test_all_streams_forgotten() -> None:
    known = state().without_rows_of({0, 1, 2, 3})
    assert known.counts == [0] * 4
    assert len(known.reference) == len(known.age) == 0
    assert (known.left == -1).all()
    assert (known.right == -1).all()


def test_another_device() -> None:
    moved = state().to("meta")
    assert all(tensor.device.type == "meta" for tensor in moved.tensors())
    assert moved.counts == [2, 0, 1, 3]


def test_a_window_that_is_ahead_sees_what_slots_hold_elsewhere() -> None:
    rows = torch.tensor([[[0, 1], [2, 1], [3, 4], [5, 6]]])
    known = WindowState(
        patches=torch.arange(8.0).view(1, 4, 2, 1),
        checksums=torch.zeros(1, 8),
        reference=torch.zeros(7, 1),
        age=torch.ones(7, dtype=torch.long),
        change=torch.zeros(7),
        left=rows,
        right=rows,
        alpha=torch.zeros(1, 4, 2),
        row_slots=torch.tensor([0, 3, 2, 4, 5, 6, 7]),
        counts=[7],
    )
    ahead = known.shifted(2)
    assert ahead.left[0].tolist() == [[3, 4], [5, 6], [5, 6], [5, 6]]
    assert ahead.patches[0, :, :, 0].tolist() == [[4, 5], [6, 7], [6, 7], [6, 7]]
    # Rows move with their slots; those that fall out stand at the first time of their position.
    assert ahead.row_slots.tolist() == [0, 1, 0, 0, 1, 2, 3]
    assert known.row_slots.tolist() == [0, 3, 2, 4, 5, 6, 7]
    assert ahead.counts == [7]
