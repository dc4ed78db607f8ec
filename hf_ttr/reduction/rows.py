"""Rows that belong to sets of different sizes, and what becomes of them when some are merged or left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch


SIZE_STEP = 16
"""Sets are padded to a multiple of this, and handled together with others of the same padded size."""


@dataclass
class PaddedSets:
    """
    Some sets of about the same size, side by side.

    Attributes:
        sets (`list[int]`): which.
        rows (`torch.LongTensor` of shape `(sets, size)`): their rows, in order; a short set repeats its first row.
        is_row (`torch.BoolTensor` of shape `(sets, size)`): where there is a row.
    """

    sets: list[int]
    rows: torch.Tensor
    is_row: torch.Tensor


@dataclass
class RowSets:
    """
    Rows in sets (the tokens of a frame, of a window), one set after another. What is merged stays in its set.

    Attributes:
        counts (`list[int]`): rows of each set.
        device: of the rows.
    """

    counts: list[int]
    device: torch.device

    @cached_property
    def starts(self) -> list[int]:
        """First row of each set, and the number of all rows."""
        return [0, *accumulate(self.counts)]

    def __len__(self) -> int:
        return self.starts[-1]

    def padded(self, chosen: list[int]) -> Iterator[PaddedSets]:
        """The chosen sets, in groups of those whose padded size is the same."""
        by_size: dict[int, list[int]] = {}
        for number in chosen:
            by_size.setdefault(padded_size(self.counts[number]), []).append(number)
        for size, sets in by_size.items():
            yield self.padded_to(size, sets)

    def padded_to(self, size: int, sets: list[int]) -> PaddedSets:
        """Some sets of at most so many rows."""
        starts = torch.tensor([self.starts[number] for number in sets], device=self.device)
        counts = torch.tensor([self.counts[number] for number in sets], device=self.device)
        place = torch.arange(size, device=self.device)
        is_row = place < counts[:, None]
        return PaddedSets(sets, starts[:, None] + torch.where(is_row, place, 0), is_row)


def paired(first: RowSets, second: RowSets, wanted: list[int]) -> Iterator[tuple[PaddedSets, PaddedSets]]:
    """The sets of which something is wanted, in groups of those whose padded sizes are the same in both."""
    by_size: dict[tuple[int, int], list[int]] = {}
    for number, count in enumerate(wanted):
        if count:
            sizes = padded_size(first.counts[number]), padded_size(second.counts[number])
            by_size.setdefault(sizes, []).append(number)
    for (first_size, second_size), sets in by_size.items():
        yield first.padded_to(first_size, sets), second.padded_to(second_size, sets)


def first_of_each(rows: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """
    The first so many rows of each set.

    Args:
        rows (`torch.LongTensor` of shape `(sets, size)`): rows of each set, in any order.
        counts (`list[int]`): how many are wanted of each, at most `size`.

    Returns:
        `torch.LongTensor` of shape `(sum of counts,)`.
    """
    limit = torch.tensor(counts, device=rows.device)[:, None]
    return rows[torch.arange(rows.shape[1], device=rows.device) < limit]


def padded_size(count: int) -> int:
    """What a set of so many rows is padded to: it depends on that set alone."""
    return -(-count // SIZE_STEP) * SIZE_STEP


@dataclass
class RowChange:
    """
    What a method decided: which rows become one, and which are left out.

    Attributes:
        sources, targets (`torch.LongTensor` of shape `(merged,)`): rows, and the rows that they are merged into; a
            target is never a source.
        left_out (`torch.LongTensor` of shape `(left_out,)`, *optional*): rows that go no further.
        weights (`torch.FloatTensor` of shape `(rows,)`, *optional*): how much each row counts in the mean of those
            that are merged; by default the number of tokens that it stands for.
    """

    sources: torch.Tensor
    targets: torch.Tensor
    left_out: torch.Tensor | None = None
    weights: torch.Tensor | None = None
