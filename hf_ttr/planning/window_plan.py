"""The reuse plan of a window whose tokens all attend to one another: rows, and how many slots each stands for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass
class WindowPlan:
    """
    A decision for every slot (time, position) of a window, made once, before the first layer.

    The state of slot (stream, time, position) at every layer is `(1 - alpha) * table[left] + alpha * table[right]`,
    where `table` holds the rows that earlier windows left, stream by stream, followed by the rows computed in this
    call, ordered by stream, time and position. Where a model has tokens in front of the slots of each stream (CLS),
    they are computed in every window, and their rows come first of those of their stream.

    Where all slots of a stream attend to one another, a row that stands for several slots need not be repeated: n
    equal keys are one key with log(n) added to its logit (proportional attention, Bolya et al. 2022). So rows attend
    to the rows in use alone (`live`), each counted as often as it is used (`counts`); interpolated slots count in
    parts.

    Attributes:
        computed (`torch.BoolTensor` of shape `(batch, times, positions)`):
            The slots that go through the layers.
        left, right (`torch.LongTensor` of shape `(batch, times, positions)`):
            Rows of the table. A computed slot has its own row in both.
        alpha (`torch.FloatTensor` of shape `(batch, times, positions)`):
            Share of `right`, in [0, 1]; 0 where left and right are the same.
        past_counts (`list[int]`):
            Rows that earlier windows left, for each stream.
        planning_multiply_adds (`int`):
            What making the plan cost, per stream.
        prefix (`int`):
            Tokens in front of the slots of each stream.
        past_row_slots (`torch.LongTensor` of shape `(past rows,)`, *optional*):
            See `PastSlots.row_slots`.
    """

    computed: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    alpha: torch.Tensor
    past_counts: list[int]
    planning_multiply_adds: int = 0
    prefix: int = 0
    past_row_slots: torch.Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(batch, times, positions)`."""
        batch, times, positions = self.computed.shape
        return batch, times, positions

    @property
    def slots(self) -> int:
        """Slots of a stream."""
        return self.computed[0].numel()

    @property
    def tokens(self) -> int:
        """Tokens of a stream: those in front, and the slots."""
        return self.prefix + self.slots

    @property
    def has_past(self) -> bool:
        """Whether earlier windows left any rows."""
        return sum(self.past_counts) > 0

    @cached_property
    def row_counts(self) -> list[int]:
        """Number of computed rows of each stream."""
        counts: list[int] = self.computed.flatten(1).sum(-1).add(self.prefix).tolist()
        return counts

    @cached_property
    def rows(self) -> torch.Tensor:
        """Indices of the computed tokens in the flattened `(batch, prefix + slots)` grid, shape `(rows,)`."""
        return with_prefix(self.computed.flatten(1), self.prefix, True).flatten().nonzero().squeeze(-1)

    @cached_property
    def row_slots(self) -> torch.Tensor:
        """The slot of its stream that each computed row is of, shape `(rows,)`; 0 for the tokens in front."""
        return (self.rows % self.tokens - self.prefix).clamp(min=0)

    def of_rows(self, slots: torch.Tensor) -> torch.Tensor:
        """What computed rows have of something that slots have, `(batch, slots, dim)`; zeros for those in front."""
        return with_prefix(slots, self.prefix, 0).flatten(0, 1)[self.rows]

    @cached_property
    def is_dense(self) -> bool:
        """Whether every slot is computed, so that the parent's own path can run."""
        return sum(self.row_counts) == self.shape[0] * self.tokens

    @cached_property
    def stands_alone(self) -> list[bool]:
        """For each stream whether nothing is live but what is computed."""
        return [live == rows for live, rows in zip(self.live_counts, self.row_counts)]

    @property
    def computed_counts(self) -> torch.Tensor:
        """Slots that each computed row stands for, shape `(rows,)`, float32."""
        return self._table_counts[sum(self.past_counts) :]

    @cached_property
    def live(self) -> torch.Tensor:
        """Rows of the table that stand for at least one slot, ordered by stream, shape `(live,)`."""
        used = (self._table_counts > 0).nonzero().squeeze(-1)
        return used[self._owner[used].argsort(stable=True)]

    @cached_property
    def counts(self) -> torch.Tensor:
        """Tokens that each live row stands for, shape `(live,)`, float32; those of a stream sum to `tokens`."""
        return self._table_counts[self.live]

    @cached_property
    def count_logits(self) -> list[torch.Tensor | None]:
        """What the counts add to the logits of the live rows of each stream; see `logits_of_counts`."""
        return [logits_of_counts(counts) for counts in self.counts.split(self.live_counts)]

    @cached_property
    def live_counts(self) -> list[int]:
        """Number of live rows of each stream."""
        batch = self.shape[0]
        counts: list[int] = self._owner[self.live].bincount(minlength=batch).tolist()
        return counts

    @cached_property
    def live_slots(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`left` and `right` as indices into the live rows; both of shape `(batch, times, positions)`."""
        place = torch.full_like(self._owner, -1)
        place[self.live] = torch.arange(len(self.live), device=place.device)
        # A right row without weight need not be live.
        right = torch.where(self.alpha > 0, self.right, self.left)
        return place[self.left], place[right]

    @cached_property
    def live_prefix(self) -> torch.Tensor:
        """The tokens in front as indices into the live rows, shape `(batch, prefix)`."""
        last = torch.tensor(self.live_counts, device=self.left.device).cumsum(0)
        own = torch.tensor(self.row_counts, device=self.left.device)
        # What is computed is live, and comes last of what is live in a stream.
        return (last - own)[:, None] + torch.arange(self.prefix, device=self.left.device)

    @cached_property
    def live_row_slots(self) -> torch.Tensor:
        """The slot that each live row stands at, shape `(live,)`; 0 for the tokens in front."""
        slots = self.row_slots
        return (slots if self.past_row_slots is None else torch.cat([self.past_row_slots, slots]))[self.live]

    @cached_property
    def _table_counts(self) -> torch.Tensor:
        counts = self.alpha.new_zeros(len(self._owner))
        counts.index_add_(0, self.left.flatten(), 1 - self.alpha.flatten())
        counts.index_add_(0, self.right.flatten(), self.alpha.flatten())
        if self.prefix:
            counts[sum(self.past_counts) :][self.rows % self.tokens < self.prefix] = 1
        return counts

    @cached_property
    def _owner(self) -> torch.Tensor:
        """The stream that each row of the table belongs to."""
        streams = torch.arange(self.shape[0], device=self.computed.device)
        past, own = (
            streams.repeat_interleave(torch.tensor(counts, device=streams.device))
            for counts in (self.past_counts, self.row_counts)
        )
        return torch.cat([past, own])

    @classmethod
    def build(
        cls, sources: torch.Tensor, past: PastSlots | None = None, interpolate: bool = False, prefix: int = 0
    ) -> WindowPlan:
        """
        Links every slot to the rows that it is made of.

        Args:
            sources (`torch.LongTensor` of shape `(batch, times, positions)`): the time of the token of the position
                that stands for each slot, itself computed; negative where an earlier window's does.
            past: the rows that earlier windows left.
            interpolate (`bool`): make a slot that is neither computed nor held of the computed tokens of its position
                before and after it, linearly in time, instead of the one that stands for it.
            prefix (`int`): tokens in front of the slots of each stream.

        Raises:
            ValueError: if a slot is to keep what no earlier window left.
        """
        batch = len(sources)
        computed = is_computed(sources)
        before, after, alpha = links_in_time(sources, interpolate)
        offset = 0 if past is None else sum(past.counts)
        own_rows = with_prefix(computed.flatten(1), prefix, True).flatten().cumsum(0).view(batch, -1) - 1 + offset
        own_rows = own_rows[:, prefix:].reshape(sources.shape)
        left, right = own_rows.gather(1, before), own_rows.gather(1, after)
        held = sources < 0
        if past is not None:
            left, right, alpha = (
                torch.where(held, kept, own)
                for kept, own in ((past.left, left), (past.right, right), (past.alpha, alpha))
            )
        if bool((held & (left < 0)).any()) or (past is None and bool(held.any())):
            raise ValueError("a slot of the plan is neither computed nor held from an earlier window.")
        counts, row_slots = ([0] * batch, None) if past is None else (past.counts, past.row_slots)
        return cls(computed, left, right, alpha, counts, prefix=prefix, past_row_slots=row_slots)


def is_computed(sources: torch.Tensor) -> torch.Tensor:
    """The slots that stand for themselves; same shape as `sources`, `(..., times, positions)`."""
    return sources == torch.arange(sources.shape[-2], device=sources.device)[:, None]


def links_in_time(sources: torch.Tensor, interpolate: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    The times of the computed tokens that slots are made of.

    Args:
        sources, interpolate: as `WindowPlan.build` takes them.

    Returns:
        Two `torch.LongTensor` and the share of the second, a `torch.FloatTensor`, all of shape `(batch, times,
        positions)`; where an earlier window's token stands for a slot, they mean nothing.
    """
    times = sources.shape[1]
    time = torch.arange(times, device=sources.device)[:, None]
    before = after = sources.clamp(min=0)
    if interpolate:
        computed = is_computed(sources)
        before = torch.where(computed, time, -1).cummax(1).values
        after = torch.where(computed, time, times).flip(1).cummin(1).values.flip(1)
        before, after = torch.where(before < 0, after, before), torch.where(after == times, before, after)
        # A position may have nothing but what earlier windows left.
        before, after = before.clamp(min=0, max=times - 1), after.clamp(min=0, max=times - 1)
    alpha = torch.where(after > before, (time - before).float() / (after - before).clamp(min=1), 0.0)
    return before, after, alpha


def with_prefix(slots: torch.Tensor, prefix: int, value: float) -> torch.Tensor:
    """Something that the slots of each stream have, `(batch, slots, ...)`, with a value for the tokens in front."""
    if not prefix:
        return slots
    return torch.cat([slots.new_full((len(slots), prefix, *slots.shape[2:]), value), slots], dim=1)


def logits_of_counts(counts: torch.Tensor) -> torch.Tensor | None:
    """What counts of keys add to their logits, both of shape `(keys,)`; `None` where they are all the same."""
    if bool((counts == counts[:1]).all()):
        # What is added to all logits alike changes nothing.
        return None
    # Of a softmax only differences matter: numbers below 0 are as good, and keep half precision from overflowing.
    return (counts / counts.max()).log()


@dataclass
class PastSlots:
    """
    Where the slots of a window find the rows that earlier windows left.

    Attributes:
        left, right (`torch.LongTensor` of shape `(batch, times, positions)`): indices of the rows, stream by stream;
            -1 in streams that have none.
        alpha (`torch.FloatTensor` of shape `(batch, times, positions)`): share of `right`.
        counts (`list[int]`): number of rows of each stream.
        row_slots (`torch.LongTensor` of shape `(rows,)`, *optional*): the slot that each row stands at.
    """

    left: torch.Tensor
    right: torch.Tensor
    alpha: torch.Tensor
    counts: list[int]
    row_slots: torch.Tensor | None = None
