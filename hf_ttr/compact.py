"""Attention among rows that stand for many tokens each: every key counts as often as it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .planning.window_plan import WindowPlan


def compact_attention(
    attention: Callable[..., tuple[torch.Tensor, torch.Tensor | None]],
    module: nn.Module,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    plan: WindowPlan,
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
        kwargs: handed on to `attention`.

    Returns:
        The output, `(1, rows, heads, head_dim)` or `(batch, slots, heads, head_dim)`, and the attention weights where
        whole windows were computed by an implementation that returns them.
    """
    if plan.is_dense:
        return attention(module, query, keys, values, None, **kwargs)
    outputs = []
    for rows, own_keys, own_values, logits in zip(
        query.split(plan.row_counts, 2),
        keys.split(plan.live_counts, 2),
        values.split(plan.live_counts, 2),
        plan.count_logits,
    ):
        if rows.shape[2]:
            mask = logit_mask(logits, rows)
            outputs.append(attention(module, rows, own_keys, own_values, mask, **kwargs)[0])
    return torch.cat(outputs, 1), None


def logit_mask(logits: torch.Tensor | None, query: torch.Tensor) -> torch.Tensor | None:
    """What is added to the logits of each key, `(keys,)`, as `(1, 1, rows, keys)` in the dtype of `query`, if any."""
    return None if logits is None else logits.to(query.dtype).expand(1, 1, query.shape[2], -1)
