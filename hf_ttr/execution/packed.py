"""From packed rows to frames and back: the only place that knows how the rows of a frame attend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import nn

from ..planning.plan import ReusePlan
from ..reduction.row_reduction import RowReduction
from .kernels.frame_links import FrameLinks
from .kernels.interpolated_attention import interpolated_attention, kernel_unavailable_reason
from .softcap import soft_capped


Attention = Callable[..., tuple[torch.Tensor, torch.Tensor | None]]
"""A function of transformers' attention interface."""

BUCKET = 16
"""Frames are grouped by their number of rows rounded up to a multiple of this."""

TABLE_LIMIT = 48
"""Frames of so few rows that (table rows / tokens + 3) times the rows stays within this attend to the table itself."""


class FrameRows:
    """
    Which rows belong to which frame, where the rows of frames lie one behind the other.

    Args:
        counts (`list[int]`): rows of each frame, for frames ordered by stream and time.
        device: of the tensors.

    Attributes:
        counts, starts (`torch.LongTensor` of shape `(frames,)`): rows of each frame, and its first one.
    """

    def __init__(self, counts: list[int], device: torch.device) -> None:
        self._counts = counts
        self.counts = torch.tensor(counts, dtype=torch.long, device=device)
        self.starts = self.counts.cumsum(0) - self.counts

    def of(self, frames: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """For each row of the given frames, frame by frame, its frame and its number; both `(rows,)`."""
        # The device is not asked how many there are.
        total = sum(self._counts[frame] for frame in frames)
        chosen = torch.tensor(frames, dtype=torch.long, device=self.counts.device)
        counts = self.counts[chosen]
        shift = self.starts[chosen] - (counts.cumsum(0) - counts)
        frame, shift = (part.repeat_interleave(counts, output_size=total) for part in (chosen, shift))
        return frame, torch.arange(total, device=frame.device) + shift


@dataclass
class FrameGroup:
    """
    Frames of the same padded number of rows, which attend together to assembled keys and values.

    Attributes:
        frames (`list[int]`): the frames, numbered by stream and time.
        queries (`torch.LongTensor` of shape `(group, size)`): their query rows; a short frame repeats its first row.
        links (`torch.LongTensor` of shape `(group * tokens, 2)`), shares (`torch.FloatTensor` of the same shape):
            of which two table rows their keys and values are made, and how much of each; see `ReusePlan`.
    """

    frames: list[int]
    queries: torch.Tensor
    links: torch.Tensor
    shares: torch.Tensor

    @classmethod
    def of(cls, plan: ReusePlan, frames: list[int], rows: FrameRows, size: int) -> FrameGroup:
        """Of frames padded to `size` rows."""
        chosen = torch.tensor(frames, device=plan.computed.device)
        number = torch.arange(size, device=chosen.device)
        queries = rows.starts[chosen, None] + torch.where(number < rows.counts[chosen, None], number, 0)
        links = pair_links(*(part.flatten(0, 1)[chosen].flatten() for part in plan.links))
        return cls(frames, queries, *links)


@dataclass
class TableGroup:
    """
    Frames of few rows of one stream, which attend to the rows of the table.

    Attributes:
        frames (`list[int]`): the frames, numbered by stream and time.
        queries (`torch.LongTensor` of shape `(rows,)`): their query rows.
        table_rows (`torch.LongTensor` of shape `(own,)`, *optional*): the rows of the table that belong to the stream;
            `None` where all do.
        left, right (`torch.LongTensor` of shape `(rows, tokens)`), alpha (`torch.Tensor` of the same shape): of which
            of these rows the keys and values are made that each query attends to.
    """

    frames: list[int]
    queries: torch.Tensor
    table_rows: torch.Tensor | None
    left: torch.Tensor
    right: torch.Tensor
    alpha: torch.Tensor

    @classmethod
    def of(cls, plan: ReusePlan, frames: list[int], rows: FrameRows) -> TableGroup:
        """Of frames of one stream."""
        batch, stream_frames, tokens = plan.shape
        device = plan.computed.device
        of_query, queries = rows.of(frames)
        # Of the whole table the stream owns its part of the past, then its computed rows.
        stream = frames[0] // stream_frames
        past = tokens if plan.has_past else 0
        counts = plan.row_counts[: stream * stream_frames] if plan.table_counts is None else plan.table_counts[:stream]
        first_row = sum(counts)
        past_shift, shift = stream * past, batch * past + first_row - past
        left, right, alpha = (part.flatten(0, 1)[of_query] for part in plan.links)
        left, right = (torch.where(rows < batch * past, rows - past_shift, rows - shift) for rows in (left, right))
        own = torch.arange(table_size(plan, stream), device=device)
        table_rows = None if batch == 1 else torch.where(own < past, own + past_shift, own + shift)
        return cls(frames, queries, table_rows, left, right, alpha)


@dataclass
class PackedLayout:
    """
    How query rows are grouped into frames for attention.

    Attributes:
        groups (`list[FrameGroup | TableGroup]`): every frame that has rows, once.
        restore (`torch.LongTensor` of shape `(rows,)`): position of each row in the concatenated, padded group rows.
        pairs (`list[int]`): for each stream, how many pairs of a query and a key attention computes, padding included.
    """

    groups: list[FrameGroup | TableGroup]
    restore: torch.Tensor
    pairs: list[int]

    @classmethod
    def of(cls, plan: ReusePlan, counts: list[int], whole: int | None = None) -> PackedLayout:
        """
        Groups the frames of a plan.

        Args:
            plan: the plan.
            counts (`list[int]`): query rows of each frame, for frames ordered by stream and time.
            whole (`int`, *optional*): query rows of a frame of which everything is computed, by default all tokens.
        """
        batch, frames, tokens = plan.shape
        device = plan.computed.device
        # Held tokens come frame by frame in a stream, whatever the length of a call: they cost the same in each.
        may_use_table = device.type == "cpu" and plan.interpolate and not plan.is_single
        tables = [table_size(plan, stream) for stream in range(batch)]
        # A stream that is computed whole costs what it costs alone, where there is no table.
        has_table = [
            may_use_table and sum(plan.row_counts[stream * frames : (stream + 1) * frames]) < frames * tokens
            for stream in range(batch)
        ]
        pairs = [0] * batch
        by_size: dict[int, list[int]] = {}
        by_stream: dict[int, list[int]] = {}
        for frame, count in enumerate(counts):
            stream = frame // frames
            if not count:
                continue
            if has_table[stream] and count * (tables[stream] + 3 * tokens) <= TABLE_LIMIT * tokens:
                by_stream.setdefault(stream, []).append(frame)
                pairs[stream] += count * tables[stream]
            else:
                size = padded_size(count, tokens, whole)
                by_size.setdefault(size, []).append(frame)
                pairs[stream] += size * tokens

        rows = FrameRows(counts, device)
        groups: list[FrameGroup | TableGroup] = [
            *(FrameGroup.of(plan, members, rows, size) for size, members in by_size.items()),
            *(TableGroup.of(plan, members, rows) for members in by_stream.values()),
        ]
        places, offset = [0] * len(counts), 0
        for group in groups:
            for frame in group.frames:
                places[frame] = offset
                offset += group.queries.shape[1] if isinstance(group, FrameGroup) else counts[frame]
        frame_of_row, row = rows.of(range(len(counts)))
        restore = torch.tensor(places, dtype=torch.long, device=device)[frame_of_row] + row - rows.starts[frame_of_row]
        return cls(groups, restore, pairs)


def table_size(plan: ReusePlan, stream: int) -> int:
    """Rows of the plan's table that belong to a stream: its past, if there is one, and what is computed of it."""
    if plan.table_counts is not None:
        return plan.table_counts[stream]
    _, frames, tokens = plan.shape
    return (tokens if plan.has_past else 0) + sum(plan.row_counts[stream * frames : (stream + 1) * frames])


def padded_size(count: int, tokens: int, whole: int | None = None) -> int:
    """
    Rows that attention computes for a frame with `count` rows: it depends on that frame alone.

    Frames of as many rows as a whole one has (`whole`, by default all tokens) need no padding to be alike.
    """
    if count <= 1 or count == whole:
        return count
    return min(-(-count // BUCKET) * BUCKET, tokens)


@dataclass
class ObservedFrames:
    """
    Whole frames whose first token's attention is recorded, the last of each stream that has one.

    Attributes:
        streams, frames (`torch.LongTensor` of shape `(observed,)`): the streams, and the frames, numbered by stream
            and time.
        rows (`torch.LongTensor` of shape `(observed,)`): the query rows of their first tokens, among packed rows.
        numbers (`list[int]`): `streams`, for the host.
    """

    streams: torch.Tensor
    frames: torch.Tensor
    rows: torch.Tensor
    numbers: list[int]

    @classmethod
    def of(cls, plan: ReusePlan, first_rows: torch.Tensor) -> ObservedFrames | None:
        """Of a plan, if it asks for that and has whole frames; `first_rows` are the first query rows of all frames."""
        _, frames, tokens = plan.shape
        whole = [frame for frame, count in enumerate(plan.row_counts) if count == tokens]
        last = {frame // frames: frame for frame in whole} if plan.record_saliency else {}
        if not last:
            return None
        streams, chosen = (torch.tensor(list(part), device=first_rows.device) for part in (last, last.values()))
        return cls(streams, chosen, first_rows[chosen], list(last))


@dataclass
class FrameCall(ABC):
    """
    What a layer needs to know of a call: its plan, its rows, and which outputs are wanted.

    There are two kinds. `WholeFrames` come as `(frames, tokens, dim)`, as the parent has them; `PackedFrames` as one
    matrix of the computed rows of all frames, `(1, rows, dim)`.

    Attributes:
        plan (`ReusePlan`): the plan.
        counts (`list[int]`): rows of each frame that the layer gets.
        outputs (`int`, *optional*): how many tokens in front of each frame outputs are wanted for; `None` for all.
        reduction (`RowReduction`, *optional*): what merges rows, or leaves some out.
        observed (`ObservedFrames`, *optional*): of which frames attention is recorded.
    """

    plan: ReusePlan
    counts: list[int]
    outputs: int | None
    reduction: RowReduction | None
    observed: ObservedFrames | None

    @staticmethod
    def of(
        plan: ReusePlan,
        outputs: int | None = None,
        counts: list[int] | None = None,
        reduction: RowReduction | None = None,
        attends_to_merged: bool = False,
        whole: int | None = None,
    ) -> FrameCall:
        """
        Lays out a plan for one layer.

        Args:
            plan: the plan.
            outputs (`int`, *optional*): for a layer whose other outputs nobody reads.
            counts (`list[int]`, *optional*): rows of each frame that are left in this layer, by default all.
            reduction: see the class.
            attends_to_merged: see `WholeFrames`.
            whole (`int`, *optional*): rows of a frame of which everything is computed that are left in this layer.
        """
        device = plan.computed.device
        counts = plan.row_counts if counts is None else counts
        first_rows = torch.tensor([0, *counts], device=device).cumsum(0)[:-1]
        queries = counts if outputs is None else [outputs] * len(counts)
        query_rows = first_rows if outputs is None else torch.arange(len(counts), device=device) * outputs
        observed = ObservedFrames.of(plan, query_rows)
        if plan.is_dense:
            return WholeFrames(plan, counts, outputs, reduction, observed, attends_to_merged=attends_to_merged)
        links = FrameLinks.of(plan, queries) if device.type == "cuda" else None
        output_rows = None
        if outputs is not None:
            output_rows = (first_rows[:, None] + torch.arange(outputs, device=device)).flatten()
        return PackedFrames(
            plan, counts, outputs, reduction, observed, whole=whole, links=links, output_rows=output_rows
        )

    @staticmethod
    def for_layers(
        plan: ReusePlan,
        layers: int,
        outputs: int | None = None,
        reduction: RowReduction | None = None,
        attends_to_merged: bool = False,
    ) -> list[FrameCall]:
        """A call for each layer; with `outputs` the last one computes outputs for so many tokens in front alone."""
        calls: list[FrameCall] = []
        for layer in range(layers):
            counts, whole, is_same = plan.row_counts, None, bool(calls)
            if reduction is not None:
                counts, whole = reduction.counts[layer], reduction.whole_counts[layer]
                is_same = is_same and calls[-1].counts == counts and reduction.whole_counts[layer - 1] == whole
            only = outputs if layer == layers - 1 else None
            if is_same and only is None:
                calls.append(calls[-1])
            else:
                calls.append(FrameCall.of(plan, only, counts, reduction, attends_to_merged, whole))
        return calls

    @property
    @abstractmethod
    def positions(self) -> torch.Tensor | None:
        """
        Which token of its frame each row is, `(rows,)` or `(frames, rows)`; `None` for all of them, in order.

        Asked for in a layer whose methods have not changed its rows yet. A row that others were merged into is the
        one that it was before.
        """

    def per_row(self, table: torch.Tensor) -> torch.Tensor:
        """
        What each row has of a table of the tokens of a frame; one that others were merged into has the mean of all.

        Args:
            table (`torch.Tensor` of shape `(tokens, dim)`): the table.

        Returns:
            `torch.Tensor` of shape `(rows, dim)` or `(frames, rows, dim)`.
        """
        positions = self.positions
        if positions is None or self.reduction is None:
            return table if positions is None else table[positions]
        # Whole frames have every token of each, in order.
        values = table[self.plan.rows % self.plan.shape[2]]
        return self.reduction.mean_over_members(values).view(*positions.shape, -1)

    @abstractmethod
    def select_outputs(self, states: torch.Tensor, dim: int = -2) -> torch.Tensor:
        """The rows for which outputs are wanted, out of what the layer gets; `dim` is the dimension of the rows."""

    @abstractmethod
    def pairs(self, stream: int) -> int:
        """How many pairs of a query and a key attention computed for a stream in this layer, padding included."""

    @abstractmethod
    def observed_attention(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        scaling: float,
        kept: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        softcap: float | None = None,
    ) -> torch.Tensor:
        """
        Attention of the first token in the observed frames, mean over heads.

        Args:
            query, keys, scaling, kept, bias, softcap: as in `attend`.

        Returns:
            `torch.FloatTensor` of shape `(observed, tokens)`.
        """

    @abstractmethod
    def attend(
        self,
        attention: Attention,
        module: Any,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float,
        kept: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Lets the rows of each frame attend to the keys and values of that frame.

        Args:
            attention: a function of transformers' attention interface.
            module: the attention module, handed on to `attention`.
            query (`torch.Tensor` of shape `(1, heads, rows, head_dim)`): the packed rows; or whole frames,
                `(frames, heads, tokens, head_dim)`.
            keys, values (`torch.Tensor` of shape `(1, heads, table_rows, head_dim)`): the rows that the cache
                returns; or whole frames, `(frames, heads, tokens, head_dim)`, for a plan of whole frames.
            scaling (`float`): factor of the scores.
            kept (`torch.BoolTensor`, *optional*): which of these were not left out, `(1, 1, table_rows, 1)` or
                `(frames, 1, tokens, 1)`.
            bias (`torch.Tensor` of shape `(1, heads, tokens, tokens)`, *optional*): what the model adds to the scores
                of each pair of tokens of a frame.
            kwargs: handed on to `attention`; `softcap`, if it is there, is the bound of the scores before that.

        Returns:
            The output, `(1, rows, heads, head_dim)` or `(frames, tokens, heads, head_dim)`, and the attention weights
            where whole frames were computed by an implementation that returns them.
        """


@dataclass(kw_only=True)
class WholeFrames(FrameCall):
    """
    A plan that computes everything, with the frames as the parent has them.

    Attributes:
        attends_to_merged (`bool`): whether frames attend to what is left of their rows; otherwise, as where there is
            a cache, to every token, for which a merged row's key and value stand.
    """

    attends_to_merged: bool = False

    @property
    def positions(self) -> torch.Tensor | None:
        """See `FrameCall.positions`."""
        if self.reduction is None or self.reduction.origin is None:
            return None
        return (self.reduction.origin % self.plan.shape[2]).unflatten(0, (-1, self.counts[0]))

    def select_outputs(self, states: torch.Tensor, dim: int = -2) -> torch.Tensor:
        """See `FrameCall.select_outputs`."""
        return states if self.outputs is None else states.narrow(dim, 0, self.outputs)

    def pairs(self, stream: int) -> int:
        """See `FrameCall.pairs`."""
        # Whole frames have the same number of rows.
        _, frames, tokens = self.plan.shape
        rows = self.counts[0]
        return frames * (rows if self.attends_to_merged else tokens) * (rows if self.outputs is None else self.outputs)

    def observed_attention(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        scaling: float,
        kept: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        softcap: float | None = None,
    ) -> torch.Tensor:
        """See `FrameCall.observed_attention`."""
        assert self.observed is not None
        frames = self.observed.frames
        kept = None if kept is None else kept[frames]
        return first_token_attention(query[frames, :, :1], keys[frames], scaling, kept, bias, softcap)

    def attend(
        self,
        attention: Attention,
        module: Any,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float,
        kept: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `FrameCall.attend`."""
        mask = None
        if self.attends_to_merged and self.reduction is not None:
            mask = self.reduction.logit_mask(query)
        elif kept is not None:
            mask = kept_mask(kept.flatten(1), query)
        if bias is not None:
            bias = self._own_bias(bias)
            mask = bias if mask is None else mask + bias
        return attention(module, query, keys, values, mask, scaling=scaling, **kwargs)

    def _own_bias(self, bias: torch.Tensor) -> torch.Tensor:
        """The bias between the rows that ask and those that they attend to, `(1 or frames, heads, queries, keys)`."""
        positions = self.positions
        if positions is not None:
            frames = torch.arange(len(positions), device=positions.device)
            queries = bias[0].transpose(0, 1)[positions]
            if self.attends_to_merged:
                queries = queries.transpose(1, 3)[frames[:, None], positions].transpose(1, 3)
            bias = queries.transpose(1, 2)
        return bias if self.outputs is None else bias[:, :, : self.outputs]


@dataclass(kw_only=True)
class PackedFrames(FrameCall):
    """
    The computed rows of all frames in one matrix.

    Attributes:
        whole (`int`, *optional*): rows of a frame of which everything is computed that are left in this layer.
        links (`FrameLinks`, *optional*): what the attention kernel needs instead; `None` where there is no GPU.
        output_rows (`torch.LongTensor` of shape `(frames * outputs,)`, *optional*): the packed rows of the tokens in
            front, where outputs are wanted for them alone.
        ran_kernel (`bool`): whether the last call of `attend` ran the kernel.
        links_alone (`bool`): whether there is nothing but `links`, so that they are used wherever the rows are.
    """

    links_alone: ClassVar[bool] = False

    whole: int | None = None
    links: FrameLinks | None = None
    output_rows: torch.Tensor | None = None
    ran_kernel: bool = False

    @cached_property
    def layout(self) -> PackedLayout:
        """The grouping of the query rows; the kernel does without."""
        if self.outputs is None:
            return PackedLayout.of(self.plan, self.counts, self.whole)
        return PackedLayout.of(self.plan, [self.outputs] * len(self.counts), self.outputs)

    @property
    def positions(self) -> torch.Tensor:
        """See `FrameCall.positions`."""
        rows = self.plan.rows
        if self.reduction is not None and self.reduction.origin is not None:
            rows = rows[self.reduction.origin]
        return rows % self.plan.shape[2]

    def select_outputs(self, states: torch.Tensor, dim: int = -2) -> torch.Tensor:
        """See `FrameCall.select_outputs`."""
        return states if self.output_rows is None else states.index_select(dim, self.output_rows)

    def pairs(self, stream: int) -> int:
        """See `FrameCall.pairs`."""
        if not self.ran_kernel:
            return self.layout.pairs[stream]
        _, frames, tokens = self.plan.shape
        counts = self.counts[stream * frames : (stream + 1) * frames]
        return tokens * (sum(counts) if self.outputs is None else frames * self.outputs)

    def observed_attention(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        scaling: float,
        kept: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        softcap: float | None = None,
    ) -> torch.Tensor:
        """See `FrameCall.observed_attention`."""
        assert self.observed is not None
        frames = self.observed.frames
        first = query[0, :, self.observed.rows].transpose(0, 1)[:, :, None]

        def of_frames(states: torch.Tensor) -> torch.Tensor:
            # An observed frame is whole: its keys are its own rows.
            rows = self.plan.links[0].flatten(0, 1)[frames]
            return states[0][:, rows].transpose(0, 1)

        kept = None if kept is None else of_frames(kept)
        return first_token_attention(first, of_frames(keys), scaling, kept, bias, softcap)

    def attend(
        self,
        attention: Attention,
        module: Any,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scaling: float,
        kept: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `FrameCall.attend`."""
        rows, softcap = query[0].transpose(0, 1), kwargs.get("softcap")
        self.ran_kernel = False
        # "sdpa" leaves the choice of the kernel to us; an implementation that was asked for by name is used.
        is_plain = kept is None and bias is None and softcap is None
        if self.links is not None and is_plain and module.config._attn_implementation == "sdpa":
            # Views: rows of the table, or of what the cache holds, lie side by side.
            key_table, value_table = (states.transpose(1, 2).flatten(0, 1) for states in (keys, values))
            if self.links_alone or kernel_unavailable_reason(rows, key_table, value_table) is None:
                self.ran_kernel = True
                return interpolated_attention(rows, key_table, value_table, self.links, scaling)[None], None
        if bias is not None:
            # Of each row, `(rows, heads, tokens)`.
            bias = bias[0].transpose(0, 1)[self.select_outputs(self.positions, dim=0)]
        outputs = []
        for group in self.layout.groups:
            group_query = rows[group.queries]
            group_bias = None if bias is None else bias[group.queries]
            if isinstance(group, TableGroup):
                table = (group_query, keys[0], values[0], group)
                outputs.append(table_attention(*table, scaling, kept, group_bias, softcap))
                continue
            mask = None if group_bias is None else group_bias.transpose(1, 2)
            if kept is not None:
                group, is_kept = without_left_out(group, kept, self.plan)
                own_mask = kept_mask(is_kept, group_query.transpose(1, 2))
                mask = own_mask if mask is None else mask + own_mask
            own_keys, own_values = (frames_of(states, group, self.plan) for states in (keys, values))
            output, _ = attention(
                module, group_query.transpose(1, 2), own_keys, own_values, mask, scaling=scaling, **kwargs
            )
            outputs.append(output.flatten(0, 1))
        return torch.cat(outputs)[self.layout.restore][None], None


def first_token_attention(
    first: torch.Tensor,
    keys: torch.Tensor,
    scaling: float,
    kept: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """
    Attention of the first token of frames, mean over heads.

    Args:
        first (`torch.Tensor` of shape `(frames, heads, 1, head_dim)`): its queries.
        keys (`torch.Tensor` of shape `(frames, heads, tokens, head_dim)`): of every token.
        scaling (`float`): factor of the scores.
        kept (`torch.BoolTensor` of shape `(frames, 1, tokens, 1)`, *optional*): which were not left out.
        bias, softcap: as in `FrameCall.attend`.

    Returns:
        `torch.FloatTensor` of shape `(frames, tokens)`.
    """
    scores = soft_capped(torch.matmul(first, keys.transpose(2, 3)) * scaling, softcap)
    if bias is not None:
        scores = scores + bias[:, :, :1]
    if kept is not None:
        scores = scores.masked_fill(~kept.transpose(2, 3), -torch.inf)
    return scores.detach().float().softmax(-1).mean(1).squeeze(1)


def frames_of(states: torch.Tensor, group: FrameGroup, plan: ReusePlan) -> torch.Tensor:
    """The keys or values of the frames of a group, `(group, heads, tokens, head_dim)`, out of those of the cache."""
    if plan.is_single:
        # They lie side by side as they are: no copy.
        held = states[0].unflatten(1, (plan.shape[0], -1)).transpose(0, 1)
        return held if len(group.frames) == len(held) else held[group.frames]
    _, heads, _, head_dim = states.shape
    table = states[0].transpose(0, 1).flatten(1)
    if plan.is_hold:
        wanted = table.index_select(0, group.links[:, 0])
    else:
        wanted = assemble(table, group.links, group.shares)
    return wanted.view(len(group.frames), -1, heads, head_dim).transpose(1, 2)


def kept_mask(is_kept: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """
    What is added to the logits of frames so that nothing attends to what was left out.

    Args:
        is_kept (`torch.BoolTensor` of shape `(frames, tokens)`): what was not.
        query (`torch.Tensor` of shape `(frames, heads, queries, head_dim)`): the queries.

    Returns:
        `torch.Tensor` of shape `(frames, 1, queries, tokens)` in the dtype of `query`.
    """
    mask = torch.zeros(is_kept.shape, dtype=query.dtype, device=query.device).masked_fill_(~is_kept, -torch.inf)
    return mask[:, None, None].expand(-1, -1, query.shape[2], -1)


def without_left_out(group: FrameGroup, kept: torch.Tensor, plan: ReusePlan) -> tuple[FrameGroup, torch.Tensor]:
    """
    The group with keys and values made of the rows alone that were not left out.

    Args:
        group: the group.
        kept: as in `FrameCall.attend`.
        plan: the plan of the call.

    Returns:
        The group, and for each of its frames which tokens have any such row, `(group, tokens)`.
    """
    is_kept = kept.flatten()[group.links]
    if plan.is_hold:
        return group, is_kept[:, 0].unflatten(0, (len(group.frames), -1))
    shares = group.shares * is_kept
    total = shares.sum(1, keepdim=True)
    group = replace(group, shares=shares / total.clamp(min=torch.finfo(shares.dtype).tiny))
    return group, (total > 0).view(len(group.frames), -1)


def table_attention(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    group: TableGroup,
    scaling: float,
    kept: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    softcap: float | None = None,
) -> torch.Tensor:
    """
    Attention to interpolated keys and values that are never assembled.

    Scores are linear in the keys, and the output is linear in the values: so scores of the table's rows are
    interpolated instead of the keys, and the weights of the interpolated values are given to the rows they are made
    of. For a few queries this touches far less memory than their frame's keys and values would.

    Args:
        query (`torch.Tensor` of shape `(rows, heads, head_dim)`): the rows of the group.
        keys, values (`torch.Tensor` of shape `(heads, table_rows, head_dim)`): the table.
        group: the group.
        scaling (`float`): factor of the scores.
        kept: as in `FrameCall.attend`.
        bias (`torch.Tensor` of shape `(rows, heads, tokens)`, *optional*): what the model adds to the scores.
        softcap (`float`, *optional*): as in `FrameCall.attend`.

    Returns:
        `torch.Tensor` of shape `(rows, heads, head_dim)`.
    """
    is_kept = None if kept is None else kept.flatten()
    if group.table_rows is not None:
        keys, values = keys[:, group.table_rows], values[:, group.table_rows]
        is_kept = None if is_kept is None else is_kept[group.table_rows]
    alpha, is_left_out = group.alpha, None
    if is_kept is not None:
        from_left, from_right = (1 - alpha) * is_kept[group.left], alpha * is_kept[group.right]
        total = from_left + from_right
        alpha, is_left_out = from_right / total.clamp(min=torch.finfo(total.dtype).tiny), total == 0
    scores = (query.transpose(0, 1) @ keys.transpose(1, 2)).float() * scaling
    left, right = (index.expand(len(scores), -1, -1) for index in (group.left, group.right))
    # The score of an interpolated key is that of the rows that it is made of, interpolated; the cap is for the key.
    weights = soft_capped(torch.lerp(scores.gather(2, left), scores.gather(2, right), alpha.float()), softcap)
    if bias is not None:
        weights = weights + bias.transpose(0, 1)
    if is_left_out is not None:
        weights = weights.masked_fill_(is_left_out, -torch.inf)
    weights = weights.softmax(-1)
    to_right = weights * alpha
    of_rows = torch.zeros_like(scores).scatter_add(2, left, weights - to_right).scatter_add(2, right, to_right)
    return (of_rows.to(values.dtype) @ values).transpose(0, 1)


def pair_links(left: torch.Tensor, right: torch.Tensor, alpha: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Left and right rows side by side, and the share of each, `(n, 2)`, out of tensors of shape `(n,)`."""
    return torch.stack([left, right], dim=1), torch.stack([1 - alpha, alpha], dim=1)


def assemble(table: torch.Tensor, links: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """
    Interpolates rows of a table.

    Args:
        table (`torch.Tensor` of shape `(rows, dim)`): the rows.
        links, shares (of shape `(n, 2)`): as `pair_links` returns them.

    Returns:
        `torch.Tensor` of shape `(n, dim)`, in the dtype of the table.
    """
    # One pass over the output instead of two gathers and a lerp: assembling is bound by memory.
    return nn.functional.embedding_bag(links, table, mode="sum", per_sample_weights=shares.to(table.dtype))
