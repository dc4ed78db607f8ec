"""From packed rows to frames and back: the only place that knows how the rows of a frame attend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .planning.plan import ReusePlan


BUCKET = 16
"""Frames are grouped by their number of rows rounded up to a multiple of this."""


@dataclass
class FrameGroup:
    """
    Frames that attend together.

    Attributes:
        frames (`list[int]`): the frames, numbered by stream and time.
        queries (`torch.LongTensor` of shape `(group, size)`): their query rows; a short frame repeats its first row.
    """

    frames: list[int]
    queries: torch.Tensor


@dataclass
class PackedLayout:
    """
    How query rows are grouped into frames for attention.

    Attributes:
        groups (`list[FrameGroup]`): every frame that has rows, once.
        order (`torch.LongTensor` of shape `(frames,)`): the frames in the order of the groups.
        restore (`torch.LongTensor` of shape `(rows,)`): position of each row in the concatenated, padded group rows.
    """

    groups: list[FrameGroup]
    order: torch.Tensor
    restore: torch.Tensor

    @classmethod
    def of(cls, counts: list[int], tokens: int, device: torch.device) -> PackedLayout:
        """Groups frames with `counts` rows each, out of `tokens` positions, by their padded number of rows."""
        by_size: dict[int, list[int]] = {}
        starts, total = [], 0
        for frame, count in enumerate(counts):
            starts.append(total)
            total += count
            if count:
                by_size.setdefault(padded_size(count, tokens), []).append(frame)

        groups, order, restore, offset = [], [], [0] * total, 0
        for size, frames in by_size.items():
            queries = []
            for frame in frames:
                start, count = starts[frame], counts[frame]
                restore[start : start + count] = range(offset, offset + count)
                queries.append([*range(start, start + count), *[start] * (size - count)])
                offset += size
            order += frames
            groups.append(FrameGroup(frames, torch.tensor(queries, device=device)))
        return cls(groups, torch.tensor(order, device=device), torch.tensor(restore, device=device))


def padded_size(count: int, tokens: int) -> int:
    """Rows that attention computes for a frame of `count` computed tokens: it depends on that frame alone."""
    if count <= 1:
        return count
    return min(-(-count // BUCKET) * BUCKET, tokens)


@dataclass
class FrameCall:
    """
    What a layer needs to know of a call: its plan, how its rows form frames, and which outputs are wanted.

    Attributes:
        plan (`ReusePlan`): the plan.
        layout (`PackedLayout`, *optional*): the grouping of the query rows; `None` where whole frames are computed.
        first_tokens_only (`bool`): whether outputs are wanted for the CLS tokens alone.
        output_rows (`torch.LongTensor` of shape `(batch * frames,)`, *optional*): the packed rows of the CLS tokens,
            where they alone are wanted.
        observed_streams, observed_frames, observed_rows (`torch.LongTensor` of shape `(observed,)`, *optional*):
            streams whose CLS attention is recorded; the frames it is taken from, in the order of the assembled keys;
            and the query rows (or frames, where whole frames are computed) of their CLS tokens.
    """

    plan: ReusePlan
    layout: PackedLayout | None
    first_tokens_only: bool
    output_rows: torch.Tensor | None = None
    observed_streams: torch.Tensor | None = None
    observed_frames: torch.Tensor | None = None
    observed_rows: torch.Tensor | None = None

    @classmethod
    def of(cls, plan: ReusePlan, first_tokens_only: bool = False) -> FrameCall:
        """Lays out a plan for one layer; with `first_tokens_only`, for a layer whose other outputs nobody reads."""
        _, frames, tokens = plan.shape
        device = plan.computed.device
        first_rows = torch.tensor([0, *plan.row_counts], device=device).cumsum(0)[:-1]
        query_rows = torch.arange(len(plan.row_counts), device=device) if first_tokens_only else first_rows
        layout = None
        if not plan.is_dense:
            counts = [1] * len(plan.row_counts) if first_tokens_only else plan.row_counts
            layout = PackedLayout.of(counts, tokens, device)
        call = cls(plan, layout, first_tokens_only)
        if first_tokens_only and layout is not None:
            call.output_rows = first_rows
        if plan.record_saliency:
            whole = [frame for frame, count in enumerate(plan.row_counts) if count == tokens]
            last_whole = {frame // frames: frame for frame in whole}
            if last_whole:
                frame = torch.tensor(list(last_whole.values()), device=device)
                call.observed_streams = torch.tensor(list(last_whole), device=device)
                call.observed_frames = frame if layout is None else layout.order.argsort()[frame]
                call.observed_rows = frame if layout is None else query_rows[frame]
        return call

    def select_outputs(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The rows for which outputs are wanted, out of `(frames, tokens, dim)` or packed `(1, rows, dim)`."""
        if not self.first_tokens_only:
            return hidden_states
        return hidden_states[:, :1] if self.output_rows is None else hidden_states[:, self.output_rows]

    def observed_attention(self, query: torch.Tensor, keys: torch.Tensor, scaling: float) -> torch.Tensor:
        """
        Attention of the CLS token in the observed frames, mean over heads.

        Args:
            query, keys: as in `packed_attention`.
            scaling (`float`): factor of the scores.

        Returns:
            `torch.FloatTensor` of shape `(observed, tokens)`.
        """
        if self.layout is None:
            first = query[self.observed_rows, :, :1]
        else:
            first = query[0, :, self.observed_rows].transpose(0, 1)[:, :, None]
        scores = torch.matmul(first, keys[self.observed_frames].transpose(2, 3)) * scaling
        return scores.detach().float().softmax(-1).mean(1).squeeze(1)


def packed_attention(
    attention: Callable[..., tuple[torch.Tensor, torch.Tensor | None]],
    module: nn.Module,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    call: FrameCall,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Lets the rows of each frame attend to the keys and values of that frame.

    Args:
        attention: a function of transformers' attention interface.
        module: the attention module, handed on to `attention`.
        query (`torch.Tensor` of shape `(1, heads, rows, head_dim)`): the packed rows; or whole frames,
            `(frames, heads, tokens, head_dim)`.
        keys, values (`torch.Tensor` of shape `(frames, heads, tokens, head_dim)`): in the order of the layout.
        call: the grouping of the rows.
        kwargs: handed on to `attention`.

    Returns:
        The output, `(1, rows, heads, head_dim)` or `(frames, tokens, heads, head_dim)`, and the attention weights
        where whole frames were computed by an implementation that returns them.
    """
    if call.layout is None:
        return attention(module, query, keys, values, None, **kwargs)
    rows = query[0].transpose(0, 1)
    outputs, start = [], 0
    for group in call.layout.groups:
        stop = start + len(group.frames)
        group_query = rows[group.queries].transpose(1, 2)
        output, _ = attention(module, group_query, keys[start:stop], values[start:stop], None, **kwargs)
        outputs.append(output.flatten(0, 1))
        start = stop
    return torch.cat(outputs)[call.layout.restore][None], None


def assemble(table: torch.Tensor, left: torch.Tensor, right: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """
    Interpolates rows of a table: `(1 - alpha) * table[left] + alpha * table[right]`.

    Args:
        table (`torch.Tensor` of shape `(rows, dim)`), left, right (`torch.LongTensor` of shape `(n,)`),
        alpha (`torch.Tensor` of shape `(n,)`).

    Returns:
        `torch.Tensor` of shape `(n, dim)`, in the dtype of the table.
    """
    # One pass over the output instead of two gathers and a lerp: assembling is bound by memory.
    weights = torch.stack([1 - alpha, alpha], dim=1).to(table.dtype)
    return nn.functional.embedding_bag(
        torch.stack([left, right], dim=1), table, mode="sum", per_sample_weights=weights
    )
