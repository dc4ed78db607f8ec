"""What a cache holds, moved to places that stay, and back."""

from __future__ import annotations

import copy
import gc
from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseWindowCache
from hf_ttr.caching.window_table import ALIGNED, WindowTable, rows_of_table

from .test_window_cache import run


FIRST = [[[0, 0], [0, 1]], [[0, 0], [1, 0]], [[0, 0], [1, 1]]]
"""Sources of three streams with windows of two times and two positions, of which some are computed."""
SECOND = [[[-1, 0], [1, -1]], [[0, -1], [-1, -1]], [[-1, -1], [-1, -1]]]


def make(windows: int = 2) -> TemporalReuseWindowCache:
    cache = TemporalReuseWindowCache(2)
    for number, sources in enumerate([FIRST, SECOND][:windows]):
        run(cache, sources, number)
    return cache


def same(one: Any, other: Any) -> bool:
    """Whether two caches hold the same for each slot."""
    assert one.streams.counts == other.streams.counts
    found = [torch.equal(one.streams.alpha, other.streams.alpha)]
    for side in ("left", "right"):
        rows = [getattr(cache.streams, side) for cache in (one, other)]
        states = [
            [cache.streams.reference, cache.streams.age, cache.streams.change, cache.streams.row_slots, cache._output]
            + [held[0].transpose(0, 1) for layer in cache.layers for held in (layer.keys, layer.values)]
            for cache in (one, other)
        ]
        found += [torch.equal(first[rows[0]], second[rows[1]]) for first, second in zip(*states)]
    return all(found)


def test_what_is_lent_comes_back_when_it_is_asked_for() -> None:
    cache, expected = make(), make()
    table = WindowTable(cache)
    assert table.take(cache, table.give_back)
    assert cache.is_lent
    assert cache.goes_on_plainly
    # Once more there is nothing to move.
    assert table.take(cache, table.give_back)
    assert cache.batch_size == 3
    assert not cache.is_lent
    assert same(cache, expected)


@pytest.mark.parametrize("ask", [
    copy.deepcopy, copy.copy, repr, lambda cache: cache.memory_bytes, lambda cache: cache.layers,
    lambda cache: cache.take(torch.tensor([2])), lambda cache: cache.get_seq_length(),
])  # fmt: skip
def test_whoever_asks_finds_it(ask: Any) -> None:
    cache, table = make(), WindowTable(make())
    table.take(cache, table.give_back)
    ask(cache)
    assert not cache.is_lent
    assert same(cache, make())


def test_another_cache_takes_the_place() -> None:
    one, other = make(), make()
    other.reorder_cache(torch.tensor([2, 1, 0]))
    expected = copy.deepcopy(other)
    table = WindowTable(one)
    table.take(one, table.give_back)
    table.take(other, table.give_back)
    assert not one.is_lent
    assert other.is_lent
    assert same(one, make())
    assert same(other, expected)


def test_a_cache_that_is_gone_is_not_missed() -> None:
    one, other = make(), make()
    table = WindowTable(one)
    table.take(one, table.give_back)
    del one
    gc.collect()
    table.take(other, table.give_back)
    assert same(other, make())


def test_what_others_left_in_a_table_is_gone() -> None:
    one, other = make(1), make()
    table = WindowTable(one)
    table.output.fill_(torch.nan)
    table.take(other, table.give_back)
    assert table.output.isfinite().all()


def test_a_cache_with_more_rows_than_there_is_room_for_stays_as_it_is() -> None:
    cache = make()
    table = WindowTable(cache)
    table.capacity = 1
    assert not table.take(cache, table.give_back)
    assert not cache.is_lent


def test_a_cache_that_holds_no_window_of_some_stream_does_not_go_on_plainly() -> None:
    cache = make()
    assert cache.goes_on_plainly
    cache.reset([1])
    assert not cache.goes_on_plainly
    assert not TemporalReuseWindowCache(2).goes_on_plainly
    assert not hasattr(cache, "something_else")


def test_tables_have_room_for_more_rows_than_slots() -> None:
    assert rows_of_table(1568) >= 1568 * 1.25 - ALIGNED
    assert all(rows_of_table(slots) >= slots and rows_of_table(slots) % ALIGNED == 0 for slots in range(1, 200))
