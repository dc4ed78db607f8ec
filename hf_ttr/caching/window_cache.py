"""The cache of models that see a window of a stream at once: the rows that stand for its slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..planning.window_plan import WindowPlan
from ..planning.window_state import WindowState
from ..reduction.row_reduction import RowReduction
from .cache import ReuseCache, TemporalReuseCacheLayer


class WindowCacheLayer(TemporalReuseCacheLayer):
    """
    Keys and values of one transformer layer, of the rows that stand for the slots of the last window.

    Attributes:
        keys, values (`torch.Tensor` of shape `(1, heads, rows, head_dim)`): stream by stream; `None` before the first
            update.
    """

    def update(  # type: ignore[override]
        self, key_states: torch.Tensor, value_states: torch.Tensor, plan: WindowPlan
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Stores computed rows, forgets those that stand for nothing any more, and returns what is left.

        Args:
            key_states, value_states (`torch.Tensor`):
                The computed rows, `(1, heads, rows, head_dim)`; or, where the plan computes everything, whole windows,
                `(batch, heads, slots, head_dim)`, which are returned as they are.
            plan: the plan of the call.

        Returns:
            Two tensors of shape `(1, heads, live, head_dim)`.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.prefetch()
        keys = _live_states(self.keys, key_states, plan)
        values = _live_states(self.values, value_states, plan)
        self.keys, self.values = keys.detach(), values.detach()
        return (key_states, value_states) if plan.is_dense else (keys, values)

    def select(self, rows: torch.Tensor) -> None:
        """Keeps (or repeats) the given rows, in the given order."""
        if self.keys is not None and self.values is not None:
            self.keys = self.keys.index_select(2, rows.to(self.keys.device))
            self.values = self.values.index_select(2, rows.to(self.values.device))


def _live_states(stored: torch.Tensor | None, states: torch.Tensor, plan: WindowPlan) -> torch.Tensor:
    heads, dim = states.shape[1], states.shape[3]
    table = None if stored is None else stored.transpose(1, 2).flatten(2)[0]
    table = live_rows(table, states.transpose(1, 2).flatten(2).flatten(0, 1), plan)
    return table.view(1, -1, heads, dim).transpose(1, 2)


def live_rows(stored: torch.Tensor | None, computed: torch.Tensor, plan: WindowPlan) -> torch.Tensor:
    """
    The rows that stand for the slots of a window.

    Args:
        stored (`torch.Tensor` of shape `(rows, ...)`, *optional*): those of the last window.
        computed (`torch.Tensor` of shape `(computed, ...)`): those computed now.
        plan: the plan of the call.

    Returns:
        `torch.Tensor` of shape `(live, ...)`, ordered by stream.

    Raises:
        ValueError: if the plan has a past, but nothing is stored.
    """
    if not plan.has_past or plan.is_dense:
        # Of what is computed everything is live: it stands at least for itself.
        return computed
    if stored is None:
        raise ValueError("the plan has a past, but the cache is empty; hand back the cache of the stream.")
    return torch.cat([stored, computed]).index_select(0, plan.live)


LENT = ("layers", "streams", "_output")
"""What of a cache may lie elsewhere, by the names of attributes."""


class TemporalReuseWindowCache(ReuseCache):
    """
    The `past_key_values` of windows of a stream: what stands for each slot (time and position) of the last window.

    A model creates it on the first call and returns it as `past_key_values`; hand it back with the next window of the
    same streams. Where the content of a slot is still what it was, its keys, values and output are used again, and so
    its position embedding is the right one. Of models whose positions are relative, keys are held as they are before
    they are told a position: they move along with a window whose `stride` is known. Memory is bounded: per stream at
    most `2 * layers * slots * hidden_size` values and a few per slot, much less where one row stands for many slots.

    Args:
        num_layers (`int`): sets of keys and values: one for each transformer layer of the model, or two where its rows
            attend twice.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseWindowCache

    >>> TemporalReuseWindowCache(num_layers=12)
    TemporalReuseWindowCache(layers=12, streams=0)
    ```
    """

    layers: list[WindowCacheLayer]
    _give_back: Callable[[], None] | None = None

    def __init__(self, num_layers: int) -> None:
        super().__init__([WindowCacheLayer() for _ in range(num_layers)])
        self.streams: WindowState | None = None

    @property
    def goes_on_plainly(self) -> bool:
        """Whether it holds a window of every stream, of which nothing was left out; what is lent is not asked for."""
        if self.is_lent:
            return True
        whole = self.streams is not None and not any(self.streams.is_fresh) and self._output is not None
        return whole and self._last_layers is None

    @property
    def is_lent(self) -> bool:
        """Whether what it holds lies elsewhere."""
        return self._give_back is not None

    def lend(self, give_back: Callable[[], None]) -> None:
        """
        Leaves what it holds to someone who keeps it in another form, until anyone asks for it.

        Args:
            give_back: called then; it has to call `take_back`.
        """
        for name in LENT:
            delattr(self, name)
        self._give_back = give_back

    def take_back(
        self, streams: WindowState, keys_values: Sequence[tuple[torch.Tensor, torch.Tensor]], output: Any
    ) -> None:
        """
        Holds itself again what was lent.

        Args:
            streams: the state of the streams.
            keys_values: of each layer, as `WindowCacheLayer` holds them.
            output (`torch.Tensor`): last hidden states of the rows.
        """
        self._give_back = None
        self.layers = [WindowCacheLayer() for _ in keys_values]
        for layer, (keys, values) in zip(self.layers, keys_values):
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
        self.streams, self._output = streams, output

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not there.
        give_back = vars(self).get("_give_back")
        if name in LENT and give_back is not None:
            give_back()
            return vars(self)[name]
        raise AttributeError(f"a {type(self).__name__} has no attribute {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        # Copies, and what is written to files, are of what is held.
        return {name: getattr(self, name) for name in LENT} | vars(self)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, plan: WindowPlan
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stores the computed rows of a layer and returns the live ones. See `WindowCacheLayer.update`."""
        return self.layers[layer_idx].update(key_states, value_states, plan)

    def kept(self, layer_idx: int, plan: WindowPlan, reduction: RowReduction | None) -> torch.Tensor | None:
        """
        Which live rows a layer still attends to, where methods of reduction left some out.

        Args:
            layer_idx (`int`): number of the layer; the number of layers asks what is left in the end.
            plan: the plan of the call.
            reduction: what is done to the computed rows.

        Returns:
            `torch.BoolTensor` of shape `(live,)`, or `None` where it attends to all.
        """
        last_layers = self._live_last_layers(plan, reduction)
        return None if last_layers is None else last_layers >= layer_idx

    def remember_kept(self, plan: WindowPlan, reduction: RowReduction | None) -> None:
        """Stores for which layers the computed rows were left out; called behind the last layer."""
        self._last_layers = self._live_last_layers(plan, reduction)

    def _live_last_layers(self, plan: WindowPlan, reduction: RowReduction | None) -> torch.Tensor | None:
        computed = None if reduction is None else reduction.last_layers
        if computed is None and (self._last_layers is None or plan.is_dense):
            return None
        device, layers = plan.computed.device, len(self.layers)
        if computed is None:
            computed = torch.full((len(plan.rows),), layers, device=device)
        held = self._last_layers
        if held is None and plan.has_past:
            held = torch.full((sum(plan.past_counts),), layers, device=device)
        return live_rows(None if held is None else held.to(device), computed, plan)

    def keep(self, plan: WindowPlan) -> None:
        """Carries out a plan that computes nothing: only forgets the rows that stand for nothing any more."""
        for layer in self.layers:
            layer.prefetch()
            layer.select(plan.live)

    def update_output(self, computed: torch.Tensor, plan: WindowPlan) -> torch.Tensor:
        """
        Stores the last hidden states of the computed rows and returns those of the live ones.

        Args:
            computed (`torch.Tensor` of shape `(rows, dim)`): last hidden states, stream by stream.
            plan: the plan of the call.

        Returns:
            `torch.Tensor` of shape `(live, dim)`.
        """
        stored = None if self._output is None else self._output.to(computed.device)
        output = live_rows(stored, computed, plan)
        self._output = output.detach()
        return output

    def reset(self, streams: Sequence[int] | torch.Tensor | None = None) -> None:
        """
        Forgets all streams, or the given ones (batch rows): their next window is planned on its own.

        Raises:
            IndexError: if there is no such stream.
        """
        if streams is None:
            for layer in self.layers:
                layer.reset()
            self.streams = self.owner = self._output = self._last_layers = None
        elif self.streams is not None:
            forgotten = set(self.numbers_of(streams).tolist())
            kept = [stream for stream in range(self.batch_size) if stream not in forgotten]
            self._select_rows(self.streams.rows_of(torch.tensor(kept, dtype=torch.long, device="cpu")))
            self.streams = self.streams.without_rows_of(forgotten)

    def crop(self, tokens_to_remove: int) -> None:
        """
        Not possible: a window replaces what it does not use any more.

        Raises:
            NotImplementedError: always; it says what to do instead.
        """
        raise NotImplementedError(
            "a TemporalReuseWindowCache cannot go back in time; keep a copy (copy.deepcopy) of the cache, or reset it."
        )

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps the given streams, in the given order; an index may come twice. A mask keeps those that are true."""
        if self.streams is None:
            return
        indices = self.numbers_of(indices)
        self._select_rows(self.streams.rows_of(indices))
        self.streams = self.streams.select(indices)
        if self.owner is not None:
            self.owner = {**self.owner, "batch_size": len(indices)}

    def _join_rows(self, caches: Sequence[TemporalReuseWindowCache]) -> None:
        for number, layer in enumerate(self.layers):
            # The rows of all streams lie one behind the other; token by token they are the second dimension.
            layer.join([cache.layers[number] for cache in caches], dim=1)

    @property
    def row_count(self) -> int:
        """Rows of all streams together."""
        return 0 if self.streams is None else sum(self.streams.counts)

    def _select_rows(self, rows: torch.Tensor) -> None:
        for layer in self.layers:
            layer.select(rows)
        self._change_rows(lambda tensor: tensor.index_select(0, rows.to(tensor.device)))
