"""The rows of a window cache at places that stay where they are: what steps of fixed shapes read and write."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch

from ..planning.window_links import uses_of_rows
from ..planning.window_state import WindowState
from .window_cache import TemporalReuseWindowCache


ROOM = 1.25
"""Rows of a table over the slots of a window. Where slots are interpolated, more rows than slots may be in use."""

ALIGNED = 16
"""What the number of rows is a multiple of: kernels of attention want masks of such sizes."""


def rows_of_table(slots: int) -> int:
    """How many rows a table has for each stream, whose window has so many slots."""
    return -(-int(slots * ROOM) // ALIGNED) * ALIGNED


class WindowTable:
    """
    Holds what one cache holds, each stream in as many rows as any may come to need; which of them are in use follows
    from what the slots are made of.

    Args:
        cache: of which shapes and types are taken. It holds a window of every stream.

    Attributes:
        state (`WindowState`): with as many rows for each stream as there is room for, in use or not.
        layers (`list[tuple[torch.Tensor, torch.Tensor]]`): keys and values, of shape `(rows, heads, head_dim)`.
        output (`torch.Tensor` of shape `(rows, hidden_size)`): last hidden states.
        capacity (`int`): rows of each stream.
    """

    def __init__(self, cache: TemporalReuseWindowCache) -> None:
        state = cache.streams
        assert state is not None and cache._output is not None
        batch, times, positions = state.left.shape
        self.capacity = rows_of_table(times * positions)
        rows = batch * self.capacity

        def room(like: torch.Tensor) -> torch.Tensor:
            return like.new_zeros(rows, *like.shape[1:])

        self.state = WindowState(
            patches=torch.zeros_like(state.patches),
            checksums=torch.zeros_like(state.checksums),
            reference=room(state.reference),
            age=room(state.age),
            change=room(state.change),
            left=torch.zeros_like(state.left),
            right=torch.zeros_like(state.right),
            alpha=torch.zeros_like(state.alpha),
            row_slots=room(state.row_slots),
            counts=[self.capacity] * batch,
        )
        self.layers = []
        for layer in cache.layers:
            layer.prefetch()
            assert layer.keys is not None and layer.values is not None
            keys, values = (room(states[0].transpose(0, 1)) for states in (layer.keys, layer.values))
            self.layers.append((keys, values))
        self.output = room(cache._output)
        self._owner: Callable[[], TemporalReuseWindowCache | None] = lambda: None

    def take(self, cache: TemporalReuseWindowCache, give_back: Callable[[], None]) -> bool:
        """
        Moves what a cache holds here, unless it is here; whose place is taken gets its own back.

        Args:
            cache: the cache.
            give_back: what the cache calls when it is asked for something that is here; it has to call `give_back`
                of the table.

        Returns:
            Whether there is room for it; if not, it stays where it is.
        """
        if cache.is_lent and self._owner() is cache:
            return True
        state = cache.streams
        assert state is not None and cache._output is not None
        if max(state.counts) > self.capacity:
            return False
        self.give_back()
        device = self.output.device
        state = state.to(device)
        starts = [stream * self.capacity for stream in range(state.batch_size)]
        places = torch.cat([torch.arange(start, start + count) for start, count in zip(starts, state.counts)]).to(
            device
        )
        own = self.state
        for name in ("patches", "checksums", "alpha"):
            getattr(own, name).copy_(getattr(state, name))
        for name in ("left", "right"):
            getattr(own, name).copy_(places[getattr(state, name)])
        rows = [(getattr(own, name), getattr(state, name)) for name in ("reference", "age", "change", "row_slots")]
        rows.append((self.output, cache._output.to(device)))
        for layer, states in zip(cache.layers, self.layers):
            layer.prefetch()
            assert layer.keys is not None and layer.values is not None
            rows += [(place, held[0].transpose(0, 1)) for place, held in zip(states, (layer.keys, layer.values))]
        for place, held in rows:
            # Nothing of another cache stays: attention reads rows that are not in use as well, with a weight of 0.
            place.zero_().index_copy_(0, places, held)
        self._owner = weakref.ref(cache)
        cache.lend(give_back)
        return True

    @torch.inference_mode(False)
    @torch.no_grad()
    def give_back(self) -> None:
        """The cache whose content is here, if it is still there, holds it itself again, without what is not in use."""
        cache = self._owner()
        self._owner = lambda: None
        if cache is not None and cache.is_lent:
            cache.take_back(*self.held())

    @torch.inference_mode(False)
    @torch.no_grad()
    def held(self) -> tuple[WindowState, list[tuple[torch.Tensor, torch.Tensor]], torch.Tensor]:
        """Copies of what is in use, as `TemporalReuseWindowCache.take_back` takes it."""
        state, batch = self.state, self.state.batch_size
        used = uses_of_rows(state.left, state.right, state.alpha, len(state.age)) > 0
        rows = used.nonzero().squeeze(-1)
        place = used.cumsum(0) - 1

        def of_layer(states: torch.Tensor) -> torch.Tensor:
            return states[rows][None].transpose(1, 2)

        held = WindowState(
            patches=state.patches.clone(),
            checksums=state.checksums.clone(),
            reference=state.reference[rows],
            age=state.age[rows],
            change=state.change[rows],
            left=place[state.left],
            right=place[state.right],
            alpha=state.alpha.clone(),
            row_slots=state.row_slots[rows],
            counts=used.view(batch, -1).sum(1).tolist(),
        )
        layers = [(of_layer(keys), of_layer(values)) for keys, values in self.layers]
        return held, layers, self.output[rows]


__all__ = ["WindowTable", "rows_of_table"]
