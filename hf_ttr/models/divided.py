"""Models whose layers attend over time at each position, and then within each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from ..caching.window_cache import TemporalReuseWindowCache
from ..execution.divided_attention import SlotSets
from ..execution.flops import DividedCost, multiply_adds_of_row
from ..execution.kernels.row_buckets import pad_rows, trim_rows
from ..planning.window_plan import WindowPlan
from ..reduction.row_reduction import RowReduction
from .attending import LayerRun, ReuseAttention, ReuseLayer, adopt_attention, parts_of
from .window_model import WindowRun


@dataclass(kw_only=True)
class DividedRun(WindowRun):
    """
    A layer of a call in which rows attend over time, and then within each time.

    Attributes:
        over_time, within_times (`SlotSets`): what attends to what in the one and in the other.
    """

    over_time: SlotSets
    within_times: SlotSets
    key_sets: ClassVar[int] = 2
    has_kernel: ClassVar[bool] = True

    @classmethod
    def for_layers(
        cls,
        layers: int,
        reduction: RowReduction | None,
        plan: WindowPlan,
        cache: TemporalReuseWindowCache | None,
        outputs: int | None = None,
    ) -> list[DividedRun]:
        """See `WindowRun.for_layers`."""
        over_time, within = SlotSets.over_time(plan), SlotSets.within_times(plan)
        last = within if outputs is None else SlotSets.within_times(plan, outputs)
        wanted = [*[(None, within)] * (layers - 1), (outputs, last)]
        return [
            cls(number, reduction, plan, cache, own, over_time=over_time, within_times=sets)
            for number, (own, sets) in enumerate(wanted)
        ]

    @property
    def pairs(self) -> list[int]:
        """See `WindowRun.pairs`."""
        calls = self.over_time.call, self.within_times.call
        return [sum(call.pairs(stream) for call in calls) for stream in range(self.plan.shape[0])]

    def without_front(self, states: torch.Tensor) -> torch.Tensor:
        """States of rows, `(layout, rows, hidden_size)`, with zeros for the tokens in front, which are at no time."""
        front = self.within_times.front_rows
        return states.index_fill(1, front[: self.plan.prefix] if self.plan.is_dense else front, 0)

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
        """See `LayerRun.attend`; rows are whole windows, or the computed rows of all streams."""
        plan, over_time = self.plan, isinstance(module, OverTime)
        layout, padded_rows = query.shape[0], query.shape[2]
        if not plan.is_dense:
            query, key, value = (trim_rows(states, len(plan.rows)) for states in (query, key, value))
        if self.cache is not None:
            key, value = self.cache.update(key, value, self.key_sets * self.number + int(not over_time), plan)
        sets = self.over_time if over_time else self.within_times
        query, key, value = (states.transpose(1, 2).flatten(0, 1) for states in (query, key, value))
        output, weights = sets.attend(module, query, key, value, scaling, **kwargs)
        output = output.unflatten(0, (layout, -1))
        return (output if sets.call.outputs is not None else pad_rows(output, padded_rows, dim=1)), weights


class OverTime:
    """In front of an attention class with reuse: the one in which the times of a position meet."""


class DividedLayer(ReuseLayer):
    """
    In front of a layer class of transformers of three residual parts: attention over time in front of the two halves.

    Attributes:
        time_part (`tuple[str, str, str]`): names of the norm, the attention, and the linear layer behind it.
        time_module (`str`): where in the layer the times of a position meet.
        time_class: with reuse, in the place of the class of that.
    """

    time_part: ClassVar[tuple[str, str, str]]
    time_module: ClassVar[str]
    time_class: ClassVar[type[ReuseAttention]]

    @classmethod
    def adopt(cls, layer: Any, attention_class: type[ReuseAttention], config: Any) -> None:
        """See `ReuseLayer.adopt`."""
        super().adopt(layer, attention_class, config)
        if hasattr(layer, cls.time_part[0]):
            adopt_attention(layer.get_submodule(cls.time_module), cls.time_class, config)

    @classmethod
    def cost(cls, layer: nn.Module, projections: Sequence[str], patch: int, layers: int) -> DividedCost:
        """See `ReuseLayer.cost`."""
        _, attention, linear = parts_of(layer, cls.time_part)
        module = cls.attention_of(layer)
        over_time = multiply_adds_of_row(attention) + multiply_adds_of_row(linear)
        within = multiply_adds_of_row(layer.get_submodule(cls.attention_half[1]))
        first = sum(multiply_adds_of_row(getattr(module, name)) for name in projections)
        return DividedCost(
            patch=patch,
            key_value=over_time + first,
            query_output=within - first,
            mlp=multiply_adds_of_row(layer) - over_time - within,
            pair=2 * int(linear.in_features),
            layers=layers,
            over_time=over_time,
        )

    def forward(self, hidden_states: torch.Tensor, *args: Any, run: LayerRun | None = None, **kwargs: Any) -> Any:
        """See `ReuseLayer.forward`; the parent's code needs every row in its place."""
        if not isinstance(run, DividedRun):
            return super().forward(hidden_states, *args, **kwargs)
        norm, attention, linear = parts_of(self, self.time_part)
        # The tokens in front go along, as rows of all kinds lie in one matrix.
        states = hidden_states + run.without_front(linear(attention(norm(hidden_states))[0]))
        return self.finish(run.select(states) + self.attend(states))


__all__ = ["DividedLayer", "DividedRun", "OverTime"]
