"""Heads that are transformers of their own: they look at rows, each as often as it is used, and not at every token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..execution.compact import logit_mask
from ..execution.flops import multiply_adds_of_row
from ..planning.window_plan import logits_of_counts
from .attending import LayerRun, ReuseAttention, running


if TYPE_CHECKING:
    from .window_model import EncodedWindow


@dataclass
class PoolingRun(LayerRun):
    """
    The layers of a head, for the rows of one stream.

    Attributes:
        logits (`torch.Tensor` of shape `(rows,)`, *optional*): what is added to the logits of each row.
    """

    logits: torch.Tensor | None = None

    def attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scaling: float,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `LayerRun.attend`."""
        counted = logit_mask(self.logits, query)
        output: tuple[torch.Tensor, torch.Tensor | None] = module.attention(
            module, query, key, value, counted, scaling=scaling, **kwargs
        )
        return output


def adopt_pooler(pooler: nn.Module, *attention_classes: type[ReuseAttention]) -> None:
    """Attention modules of a head that was built by the parent's code become those with reuse that stand for them."""
    for module in pooler.modules():
        for kind in attention_classes:
            if type(module) in kind.__bases__:
                module.__class__ = kind  # type: ignore[assignment]


def pool_rows(pooler: nn.Module, encoded: EncodedWindow, norm: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """
    What a head makes of a window in which rows meet in attention alone: equal tokens stay equal, and need not be
    repeated.

    Args:
        pooler: takes states `(batch, tokens, hidden_size)`; its attention modules are `ReuseAttention`.
        encoded: the window.
        norm: what comes behind the last layer.

    Returns:
        `torch.Tensor` of shape `(batch, hidden_size)`.
    """
    states = norm(encoded.states)
    if encoded.plan.is_dense and encoded.kept is None:
        pooled: torch.Tensor = pooler(states.unflatten(0, (encoded.plan.shape[0], -1)))
        return pooled
    outputs = []
    for rows, counts in zip(states.split(encoded.plan.live_counts), encoded.counts.split(encoded.plan.live_counts)):
        if encoded.kept is not None:
            rows, counts = rows[counts > 0], counts[counts > 0]
        with running(PoolingRun(0, None, logits_of_counts(counts))):
            outputs.append(pooler(rows[None]))
    return torch.cat(outputs)


def pooling_multiply_adds(layers: nn.Module, last: nn.Module, projections: Sequence[nn.Module], rows: int) -> int:
    """
    Multiply-adds of a head whose last layer has a single query.

    Args:
        layers: those in which rows attend to one another, a list.
        last: the layer with the query.
        projections: in that, the linear layers of keys and values.
        rows (`int`): how many rows there are.
    """
    key_value = sum(map(multiply_adds_of_row, projections))
    # Of a query and a key: their product, and the value.
    pair = 2 * int(projections[0].out_features)  # type: ignore[arg-type]
    of_row = multiply_adds_of_row(layers) + len(list(layers.children())) * rows * pair + key_value + pair
    return rows * of_row + multiply_adds_of_row(last) - key_value


__all__ = ["PoolingRun", "adopt_pooler", "pool_rows", "pooling_multiply_adds"]
