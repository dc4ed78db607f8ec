"""The reuse plan: which tokens are computed, and of which computed tokens every other one is made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch


NEVER = 2**40
"""Age, in frames, of a position that has no valid cached state."""


@dataclass
class ReusePlan:
    """
    A decision for every token of a call, made once, before the first layer.

    The state of token (stream, frame, position) at every layer is
    `(1 - alpha) * table[left] + alpha * table[right]`, where `table` holds the cached rows of the streams (if the plan
    has a past) followed by the rows computed in this call, ordered by stream, frame and position.

    Attributes:
        computed (`torch.BoolTensor` of shape `(batch, frames, tokens)`):
            The tokens that go through the layers.
        left, right (`torch.LongTensor` of shape `(batch, frames, tokens)`):
            Rows of the table. A computed token has its own row in both.
        alpha (`torch.FloatTensor` of shape `(batch, frames, tokens)`):
            Share of `right`, in [0, 1]; 0 where left and right are the same.
        age (`torch.LongTensor` of shape `(batch, tokens)`):
            Frames since each position was last computed, seen from the frame after this call: 1 is its last frame.
        has_past (`bool`):
            Whether the table starts with the `batch * tokens` cached rows.
        record_saliency (`bool`):
            Whether the attention of the CLS token of the last whole frame of each stream is to be recorded.
        interpolate (`bool`):
            Whether tokens may lie between two rows; otherwise left and right are the same everywhere.
        planning_multiply_adds (`int`):
            What making the plan cost, per stream.
        debt (`torch.FloatTensor` of shape `(batch, patches)`, *optional*):
            Sum of the squared errors of each patch since it was last computed, where the planner keeps count.
        table_counts (`list[int]`, *optional*):
            Rows of each stream, where the table is not the cached and the computed ones but others, stream by stream.
    """

    computed: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    alpha: torch.Tensor
    age: torch.Tensor
    has_past: bool
    record_saliency: bool = False
    interpolate: bool = False
    planning_multiply_adds: int = 0
    debt: torch.Tensor | None = None
    table_counts: list[int] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(batch, frames, tokens)`."""
        batch, frames, tokens = self.computed.shape
        return batch, frames, tokens

    @cached_property
    def _read(self) -> tuple[list[int], bool]:
        """`row_counts` and `is_hold`: all that the host asks the device about the plan, in one go."""
        counts = self.computed.flatten(0, 1).sum(-1)
        lies_between, is_unmade = (self.left != self.right).any(), (self.left < 0).any()
        *numbers, lies_between, is_unmade = torch.cat([counts, torch.stack([lies_between, is_unmade])]).tolist()
        if is_unmade:
            raise ValueError("a token of the plan's first frame is neither computed nor cached.")
        return numbers, not lies_between

    @cached_property
    def row_counts(self) -> list[int]:
        """
        Number of computed tokens of each frame, for frames ordered by stream and time.

        Raises:
            ValueError: if a token has neither a computed nor a cached one to be made of.
        """
        return self._read[0]

    @cached_property
    def is_dense(self) -> bool:
        """Whether every token is computed, so that the parent's own path can run."""
        batch, frames, tokens = self.shape
        return sum(self.row_counts) == batch * frames * tokens

    @property
    def is_single(self) -> bool:
        """Whether each stream goes on by one frame: what its cache holds then is all that the frame attends to."""
        return self.has_past and self.computed.shape[1] == 1

    @cached_property
    def links(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        `left`, `right` and `alpha` as rows of what a cache's `update` returns for the plan.

        That is the table; but where each stream goes on by one frame, it is what the cache holds after that, in which
        the computed rows have taken the places of older ones.
        """
        if not self.is_single:
            return self.left, self.right, self.alpha
        held = torch.arange(self.left.numel(), device=self.left.device).view(self.left.shape)
        return held, held, torch.zeros_like(self.alpha)

    @cached_property
    def is_hold(self) -> bool:
        """Whether nothing is interpolated."""
        return not self.interpolate or self._read[1]

    @cached_property
    def rows(self) -> torch.Tensor:
        """Indices of the computed tokens in the flattened `(batch * frames * tokens)` grid, shape `(rows,)`."""
        return packed_rows(self.computed, sum(self.row_counts))

    @cached_property
    def last_rows(self) -> torch.Tensor:
        """Row of the table that each position holds after the last frame, shape `(batch * tokens,)`."""
        return self.left[:, -1].flatten()

    def merged(self, targets: torch.Tensor) -> ReusePlan:
        """
        The same plan with fewer rows: what was made of a row is made of the one that it is merged into.

        Args:
            targets (`torch.LongTensor` of shape `(rows,)`): a computed row for each one, itself where it stays.
        """
        batch, _, tokens = self.shape
        past = batch * tokens if self.has_past else 0
        is_kept = targets == torch.arange(len(targets), device=targets.device)
        place = torch.cat([torch.arange(past, device=targets.device), past + (is_kept.cumsum(0) - 1)[targets]])
        left, right = place[self.left], place[self.right]
        return replace(
            self,
            computed=self.computed.flatten().index_fill(0, self.rows[~is_kept], False).view_as(self.computed),
            left=left,
            right=right,
            alpha=torch.where(left == right, 0, self.alpha),
        )

    @classmethod
    def whole(cls, shape: tuple[int, int, int], device: torch.device, record_saliency: bool = False) -> ReusePlan:
        """A plan of new streams that computes everything, `shape` being `(batch, frames, tokens)`."""
        batch, frames, tokens = shape
        plan = cls.build(torch.ones(shape, dtype=torch.bool, device=device), record_saliency=record_saliency)
        # Known, so that the device need not be asked.
        plan.row_counts = [tokens] * (batch * frames)
        return plan

    @classmethod
    def build(
        cls,
        computed: torch.Tensor,
        past_age: torch.Tensor | None = None,
        interpolate: bool = False,
        record_saliency: bool = False,
    ) -> ReusePlan:
        """
        Links every token to the computed ones of its position.

        Args:
            computed (`torch.BoolTensor` of shape `(batch, frames, tokens)`): the tokens to compute.
            past_age (`torch.LongTensor` of shape `(batch, tokens)`, *optional*):
                Age of the cached rows, `NEVER` where there is none; left out for new streams.
            interpolate (`bool`): between the computed tokens before and after (bidirectional), or hold (causal).
            record_saliency (`bool`): see the class.

        Nothing is read from the device: that a token has neither a computed nor a cached one to be made of is said
        by `row_counts`, and its `left` is -1.
        """
        batch, frames, tokens = computed.shape
        device = computed.device
        index = past_index(computed, past_age)
        left = index.cummax(1).values
        offset = 0 if past_age is None else batch * tokens
        own = computed.flatten().cumsum(0).view(batch, frames, tokens) - 1 + offset
        cached = torch.arange(batch * tokens, device=device).view(batch, 1, tokens)
        table = torch.cat([cached, own], dim=1)
        is_made = left[:, 1:] >= 0
        left_rows = torch.where(is_made, table.gather(1, left[:, 1:].clamp(min=0)), -1)
        age = frames - time_of(left[:, -1], past_age)
        if not interpolate:
            alpha = torch.zeros((), dtype=torch.float32, device=device).expand(batch, frames, tokens)
            return cls(computed, left_rows, left_rows, alpha, age, past_age is not None, record_saliency)
        right = next_index(index, left)
        right_rows = torch.where(is_made, table.gather(1, right[:, 1:].clamp(min=0)), -1)
        return cls(
            computed,
            left_rows,
            right_rows,
            linear_alpha(left, right, past_age)[:, 1:],
            age,
            past_age is not None,
            record_saliency,
            interpolate=True,
        )


def packed_rows(computed: torch.Tensor, size: int) -> torch.Tensor:
    """
    Indices of the computed tokens in the flattened grid, in order, and as many zeros behind them as there is room for.

    Args:
        computed (`torch.BoolTensor`): which they are, of any shape.
        size (`int`): how many there are, or more.

    Returns:
        `torch.LongTensor` of shape `(size,)`.
    """
    flat = computed.flatten()
    # `nonzero` would ask the device how many there are. What is not computed goes to a place behind them.
    place = torch.where(flat, flat.cumsum(0) - 1, size)
    return place.new_zeros(size + 1).scatter_(0, place, torch.arange(len(flat), device=flat.device))[:size]


def past_index(computed: torch.Tensor, past_age: torch.Tensor | None) -> torch.Tensor:
    """
    The time axis with the past in front: index 0 is the cached state, index t + 1 is frame t of the call.

    Returns its own index where a token is computed (or cached), -1 elsewhere; shape `(batch, 1 + frames, tokens)`.
    """
    batch, frames, tokens = computed.shape
    if past_age is None:
        known = torch.zeros(batch, 1, tokens, dtype=torch.bool, device=computed.device)
    else:
        known = (past_age < NEVER)[:, None]
    index = torch.arange(1 + frames, device=computed.device).view(1, -1, 1)
    return torch.where(torch.cat([known, computed], dim=1), index, -1)


def next_index(index: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    """Index of the next computed token of the position, or `left` where none follows; same shape as `index`."""
    none = index.shape[1]
    right = torch.where(index < 0, none, index).flip(1).cummin(1).values.flip(1)
    return torch.where(right == none, left, right)


def time_of(index: torch.Tensor, past_age: torch.Tensor | None) -> torch.Tensor:
    """Frame number of an index; of index 0 it is minus the age of the cached state."""
    if past_age is None:
        return index - 1
    return torch.where(index == 0, -past_age.view(past_age.shape[0], *[1] * (index.dim() - 2), -1), index - 1)


def linear_alpha(left: torch.Tensor, right: torch.Tensor, past_age: torch.Tensor | None) -> torch.Tensor:
    """Share of `right`, linear in time, 0 where both are the same; all of shape `(batch, 1 + frames, tokens)`."""
    time = torch.arange(-1, left.shape[1] - 1, device=left.device).view(1, -1, 1)
    start, end = time_of(left, past_age), time_of(right, past_age)
    return torch.where(end > start, (time - start).float() / (end - start).clamp(min=1), 0.0)
