"""What the planner of windows remembers of the streams between calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch

from .window_plan import PastSlots


@dataclass
class WindowState:
    """
    What is known of the last window of each stream. Its rows are those that stand for at least one slot, stream by
    stream; a stream without rows is new.

    Attributes:
        patches (`torch.Tensor` of shape `(batch, times, positions, dim)`): patch embeddings of the window, positions
            left out.
        checksums (`torch.DoubleTensor` of shape `(batch, frames)`): sums of the pixels of its frames.
        reference (`torch.Tensor` of shape `(rows, dim)`): patch embedding that each row was computed from.
        age (`torch.LongTensor` of shape `(rows,)`): windows since then, 1 = the last one.
        change (`torch.FloatTensor` of shape `(rows,)`): how much the windows changed since then, summed over windows:
            mean over the slots of the squared change of their embeddings.
        left, right (`torch.LongTensor` of shape `(batch, times, positions)`): the rows that each slot is made of.
        alpha (`torch.FloatTensor` of shape `(batch, times, positions)`): share of `right`.
        row_slots (`torch.LongTensor` of shape `(rows,)`): the slot that each row stands at: where it was computed, or
            the first of its position in the window, where the window has left that behind; 0 for tokens in front.
        counts (`list[int]`): number of rows of each stream.
    """

    patches: torch.Tensor
    checksums: torch.Tensor
    reference: torch.Tensor
    age: torch.Tensor
    change: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    alpha: torch.Tensor
    row_slots: torch.Tensor
    counts: list[int]

    @property
    def past(self) -> PastSlots:
        """Where the slots find their rows."""
        return PastSlots(self.left, self.right, self.alpha, self.counts, self.row_slots)

    @property
    def is_fresh(self) -> list[bool]:
        """Which streams have no rows."""
        return [count == 0 for count in self.counts]

    @property
    def batch_size(self) -> int:
        """Number of streams."""
        return len(self.counts)

    def tensors(self) -> list[torch.Tensor]:
        """All tensors held."""
        return [value for value in vars(self).values() if isinstance(value, torch.Tensor)]

    def token_rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Reference and age of every row, `(rows, dim)` and `(rows,)`; a window counts as its times."""
        return self.reference, self.age * self.left.shape[1]

    def shifted(self, times: int) -> WindowState:
        """
        The same state as a window sees it that is ahead by so many times, less than it has: each slot takes what the
        slot holds that showed the same; slots that come in begin with what the last one holds.
        """
        _, count, positions = self.left.shape
        seen = torch.arange(times, count + times, device=self.left.device).clamp(max=count - 1)
        moved = self.row_slots - times * positions
        return replace(
            self,
            patches=self.patches[:, seen],
            left=self.left[:, seen],
            right=self.right[:, seen],
            alpha=self.alpha[:, seen],
            # A row that outlives its slot stays in the window: times before the first are none that a model knows.
            row_slots=torch.where(moved < 0, moved % positions, moved),
        )

    def rows_of(self, streams: torch.Tensor) -> torch.Tensor:
        """Indices of the rows of the given streams, in the given order."""
        starts = [0, *accumulate(self.counts)]
        rows = [range(starts[stream], starts[stream] + self.counts[stream]) for stream in streams.tolist()]
        return torch.tensor([row for own in rows for row in own], dtype=torch.long, device="cpu")

    @staticmethod
    def join(states: Sequence[WindowState]) -> WindowState:
        """The streams of several states, in their order, on the device of the first."""
        states = [state.to(states[0].age.device) for state in states]
        parts: dict[str, Any] = {
            name: torch.cat([getattr(state, name) for state in states])
            for name, value in vars(states[0]).items()
            if isinstance(value, torch.Tensor) and name not in ("left", "right")
        }
        starts = [0, *accumulate(len(state.age) for state in states)]
        for name in ("left", "right"):
            slots = [getattr(state, name) for state in states]
            # -1 stays: no row.
            parts[name] = torch.cat([torch.where(own < 0, -1, own + start) for own, start in zip(slots, starts)])
        return WindowState(**parts, counts=[count for state in states for count in state.counts])

    def select(self, streams: torch.Tensor) -> WindowState:
        """The state of the given streams, in the given order; a stream may come twice."""
        rows = self.rows_of(streams).to(self.age.device)
        counts = [self.counts[stream] for stream in streams.tolist()]
        old_start, new_start = (
            torch.tensor([0, *parts], device=self.left.device).cumsum(0) for parts in (self.counts, counts)
        )
        chosen = streams.to(self.left.device)
        shift = (new_start[: len(counts)] - old_start[chosen])[:, None, None]
        left, right = (torch.where(part < 0, -1, part + shift) for part in (self.left[chosen], self.right[chosen]))
        return WindowState(
            patches=self.patches[chosen],
            checksums=self.checksums[chosen],
            reference=self.reference[rows],
            age=self.age[rows],
            change=self.change[rows],
            left=left,
            right=right,
            alpha=self.alpha[chosen],
            row_slots=self.row_slots[rows],
            counts=counts,
        )

    def without_rows_of(self, streams: set[int]) -> WindowState:
        """The same state, in which the given streams are new."""
        kept = [stream for stream in range(self.batch_size) if stream not in streams]
        rows = self.rows_of(torch.tensor(kept, dtype=torch.long, device="cpu")).to(self.age.device)
        counts = [0 if stream in streams else count for stream, count in enumerate(self.counts)]
        # One more than there are rows, which -1 leads to.
        place = torch.full((len(self.age) + 1,), -1, device=self.left.device)
        place[rows] = torch.arange(len(rows), device=place.device)
        return replace(
            self,
            reference=self.reference[rows],
            age=self.age[rows],
            change=self.change[rows],
            left=place[self.left],
            right=place[self.right],
            row_slots=self.row_slots[rows],
            counts=counts,
        )

    def to(self, device: torch.device | str) -> WindowState:
        """The same state on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)
        }
        return replace(self, **moved)
