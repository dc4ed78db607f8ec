"""The cache of vision: for every stream and position, what was last computed there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from ..devices import on_device
from ..execution.packed import assemble, pair_links
from ..planning.plan import NEVER, ReusePlan
from ..planning.stream_state import StreamState
from ..reduction.row_reduction import RowReduction


Self = TypeVar("Self", bound="ReuseCache")


class TemporalReuseCacheLayer(CacheLayerMixin):
    """
    Keys and values of one transformer layer, as last computed at every position of every stream.

    Attributes:
        keys, values (`torch.Tensor` of shape `(batch, heads, tokens, head_dim)`): `None` before the first update.
    """

    is_compileable = False
    is_croppable = False
    is_sliding = False
    supports_early_init = False

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Notes dtype and device of the states to come; nothing is allocated before the first update."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, plan: ReusePlan
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Stores computed rows and returns those of which the keys and values of every frame are made.

        Args:
            key_states, value_states (`torch.Tensor`):
                The computed rows, `(1, heads, rows, head_dim)`; or, where the plan computes everything, whole frames,
                `(batch * frames, heads, tokens, head_dim)`.
            plan: the plan of the call.

        Returns:
            Two tensors: the rows that the plan's `links` speak of, `(1, heads, table_rows, head_dim)`; or, where the
            plan computes everything, whole frames, `(batch * frames, heads, tokens, head_dim)`.
        """
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.prefetch()
        self.keys, keys = store_rows(self.keys, key_states, plan)
        self.values, values = store_rows(self.values, value_states, plan)
        return keys, values

    def get_seq_length(self) -> int:
        """Number of token positions held for each stream."""
        return 0 if self.keys is None else self.keys.shape[2]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Every query attends to all positions: `(positions, 0)`."""
        return self.get_seq_length() or query_length, 0

    def get_max_length(self) -> int:
        """-1: the number of positions is set by the first frame and never grows."""
        return -1

    get_max_cache_shape = get_max_length

    def prefetch(self) -> None:
        """Moves offloaded states back to the device on which they were computed."""
        if self.keys is not None and self.values is not None and self.keys.device != self.device:
            self.keys, self.values = self.keys.to(self.device), self.values.to(self.device)

    def offload(self) -> None:
        """Moves the states to main memory; the next update brings them back."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys.to("cpu"), self.values.to("cpu")

    def reset(self) -> None:
        """Forgets all streams."""
        self.keys = self.values = None
        self.is_initialized = False

    def join(self, layers: Sequence[TemporalReuseCacheLayer], dim: int) -> None:
        """Takes the states of several layers, one behind the other."""
        # As `update` lays them out: token by token.
        for name in ("keys", "values"):
            states = [getattr(layer, name).transpose(1, 2) for layer in layers]
            setattr(self, name, torch.cat(states, dim).transpose(1, 2))

    def select(self, streams: torch.Tensor) -> None:
        """Keeps (or repeats) the given streams, in the given order."""
        if self.keys is not None and self.values is not None:
            if streams.dtype == torch.bool:
                streams = streams.nonzero().squeeze(-1)
            self.keys = self.keys.index_select(0, streams.to(self.keys.device))
            self.values = self.values.index_select(0, streams.to(self.values.device))

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Puts the streams in another order."""
        self.select(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps the given streams."""
        self.select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats each stream."""
        if self.keys is not None:
            self.select(torch.arange(self.keys.shape[0], device="cpu").repeat_interleave(repeats))


def store_rows(
    stored: torch.Tensor | None, states: torch.Tensor, plan: ReusePlan
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Merges computed rows with what is stored.

    Args:
        stored (`torch.Tensor` of shape `(batch, heads, tokens, head_dim)`, *optional*): the last state of each
            position. It may be overwritten.
        states (`torch.Tensor`): computed rows, `(1, heads, rows, head_dim)`; or, where the plan computes everything,
            `(batch * frames, heads, tokens, head_dim)`.
        plan: the plan of the call.

    Returns:
        What to store now, and the rows of the plan's `links` or whole frames: see `TemporalReuseCacheLayer.update`.
    """
    batch, frames, tokens = plan.shape
    if plan.is_dense:
        # A copy, so that the other frames are not kept alive and a later in-place write stays in the cache.
        last = states.detach().unflatten(0, (batch, frames))[:, -1].transpose(1, 2)
        return last.clone(memory_format=torch.contiguous_format).transpose(1, 2), states
    heads, head_dim = states.shape[1], states.shape[3]
    table = states[0].transpose(0, 1).flatten(1)
    if plan.has_past:
        if stored is None:
            raise ValueError("the plan has a past, but the cache is empty; hand back the cache of the stream.")
        past = stored.transpose(1, 2).flatten(2).flatten(0, 1)
        if plan.is_single:
            # What the cache holds after a single frame is what that frame attends to: no assembled copy.
            # In place where it can be: not under autograd, nor for what inference mode left behind.
            frozen = torch.is_grad_enabled() or (past.is_inference() and not torch.is_inference_mode_enabled())
            past = past.index_copy(0, plan.rows, table) if frozen else past.index_copy_(0, plan.rows, table)
            held = past.detach().view(batch, tokens, heads, head_dim).transpose(1, 2)
            return held, past.view(1, -1, heads, head_dim).transpose(1, 2)
        table = torch.cat([past, table])
    kept = table.detach().index_select(0, plan.last_rows).view(batch, tokens, heads, head_dim)
    return kept.transpose(1, 2), table.view(1, -1, heads, head_dim).transpose(1, 2)


class ReuseCache(Cache):
    """
    What the caches of all models with reuse share: they hold streams, one per batch row, and know their owner.

    Args:
        layers: one for each transformer layer of the model.

    Attributes:
        row_states (`tuple[str, ...]`): what is held of every row beside keys and values, by the names of attributes:
            last hidden states, and where it was left out.
    """

    row_states: ClassVar[tuple[str, ...]] = ("_output", "_last_layers")
    layers: list[Any]

    def __init__(self, layers: Sequence[TemporalReuseCacheLayer]) -> None:
        super().__init__(layers=list(layers))
        self.streams: Any = None
        self.owner: dict[str, Any] | None = None
        self._output: torch.Tensor | None = None
        # The last layer whose attention saw what is held, where some of it was left out later on.
        self._last_layers: torch.Tensor | None = None

    @property
    def batch_size(self) -> int:
        """Number of streams, -1 before the first call."""
        return -1 if self.streams is None else self.streams.batch_size

    @property
    def memory_bytes(self) -> int:
        """Bytes held by all streams together."""
        tensors = [tensor for layer in self.layers for tensor in (layer.keys, layer.values)]
        tensors += [getattr(self, name) for name in self.row_states]
        if self.streams is not None:
            tensors += self.streams.tensors()
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)

    def check_owner(self, **owner: Any) -> None:
        """
        Makes sure that the cache goes on with what it was filled with.

        Args:
            owner: what the calling model is and gets (model, weights, layers, batch size, resolution, dtype, device).

        Raises:
            ValueError: one sentence that names the first difference.
        """
        if self.owner is None:
            self.owner = owner
            return
        for name, value in owner.items():
            if self.owner[name] != value:
                what = name.replace("_", " ")
                raise ValueError(
                    f"this {type(self).__name__} was filled with {what} {self.owner[name]}, but is now used with "
                    f"{what} {value}; start a new stream by leaving past_key_values out."
                )

    def take(self: Self, streams: torch.Tensor) -> Self:
        """A copy that holds the given streams alone, in the given order."""
        part = self._shell()
        part.batch_select_indices(streams)
        return part

    @classmethod
    def join(cls: type[Self], caches: Sequence[Self]) -> Self:
        """
        One cache with the streams of several, in their order; `take` gives them back.

        Args:
            caches: filled by the same model, with frames of the same size.

        Raises:
            ValueError: if there is none, one of them is empty, or they do not fit each other; one sentence.
        """
        if not caches or any(cache.streams is None for cache in caches):
            raise ValueError(f"a {cls.__name__} is joined from caches that hold streams, at least one.")
        joined = caches[0]._shell()
        for cache in caches:
            joined.check_owner(**{**(cache.owner or {}), "batch_size": caches[0].batch_size})
        for cache in caches:
            for layer in cache.layers:
                layer.prefetch()
        joined._join_rows(caches)
        joined.streams = type(caches[0].streams).join([cache.streams for cache in caches])
        for name in joined.row_states:
            joined._join_states(name, len(joined.layers) if name == "_last_layers" else None, caches)
        joined.owner = {**(joined.owner or {}), "batch_size": joined.streams.batch_size}
        return joined

    def _shell(self: Self) -> Self:
        """A cache and layers of its own that hold the same tensors."""
        shell = copy.copy(self)
        shell.layers = [copy.copy(layer) for layer in self.layers]
        return shell

    def _join_rows(self, caches: Any) -> None:
        """Puts the keys and values of the given caches together in the own layers."""
        raise NotImplementedError

    def _join_states(self, name: str, missing: int | None, caches: Sequence[ReuseCache]) -> None:
        """Puts one of `row_states` together; a cache that has none holds `missing` in each row."""
        states = [getattr(cache, name) for cache in caches]
        there = next((state for state in states if state is not None), None)
        if there is not None:
            device = self.layers[0].keys.device
            for number, cache in enumerate(caches):
                if states[number] is None:
                    shape = (cache.row_count, *there.shape[1:])
                    states[number] = there.new_full(shape, missing, device=device)
            there = torch.cat([state.to(device) for state in states])
        setattr(self, name, there)

    @property
    def row_count(self) -> int:
        """Entries of the first dimension of what is held beside keys and values."""
        return self.batch_size

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Puts the streams in another order."""
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats each stream."""
        if self.streams is not None:
            self.batch_select_indices(torch.arange(self.batch_size, device="cpu").repeat_interleave(repeats))

    def offload(self, layer_idx: int | None = None, only_non_sliding: bool = True) -> None:
        """Moves one layer, or (by default) everything, to main memory; the next call brings it back."""
        if layer_idx is not None:
            self.layers[layer_idx].offload()
            return
        for layer in self.layers:
            layer.offload()
        if self.streams is not None:
            self.streams = self.streams.to("cpu")
        self._change_rows(lambda tensor: tensor.to("cpu"))

    def _change_rows(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Changes what is held beside keys and values of what was computed last."""
        for name in self.row_states:
            tensor = getattr(self, name)
            if tensor is not None:
                setattr(self, name, change(tensor))

    def numbers_of(self, streams: Sequence[int] | Sequence[bool] | torch.Tensor) -> torch.Tensor:
        """
        The streams that were asked for.

        Args:
            streams: their numbers, which count from the end below 0; or a mask with a truth value for each stream.

        Returns:
            `torch.LongTensor` of shape `(streams,)`: their numbers, from 0, on the device of the argument.

        Raises:
            IndexError: if there is no such stream, or it is neither; one sentence.
        """
        batch = self.batch_size
        chosen = streams if isinstance(streams, torch.Tensor) else torch.tensor(streams, device="cpu")
        if chosen.dtype == torch.bool:
            if chosen.shape != (batch,):
                raise IndexError(
                    f"a mask of streams has the shape {tuple(chosen.shape)}, but must be ({batch},), with a truth "
                    "value for each stream of the cache."
                )
            return chosen.nonzero().squeeze(-1)
        if chosen.numel() and (chosen.dim() > 1 or chosen.is_floating_point() or chosen.is_complex()):
            raise IndexError(
                f"streams were asked for by an array of shape {tuple(chosen.shape)} and type {chosen.dtype}; pass a "
                "list of whole numbers, or a mask."
            )
        chosen = chosen.reshape(-1).long()
        if bool(((chosen < -batch) | (chosen >= batch)).any()):
            raise IndexError(f"stream {chosen.tolist()} asked for, but the cache holds streams 0 to {batch - 1}.")
        return chosen % batch

    def __repr__(self) -> str:
        return f"{type(self).__name__}(layers={len(self.layers)}, streams={max(self.batch_size, 0)})"


class TemporalReuseCache(ReuseCache):
    """
    The `past_key_values` of a video: keys, values, references and ages of many streams, one per batch row.

    A model creates it on the first call and returns it as `past_key_values`; hand it back with the next frames of the
    same streams. Memory is constant: per stream `2 * layers * tokens * hidden_size` values and a few per position.

    Args:
        num_layers (`int`): transformer layers of the model.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseCache

    >>> cache = TemporalReuseCache(num_layers=12)
    >>> cache.memory_bytes
    0
    ```
    """

    layers: list[TemporalReuseCacheLayer]

    def __init__(self, num_layers: int) -> None:
        super().__init__([TemporalReuseCacheLayer() for _ in range(num_layers)])
        self.streams: StreamState | None = None
        self._attention: list[torch.Tensor] = []

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        plan: ReusePlan,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stores the computed rows of a layer and returns those of which the keys and values of every frame are made.

        See `TemporalReuseCacheLayer.update` for the shapes.
        """
        return self.layers[layer_idx].update(key_states, value_states, plan)

    def kept(self, layer_idx: int, plan: ReusePlan, reduction: RowReduction | None) -> torch.Tensor | None:
        """
        Which rows a layer still attends to, where methods of reduction left some out.

        Args:
            layer_idx (`int`): number of the layer.
            plan: the plan of the call.
            reduction: what is done to the computed rows.

        Returns:
            `torch.BoolTensor`, of the rows that `update` returns: `(1, 1, table_rows, 1)` or, where the plan computes
            everything, `(batch * frames, 1, tokens, 1)`; or `None` where it attends to all.
        """
        last_layers = None if reduction is None else reduction.last_layers
        if last_layers is None and (self._last_layers is None or plan.is_dense):
            # Whole frames attend to nothing of the past.
            return None
        _, table = store_rows(*self._last_layers_of(plan, last_layers), plan)
        return table >= layer_idx

    def remember_kept(self, plan: ReusePlan, reduction: RowReduction | None) -> None:
        """Stores for which layers the computed rows were left out; called behind the last layer."""
        last_layers = None if reduction is None else reduction.last_layers
        if last_layers is None and self._last_layers is None:
            return
        self._last_layers = store_rows(*self._last_layers_of(plan, last_layers), plan)[0]

    def _last_layers_of(
        self, plan: ReusePlan, computed: torch.Tensor | None
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """The last layers of what is held and of what is computed, as `store_rows` takes them."""
        batch, frames, tokens = plan.shape
        device = plan.computed.device
        if computed is None:
            computed = torch.full((sum(plan.row_counts),), len(self.layers), device=device)
        rows = computed.view(batch * frames, 1, tokens, 1) if plan.is_dense else computed.view(1, 1, -1, 1)
        held = self._last_layers
        if held is None and plan.has_past:
            held = torch.full((batch, 1, tokens, 1), len(self.layers), device=device)
        # A single frame may overwrite what is held; each layer asks anew.
        return None if held is None else held.to(device).clone(), rows

    @property
    def goes_on_plainly(self) -> bool:
        """Whether it holds streams of which nothing was left out."""
        return self.streams is not None and self._last_layers is None

    def observe(self, attention: torch.Tensor) -> None:
        """Takes the CLS attention of one layer, shape `(observed, tokens)`; `take_attention` averages over layers."""
        self._attention.append(attention)

    def take_attention(self) -> torch.Tensor | None:
        """Mean over layers of the observed CLS attention, shape `(observed, tokens)`, which is then forgotten."""
        if not self._attention:
            return None
        attention = torch.stack(self._attention).mean(0)
        self._attention = []
        return attention

    def update_output(self, states: torch.Tensor, plan: ReusePlan) -> torch.Tensor:
        """
        Stores the last hidden states of the computed rows and returns those of every token.

        Args:
            states (`torch.Tensor`): `(1, rows, dim)`; or `(batch * frames, tokens, dim)` where the plan computes all.
            plan: the plan of the call.

        Returns:
            `torch.Tensor` of shape `(batch * frames, tokens, dim)`, ordered by stream and time.
        """
        self._output, states = store_rows(self._output, states[:, None], plan)
        if plan.is_dense:
            return states.squeeze(1)
        # The caller keeps what is returned; the next call may overwrite what is stored.
        rows, links = states[0, 0], (part.flatten() for part in plan.links)
        rows = rows.clone() if plan.is_single else assemble(rows, *pair_links(*links))
        return rows.unflatten(0, (-1, plan.shape[2]))

    def reset(self, streams: Sequence[int] | torch.Tensor | None = None) -> None:
        """
        Forgets all streams, or the given ones (batch rows): their next frame is computed whole.

        Raises:
            IndexError: if there is no such stream.
        """
        if streams is None:
            for layer in self.layers:
                layer.reset()
            self.streams = self.owner = None
            for name in self.row_states:
                setattr(self, name, None)
            self._attention = []
        elif self.streams is not None:
            chosen = self.numbers_of(streams).to(self.streams.age.device)
            self.streams.age = self.streams.age.index_fill(0, chosen, NEVER)
            self.streams.saliency = self.streams.saliency.index_fill(0, chosen, torch.nan)

    def crop(self, tokens_to_remove: int) -> None:
        """
        Goes back in time: forgets every token that was computed in the last frames of the streams.

        Args:
            tokens_to_remove (`int`):
                Minus the number of frames to go back by (the sign is that of transformers' caches; the sequence of
                this cache is the frames). Older tokens stay; the forgotten ones are computed in the next frame.
        """
        if tokens_to_remove > 0:
            raise ValueError(
                f"crop takes minus the number of frames, but got {tokens_to_remove}: try {-tokens_to_remove}."
            )
        if self.streams is not None:
            age, frames = self.streams.age, -tokens_to_remove
            self.streams.age = torch.where((age > frames) & (age < NEVER), age - frames, NEVER)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps the given streams, in the given order; an index may come twice. A mask keeps those that are true."""
        if self.streams is None:
            return
        indices = self.numbers_of(indices)
        for layer in self.layers:
            layer.batch_select_indices(indices)
        self.streams = self.streams.select(indices)
        self._change_rows(lambda tensor: tensor.index_select(0, indices.to(tensor.device)))
        if self.owner is not None:
            self.owner = {**self.owner, "batch_size": len(indices)}

    def spread_in_time(self, kept: Sequence[int], frames: int) -> None:
        """
        Counts ages in all frames of the last call, where it was planned as one of some of them.

        Args:
            kept: numbers of the frames that it was planned of, increasing, the first and the last frame among them.
            frames (`int`): of the call.
        """
        if self.streams is not None:
            age = self.streams.age
            numbers = on_device(kept, age.device)
            computed = frames - numbers[(len(kept) - age).clamp(min=0)]
            older = torch.where(age >= NEVER, age, age - len(kept) + frames)
            self.streams.age = torch.where(age <= len(kept), computed, older)

    def _shell(self) -> TemporalReuseCache:
        shell = super()._shell()
        shell._attention = []
        return shell

    def _join_rows(self, caches: Sequence[TemporalReuseCache]) -> None:
        for number, layer in enumerate(self.layers):
            layer.join([cache.layers[number] for cache in caches], dim=0)

    def put(self, streams: torch.Tensor, part: TemporalReuseCache) -> None:
        """Overwrites the given streams with those of `part`, in its order."""
        streams = self.numbers_of(streams)
        mine, theirs = self._last_layers, part._last_layers
        if mine is None and theirs is not None:
            self._last_layers = theirs.new_full((self.batch_size, *theirs.shape[1:]), len(self.layers))
        elif mine is not None and theirs is None:
            self._last_layers = mine.index_fill(0, streams.to(mine.device), len(self.layers))
        pairs: list[tuple[Any, Any, list[str]]] = [
            (self.streams, part.streams, [field.name for field in fields(StreamState)]),
            (self, part, list(self.row_states)),
            *((layer, other, ["keys", "values"]) for layer, other in zip(self.layers, part.layers)),
        ]
        for target, source, names in pairs:
            for name in names:
                tensor, update = getattr(target, name), getattr(source, name)
                if tensor is not None and update is not None:
                    setattr(target, name, tensor.index_copy(0, streams.to(tensor.device), update))
