"""Attention among rows that stand for many tokens each: every key counts as often as it is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..planning.window_plan import WindowPlan, logits_of_counts
from ..reduction.row_reduction import RowReduction


def compact_attention(
    attention: Callable[..., tuple[torch.Tensor, torch.Tensor | None]],
    module: nn.Module,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    plan: WindowPlan,
    reduced: ReducedRows | None = None,
    kept: torch.Tensor | None = None,
    outputs: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Lets the computed rows of each stream attend to the live rows of that stream.

    A key that stands for c tokens has log(c) added to its logits, which is the same as c equal keys. Streams run one
    after another, with as many rows as each has: nothing is padded.

    Args:
        attention: a function of transformers' attention interface that takes a mask of logits.
        module: the attention module, handed on to `attention`.
        query (`torch.Tensor` of shape `(1, heads, rows, head_dim)`): the computed rows, stream by stream; or whole
            windows, `(batch, heads, slots, head_dim)`, where the plan computes everything.
        keys, values (`torch.Tensor` of shape `(1, heads, live, head_dim)`): the live rows; or whole windows.
        plan: the plan of the call.
        reduced: what is left of the computed rows, where some were merged or left out. They attend to one another
            where nothing else is live in their stream, and to every live row where something is, as rows that earlier
            windows left stand for themselves.
        kept (`torch.BoolTensor` of shape `(live,)`, *optional*): which live rows were not left out; `None` for all.
        outputs (`int`, *optional*): how many rows in front of each stream `query` has; `None` for all.
        kwargs: handed on to `attention`.

    Returns:
        The output, `(1, rows, heads, head_dim)` or `(batch, slots, heads, head_dim)`, and the attention weights where
        whole windows were computed by an implementation that returns them.
    """
    if plan.is_dense:
        if reduced is None:
            return attention(module, query, keys, values, None, **kwargs)
        return attention(module, query, reduced.keys, reduced.values, reduced.rows.logit_mask(query), **kwargs)
    row_counts = plan.row_counts if reduced is None else reduced.rows.sets.counts
    own = []
    if reduced is not None:
        own = [*zip(reduced.keys.split(row_counts, 2), reduced.values.split(row_counts, 2), reduced.count_logits)]
    if own and all(plan.stands_alone):
        streams = own
    else:
        streams = [*zip(keys.split(plan.live_counts, 2), values.split(plan.live_counts, 2), plan.count_logits)]
        if kept is not None:
            parts = kept.split(plan.live_counts)
            streams = [(*states, _without_left_out(logits, part)) for (*states, logits), part in zip(streams, parts)]
        if own:
            streams = [left if alone else live for left, live, alone in zip(own, streams, plan.stands_alone)]
    attended = []
    query_counts = row_counts if outputs is None else [outputs] * len(row_counts)
    for rows, (own_keys, own_values, logits) in zip(query.split(query_counts, 2), streams):
        if rows.shape[2]:
            mask = logit_mask(logits, rows)
            attended.append(attention(module, rows, own_keys, own_values, mask, **kwargs)[0])
    return torch.cat(attended, 1), None


@dataclass
class ReducedRows:
    """
    What is left of the computed rows in a layer.

    Attributes:
        rows (`RowReduction`): what became of them.
        keys, values (`torch.Tensor`): of the rows that are left, in the layout of the queries.
    """

    rows: RowReduction
    keys: torch.Tensor
    values: torch.Tensor

    @property
    def count_logits(self) -> list[torch.Tensor | None]:
        """What is added to the logits of the rows of each stream; see `logits_of_counts`."""
        return [logits_of_counts(sizes) for sizes in self.rows.key_sizes.split(self.rows.sets.counts)]


def _without_left_out(logits: torch.Tensor | None, is_kept: torch.Tensor) -> torch.Tensor:
    """What is added to the logits of the keys of a stream, minus infinity for those that were left out."""
    if logits is None:
        logits = torch.zeros(len(is_kept), dtype=torch.float32, device=is_kept.device)
    return logits.masked_fill(~is_kept, -torch.inf)


def logit_mask(logits: torch.Tensor | None, query: torch.Tensor) -> torch.Tensor | None:
    """What is added to the logits of each key, `(keys,)`, as `(1, 1, rows, keys)` in the dtype of `query`, if any."""
    return None if logits is None else logits.to(query.dtype).expand(1, 1, query.shape[2], -1)
