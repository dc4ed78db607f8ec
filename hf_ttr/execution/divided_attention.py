"""Attention of the rows of a window in two steps: over time at each position, and within each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad

from ..planning.plan import ReusePlan
from ..planning.window_plan import WindowPlan, with_prefix
from .packed import FrameCall, WholeFrames


@dataclass
class SlotSets:
    """
    The slots of a window in sets whose members attend to one another: the times of a position, or the positions of a
    time, of which every token in front is a member as well.

    Rows that attend, and what they attend to, are packed as those of frames are (`hf_ttr.execution.packed`): a set is
    a frame, whose keys and values are made of the live rows that its slots are linked to.

    Attributes:
        call (`FrameCall`): the sets, as frames of a plan.
        asking (`torch.LongTensor` of shape `(queries,)`): the computed row of each query, ordered by set. Tokens in
            front ask in every set.
        rows (`int`): how many computed rows there are.
        front_rows (`torch.LongTensor` of shape `(front,)`): those of the tokens in front, if they are members.
        front_queries (`torch.LongTensor` of shape `(front, sets)`): their queries in each set of their stream, of
            those that ask.
    """

    call: FrameCall
    asking: torch.Tensor
    rows: int
    front_rows: torch.Tensor
    front_queries: torch.Tensor

    @classmethod
    def over_time(cls, plan: WindowPlan) -> SlotSets:
        """The times of each position of a plan."""
        _, rows = computed_rows(plan)
        parts = (rows, plan.computed, *plan.live_slots, plan.alpha)
        rows, computed, left, right, alpha = (part.transpose(1, 2) for part in parts)
        call = FrameCall.of(plan_of_sets(plan, computed, left, right, alpha))
        none = rows.new_empty(0)
        return cls(call, rows[computed], len(plan.rows), none, none[:, None].expand(-1, plan.shape[2]))

    @classmethod
    def within_times(cls, plan: WindowPlan, outputs: int | None = None) -> SlotSets:
        """
        The positions of each time of a plan, behind the tokens in front.

        Args:
            plan: the plan.
            outputs (`int`, *optional*): how many tokens in front attend; by default they all do, and every computed
                slot.
        """
        front, rows = computed_rows(plan)

        def behind(front: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
            return torch.cat([front[:, None].expand(-1, slots.shape[1], -1), slots], dim=2)

        left, right = (behind(plan.live_prefix, slots) for slots in plan.live_slots)
        computed, alpha = pad(plan.computed, (plan.prefix, 0), value=True), pad(plan.alpha, (plan.prefix, 0))
        call = FrameCall.of(plan_of_sets(plan, computed, left, right, alpha), outputs)
        asks = computed if outputs is None else computed[:, :, :outputs]
        rows, counts = behind(front, rows)[:, :, : asks.shape[2]], asks.sum(-1)
        first = counts.flatten().cumsum(0).view_as(counts) - counts
        number = torch.arange(plan.prefix if outputs is None else outputs, device=first.device)
        front_queries = (first[:, None] + number[:, None]).flatten(0, 1)
        return cls(call, rows[asks], len(plan.rows), front.flatten(), front_queries)

    def attend(
        self, module: Any, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Lets rows attend within their sets.

        Args:
            module: the attention module; its `attention` and `eager_attention` are functions of transformers'
                attention interface.
            query (`torch.Tensor` of shape `(rows, heads, head_dim)`): of the computed rows.
            keys, values (`torch.Tensor` of shape `(live, heads, head_dim)`): of the live rows.
            scaling (`float`): factor of the scores.
            kwargs: handed on to the function.

        Returns:
            What each row got, `(rows, heads, head_dim)`: a token in front the mean over its sets, and a row of no set
            zeros; or what the tokens in front got alone, `(batch * outputs, heads, head_dim)`. And the weights,
            `(sets, heads, queries, members)`, where everything is computed.
        """
        if not len(self.asking):
            return torch.zeros_like(query), None
        query, attention, sets = query.index_select(0, self.asking), module.attention, 1
        if isinstance(self.call, WholeFrames):
            # As the parent computes them, and with the weights that it returns.
            attention, links, sets = module.eager_attention, self.call.plan.left.flatten(), len(self.call.counts)
            keys, values = (states.index_select(0, links) for states in (keys, values))
        query, keys, values = (states.unflatten(0, (sets, -1)).transpose(1, 2) for states in (query, keys, values))
        output, weights = self.call.attend(attention, module, query, keys, values, scaling, **kwargs)
        return self._of_rows(output.flatten(0, 1)), weights

    def _of_rows(self, attended: torch.Tensor) -> torch.Tensor:
        """What each row got, `(rows, ...)`, of what each query got, `(queries, ...)`."""
        means = attended[self.front_queries].mean(1)
        if self.call.outputs is not None:
            return means
        result = attended.new_zeros(self.rows, *attended.shape[1:])
        return result.index_copy_(0, self.asking, attended).index_copy_(0, self.front_rows, means)


def computed_rows(plan: WindowPlan) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Which computed row each token is, `(batch, prefix)` of those in front and `(batch, times, positions)` of the slots;
    any number where a slot is not computed.
    """
    rows = with_prefix(plan.computed.flatten(1), plan.prefix, True).flatten().cumsum(0) - 1
    rows = rows.view(plan.shape[0], -1)
    return rows[:, : plan.prefix], rows[:, plan.prefix :].view(plan.shape)


def plan_of_sets(
    plan: WindowPlan, computed: torch.Tensor, left: torch.Tensor, right: torch.Tensor, alpha: torch.Tensor
) -> ReusePlan:
    """The plan of sets as if they were frames, with the live rows of a window's plan as its table."""
    return ReusePlan(
        computed,
        left,
        right,
        alpha,
        age=computed.new_empty(0, dtype=torch.long),
        has_past=False,
        # What a stream costs must not depend on the links of others.
        interpolate=True,
        table_counts=plan.live_counts,
    )


__all__ = ["SlotSets", "computed_rows", "plan_of_sets"]
