"""What the slots of a window are made of, where rows lie in a table of fixed size: the device alone knows how many."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .window_plan import is_computed, links_in_time
from .window_state import WindowState


@dataclass(frozen=True)
class WindowLinks:
    """
    What is known of a window once it is planned.

    Attributes:
        left, right, alpha: as in `WindowState`, of shape `(batch, times, positions)`.
        places (`torch.LongTensor` of shape `(batch, slots)`): the row that each computed slot takes; of others it
            means nothing.
        numbers (`torch.LongTensor` of shape `(batch, slots)`): how many computed slots of the stream there are before
            each.
        counts (`torch.FloatTensor` of shape `(batch, rows of a stream)`): slots that each row stands for, 0 for those
            that are not in use; see `WindowPlan.counts`.
    """

    left: torch.Tensor
    right: torch.Tensor
    alpha: torch.Tensor
    places: torch.Tensor
    numbers: torch.Tensor
    counts: torch.Tensor


def link_slots(sources: torch.Tensor, state: WindowState, interpolate: bool) -> WindowLinks:
    """
    Gives each computed slot a row that nothing is made of any more, and links all others to the rows that they are
    made of. What it does hangs on slots alone that are held, which it leaves as they are: done again with its own
    result, it gives that.

    Args:
        sources, interpolate: as `WindowPlan.build` takes them.
        state: of a table, with as many rows for each stream; there are rows enough.
    """
    batch, capacity = state.batch_size, state.counts[0]
    device = sources.device
    is_free = held_uses(sources, state) == 0
    # The first free row, the second, and so on; behind the last column goes what is not free.
    order = torch.where(is_free, is_free.cumsum(1) - 1, capacity)
    rows = torch.arange(capacity, device=device).expand(batch, -1)
    free = torch.zeros(batch, capacity + 1, dtype=torch.long, device=device).scatter_(1, order, rows)
    numbers = is_computed(sources).flatten(1).cumsum(1) - 1
    places = free.gather(1, numbers.clamp(min=0)) + torch.arange(batch, device=device)[:, None] * capacity
    before, after, alpha = links_in_time(sources, interpolate)
    by_slot, held = places.view(sources.shape), sources < 0
    left = torch.where(held, state.left, by_slot.gather(1, before))
    right = torch.where(held, state.right, by_slot.gather(1, after))
    alpha = torch.where(held, state.alpha, alpha)
    # What has no share in a slot may be given to another.
    right = torch.where(alpha > 0, right, left)
    counts = uses_of_rows(left, right, alpha, batch * capacity).view(batch, capacity)
    return WindowLinks(left, right, alpha, places, numbers, counts)


def held_uses(sources: torch.Tensor, state: WindowState) -> torch.Tensor:
    """How many held slots each row stands for, `torch.FloatTensor` of shape `(batch, rows of a stream)`."""
    uses = uses_of_rows(state.left, state.right, state.alpha, len(state.age), sources < 0)
    return uses.view(state.batch_size, -1)


def uses_of_rows(
    left: torch.Tensor, right: torch.Tensor, alpha: torch.Tensor, rows: int, which: torch.Tensor | None = None
) -> torch.Tensor:
    """
    How many slots each row stands for.

    Args:
        left, right, alpha: as in `WindowState`.
        rows (`int`): how many there are.
        which (`torch.BoolTensor` of shape `(batch, times, positions)`, *optional*): the slots that count; by default
            all.

    Returns:
        `torch.FloatTensor` of shape `(rows,)`; exactly 0 where there is no slot.
    """
    of_left, of_right = 1 - alpha, alpha
    if which is not None:
        of_left, of_right = of_left * which, of_right * which
    uses = alpha.new_zeros(rows).index_add_(0, left.flatten(), of_left.flatten())
    return uses.index_add_(0, right.flatten(), of_right.flatten())


__all__ = ["WindowLinks", "held_uses", "link_slots", "uses_of_rows"]
