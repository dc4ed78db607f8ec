"""Keys and values are filled with the number of the token, so that every assertion is exact."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from transformers.cache_utils import Cache

from hf_ttr import TemporalReuseConfig, TemporalReuseWindowCache
from hf_ttr.caching.window_cache import WindowCacheLayer, live_rows
from hf_ttr.planning.window_plan import WindowPlan
from hf_ttr.planning.window_planner import WindowPlanner

from .test_cache import as_numbers, as_states


PLANNER = WindowPlanner(TemporalReuseConfig(), (1, 2))


def token_numbers(plan: WindowPlan, window: int) -> torch.Tensor:
    """1000 x stream + 100 x window + 10 x time + position of the computed tokens, shape `(rows,)`."""
    stream, time, position = plan.computed.nonzero().T
    return (1000 * (stream + 1) + 100 * window + 10 * time + position).float()


def run(cache: TemporalReuseWindowCache, sources: list[list[list[int]]], window: int = 0) -> torch.Tensor:
    """
    Carries out a window of 2 positions and returns the outputs of its live rows.

    Args:
        sources: by stream, time and position.
        window: its number.
    """
    chosen = torch.tensor(sources)
    plan = WindowPlan.build(chosen, None if cache.streams is None else cache.streams.past)
    numbers = token_numbers(plan, window)
    states = as_states(numbers[None])
    if plan.is_dense:
        states = as_states(numbers.view(len(sources), -1))
    for index in range(len(cache.layers)):
        own = states + index / 16
        if len(numbers):
            keys, values = cache.update(own, own + 0.25, index, plan)
            assert torch.equal(values, keys + 0.25)
            if plan.is_dense:
                assert torch.equal(keys, own)
            else:
                assert torch.equal(keys, cache.layers[index].keys)
    if not len(numbers):
        cache.keep(plan)
    output = cache.update_output(numbers[:, None].repeat(1, 10), plan)
    patches = torch.ones(*plan.shape, 3)
    cache.streams = PLANNER.remember(plan, patches, torch.zeros(len(sources), 4), cache.streams)
    return output


# Three streams of 4, 2 and 3 rows.
FIRST = [[[0, 0], [1, 1]], [[0, 0], [0, 0]], [[0, 1], [1, 1]]]
ROWS = [[1000, 1001, 1010, 1011], [2000, 2001], [3000, 3010, 3011]]


def filled_cache(layers: int = 2) -> TemporalReuseWindowCache:
    cache = TemporalReuseWindowCache(layers)
    run(cache, FIRST)
    cache.check_owner(model="TestModel", weights="abc", batch_size=3, window="2 frames of 8 x 8", dtype="float32")
    return cache


def assert_rows(cache: TemporalReuseWindowCache, rows: list[list[int]]) -> None:
    """Every layer holds exactly the given tokens, stream by stream."""
    flat = [row for own in rows for row in own]
    for index, layer in enumerate(cache.layers):
        assert as_numbers(layer.keys - index / 16)[0].tolist() == flat
        assert torch.equal(layer.values, layer.keys + 0.25)
    assert cache._output[:, 0].tolist() == flat
    assert cache.streams.counts == [len(own) for own in rows]
    assert cache.batch_size == len(rows)


class TestUpdate:
    def test_computed_rows_are_kept_stream_by_stream(self) -> None:
        assert_rows(filled_cache(), ROWS)

    def test_what_stands_for_nothing_is_forgotten(self) -> None:
        cache = filled_cache()
        run(cache, [[[-1, 1], [-1, 1]], [[-1, -1], [-1, -1]], [[-1, -1], [1, -1]]], window=1)
        assert_rows(cache, [[1000, 1010, 1111], [2000, 2001], [3000, 3011, 3110]])
        run(cache, [[[-1, -1], [-1, -1]], [[0, -1], [0, -1]], [[-1, -1], [-1, -1]]], window=2)
        assert_rows(cache, [[1000, 1010, 1111], [2001, 2200], [3000, 3011, 3110]])

    def test_a_window_that_computes_nothing_keeps_what_is_live(self) -> None:
        cache = filled_cache()
        output = run(cache, [[[-1, -1], [-1, -1]]] * 3, window=1)
        assert_rows(cache, ROWS)
        assert output[:, 0].tolist() == cache._output[:, 0].tolist()

    def test_a_window_that_computes_everything_replaces_all(self) -> None:
        cache = filled_cache()
        run(cache, [[[0, 0], [1, 1]]] * 3, window=1)
        assert_rows(cache, [[1000 * stream + token for token in (100, 101, 110, 111)] for stream in (1, 2, 3)])

    def test_reset_streams_start_anew(self) -> None:
        cache = filled_cache()
        cache.reset([1])
        assert_rows(cache, [ROWS[0], [], ROWS[2]])
        run(cache, [[[-1, -1], [-1, -1]], [[0, 1], [0, 1]], [[-1, -1], [-1, -1]]], window=1)
        assert_rows(cache, [ROWS[0], [2100, 2111], ROWS[2]])

    def test_outputs_are_those_of_the_live_rows(self) -> None:
        cache = filled_cache()
        output = run(cache, [[[-1, -1], [1, 1]], [[-1, -1], [-1, -1]], [[-1, -1], [-1, -1]]], window=1)
        assert output[:, 9].tolist() == [1000, 1001, 1110, 1111, *ROWS[1], *ROWS[2]]

    def test_gradients_reach_the_states_but_not_the_cache(self) -> None:
        layer = WindowCacheLayer()
        plan = WindowPlan.build(torch.tensor([[[0, 0], [0, 1]]]))
        states = torch.randn(1, 2, 3, 4, requires_grad=True)
        keys, _ = layer.update(states, states, plan)
        keys.sum().backward()
        assert (states.grad == 1).all()
        assert not layer.keys.requires_grad
        assert not layer.values.requires_grad

    def test_a_plan_with_a_past_needs_one(self) -> None:
        cache = filled_cache()
        plan = WindowPlan.build(torch.full((3, 2, 2), -1), cache.streams.past)
        with pytest.raises(ValueError, match="the plan has a past, but the cache is empty"):
            live_rows(None, torch.zeros(0, 4), plan)


class TestStreams:
    def test_is_a_transformers_cache(self) -> None:
        cache = filled_cache()
        assert isinstance(cache, Cache)
        assert len(cache) == 2
        assert not cache.is_compileable
        assert cache.batch_size == 3
        assert repr(cache) == "TemporalReuseWindowCache(layers=2, streams=3)"

    @pytest.mark.parametrize(
        "change",
        [
            lambda cache: cache.reset(),
            lambda cache: cache.reset([0]),
            lambda cache: cache.reorder_cache(torch.tensor([0])),
            lambda cache: cache.batch_select_indices(torch.tensor([0])),
            lambda cache: cache.batch_repeat_interleave(2),
            lambda cache: cache.offload(),
        ],
        ids=["reset", "reset-some", "reorder", "select", "repeat", "offload"],
    )
    def test_an_empty_cache_stays_empty(self, change: Callable[[TemporalReuseWindowCache], None]) -> None:
        cache = TemporalReuseWindowCache(2)
        change(cache)
        assert cache.batch_size == -1
        assert cache.memory_bytes == 0
        assert repr(cache) == "TemporalReuseWindowCache(layers=2, streams=0)"

    @pytest.mark.parametrize("streams", [[2, 0, 1], [1], [0, 0, 1, 2, 2], [-1, 0]], ids=str)
    def test_chosen_streams(self, streams: list[int]) -> None:
        for change in ("reorder_cache", "batch_select_indices"):
            cache = filled_cache()
            getattr(cache, change)(torch.tensor(streams))
            assert_rows(cache, [ROWS[stream] for stream in streams])
            assert cache.owner["batch_size"] == len(streams)

    def test_batch_repeat_interleave(self) -> None:
        cache = filled_cache()
        cache.batch_repeat_interleave(2)
        assert_rows(cache, [own for own in ROWS for _ in range(2)])

    def test_chosen_streams_find_their_rows(self) -> None:
        cache = filled_cache()
        cache.batch_select_indices(torch.tensor([2, 0]))
        run(cache, [[[0, -1], [-1, -1]], [[-1, -1], [-1, 1]]], window=1)
        # The numbers of new tokens are those of their new streams.
        assert_rows(cache, [[3010, 3011, 1100], [1000, 1001, 1010, 2111]])

    @pytest.mark.parametrize("streams", [[3], [-4], [0, 7]], ids=str)
    def test_a_stream_that_is_not_there_is_an_error(self, streams: list[int]) -> None:
        cache = filled_cache()
        for change in (cache.reset, cache.batch_select_indices):
            with pytest.raises(IndexError, match=r"asked for, but the cache holds streams 0 to 2\."):
                change(torch.tensor(streams))
        assert_rows(cache, ROWS)


class TestReset:
    def test_of_all_streams_leaves_an_empty_cache(self) -> None:
        cache = filled_cache()
        cache.reset()
        assert cache.batch_size == -1
        assert cache.memory_bytes == 0
        # Anyone may use it now.
        cache.check_owner(model="OtherModel")

    @pytest.mark.parametrize("streams", [[1], (0, 2), torch.tensor([2, 1]), [-1], [0, 1, 2]], ids=str)
    def test_of_some_streams_forgets_their_rows(self, streams: list[int] | torch.Tensor) -> None:
        cache = filled_cache()
        owner = cache.owner
        cache.reset(streams)
        forgotten = {int(stream) % 3 for stream in streams}
        assert_rows(cache, [[] if stream in forgotten else own for stream, own in enumerate(ROWS)])
        assert cache.owner == owner

    def test_streams_without_rows_may_be_reset_again(self) -> None:
        cache = filled_cache()
        cache.reset([0, 1, 2])
        cache.reset([1])
        assert_rows(cache, [[], [], []])
        run(cache, FIRST, window=1)
        assert cache.streams.counts == [4, 2, 3]


def test_crop_is_refused_in_one_sentence() -> None:
    with pytest.raises(
        NotImplementedError, match="^a TemporalReuseWindowCache cannot go back in time; keep a copy .*[.]$"
    ):
        filled_cache().crop(-1)


class TestCopies:
    @pytest.mark.parametrize(
        "copied", [copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))], ids=["deepcopy", "pickle"]
    )
    def test_are_equal_and_apart(self, copied: Callable[[TemporalReuseWindowCache], TemporalReuseWindowCache]) -> None:
        cache = filled_cache()
        other = copied(cache)
        assert_rows(other, ROWS)
        assert other.owner == cache.owner
        other.layers[0].keys.zero_()
        other.reset([0])
        assert_rows(cache, ROWS)

    def test_offloaded_states_are_the_same(self) -> None:
        cache = filled_cache()
        cache.offload()
        assert_rows(cache, ROWS)
        cache.offload(layer_idx=1)
        cache.layers[1].prefetch()
        assert_rows(cache, ROWS)


@pytest.mark.parametrize("layers", [1, 3])
def test_bytes_follow_the_formula(layers: int) -> None:
    rows, slots, streams = 9, 12, 3
    states = 2 * layers * rows * 2 * 3 * 4
    output, reference, age = rows * 10 * 4, rows * 3 * 4, rows * (8 + 4 + 8)
    links, patches, checksums = slots * (8 + 8 + 4), slots * 3 * 4, streams * 4 * 4
    expected = states + output + reference + age + links + patches + checksums
    assert filled_cache(layers).memory_bytes == expected


def test_the_cache_of_something_else_is_refused_in_one_sentence_that_names_it() -> None:
    cache = filled_cache()
    with pytest.raises(ValueError) as error:
        cache.check_owner(**{**cache.owner, "window": "4 frames of 8 x 8"})
    assert str(error.value) == (
        "this TemporalReuseWindowCache was filled with window 2 frames of 8 x 8, but is now used with window 4 frames "
        "of 8 x 8; start a new stream by leaving past_key_values out."
    )
