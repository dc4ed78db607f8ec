"""Keys and values are filled with the number of the token, so that every assertion is exact."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers.cache_utils import Cache

import hf_ttr
from hf_ttr import TemporalReuseCache
from hf_ttr.caching.cache import StreamState, TemporalReuseCacheLayer
from hf_ttr.execution.packed import assemble, pair_links
from hf_ttr.planning.plan import NEVER, ReusePlan

from ..tiny import make_clip, tiny_video_classifier, tiny_videomae


HEADS, HEAD_DIM = 2, 3


def token_numbers(batch: int, first_frame: int, frames: int, tokens: int) -> torch.Tensor:
    """1000 x stream + 10 x frame + position, shape `(batch, frames, tokens)`."""
    stream, frame = torch.arange(batch) + 1, torch.arange(frames) + first_frame
    return (1000 * stream[:, None, None] + 10 * frame[:, None] + torch.arange(tokens)).float()


def as_states(numbers: torch.Tensor) -> torch.Tensor:
    """Gives numbers of shape `(n, tokens)` a head dimension: head h and channel c add h / 2 + c / 8."""
    heads = torch.arange(HEADS)[:, None, None] / 2 + torch.arange(HEAD_DIM) / 8
    return numbers[:, None, :, None] + heads


def as_numbers(states: torch.Tensor) -> torch.Tensor:
    """The inverse of `as_states`, which must hold for all heads and channels."""
    numbers = states[:, 0, :, 0]
    assert torch.equal(as_states(numbers), states)
    return numbers


def assembled(states: torch.Tensor, plan: ReusePlan) -> torch.Tensor:
    """What a layer returned, `(batch * frames, heads, tokens, head_dim)` where it is a table as well."""
    if plan.is_dense:
        return states
    links = pair_links(*(part.flatten() for part in plan.links))
    rows = assemble(states[0].transpose(0, 1).flatten(1), *links)
    return rows.view(-1, plan.shape[2], HEADS, HEAD_DIM).transpose(1, 2)


def update(layer: TemporalReuseCacheLayer, plan: ReusePlan, first_frame: int = 0) -> torch.Tensor:
    """Feeds the computed tokens of a plan; returns the assembled token numbers, `(batch * frames, tokens)`."""
    batch, frames, tokens = plan.shape
    numbers = token_numbers(batch, first_frame, frames, tokens)
    states = as_states(numbers.flatten(0, 1) if plan.is_dense else numbers[plan.computed][None])
    keys, values = layer.update(states, states + 0.25, plan)
    assert torch.equal(values, keys + 0.25)
    return as_numbers(assembled(keys, plan))


def mask(*frames: str) -> torch.Tensor:
    """`mask("xxx", "x..")`: one stream, `x` marks computed tokens."""
    return torch.tensor([[[character == "x" for character in frame] for frame in frames]])


def filled_cache(batch: int = 3, tokens: int = 4, layers: int = 2) -> TemporalReuseCache:
    """A cache whose every number names its stream; layer l adds l / 16, the output has ten channels."""
    cache = TemporalReuseCache(layers)
    plan = ReusePlan.build(torch.ones(batch, 1, tokens, dtype=torch.bool))
    states = as_states(token_numbers(batch, 0, 1, tokens).flatten(0, 1))
    for index in range(layers):
        cache.update(states + index / 16, states + index / 16 + 0.25, index, plan)
    numbers = token_numbers(batch, 0, 1, tokens).squeeze(1)
    cache.update_output(numbers[..., None].repeat(1, 1, 10), plan)
    cache.streams = StreamState(
        reference=numbers[:, 1:, None].repeat(1, 1, 5),
        age=plan.age,
        saliency=numbers[:, 1:] / 100,
    )
    cache.check_owner(model="TestModel", weights="abc", batch_size=batch, resolution="8 x 8", dtype="float32")
    return cache


def assert_streams(cache: TemporalReuseCache, streams: list[int]) -> None:
    """Every tensor of the cache holds the given streams of `filled_cache`, in that order."""
    full = filled_cache()
    assert cache.batch_size == len(streams)
    for layer, full_layer in zip(cache.layers, full.layers):
        assert torch.equal(layer.keys, full_layer.keys[streams])
        assert torch.equal(layer.values, full_layer.values[streams])
    for tensor, full_tensor in zip(cache.streams.tensors(), full.streams.tensors()):
        assert torch.equal(tensor, full_tensor[streams])
    assert torch.equal(cache._output, full._output[streams])


class TestUpdate:
    def test_hold_keeps_the_last_computed_token(self) -> None:
        layer = TemporalReuseCacheLayer()
        plan = ReusePlan.build(mask("xxx", "x.x", "xx.", "x.."))
        assert update(layer, plan).tolist() == [
            [1000, 1001, 1002],
            [1010, 1001, 1012],
            [1020, 1021, 1012],
            [1030, 1021, 1012],
        ]
        assert as_numbers(layer.keys).tolist() == [[1030, 1021, 1012]]

    def test_interpolation_is_linear_between_computed_tokens(self) -> None:
        layer = TemporalReuseCacheLayer()
        plan = ReusePlan.build(mask("xxx", "x..", "xx.", "x..", "x.x"), interpolate=True)
        # Frames are 10 apart, so whatever lies between two computed tokens gets its own number back;
        # after the last computed token of a position nothing is known, so it is held.
        assert update(layer, plan).tolist() == [
            [1000, 1001, 1002],
            [1010, 1011, 1012],
            [1020, 1021, 1022],
            [1030, 1021, 1032],
            [1040, 1021, 1042],
        ]
        assert as_numbers(layer.keys).tolist() == [[1040, 1021, 1042]]

    def test_the_past_is_held(self) -> None:
        layer = TemporalReuseCacheLayer()
        first = ReusePlan.build(mask("xxx", "x.x"))
        update(layer, first)
        second = ReusePlan.build(mask("x..", "xx."), first.age)
        assert update(layer, second, first_frame=2).tolist() == [[1020, 1001, 1012], [1030, 1031, 1012]]
        assert as_numbers(layer.keys).tolist() == [[1030, 1031, 1012]]

    def test_the_past_is_interpolated(self) -> None:
        layer = TemporalReuseCacheLayer()
        first = ReusePlan.build(mask("xxx", "x.x"), interpolate=True)
        update(layer, first)
        second = ReusePlan.build(mask("x..", "x..", "xx.", "x.x"), first.age, interpolate=True)
        # Position 1 goes from frame 0 to frame 4, position 2 from frame 1 to frame 5.
        assert update(layer, second, first_frame=2).tolist() == [
            [1020, 1021, 1022],
            [1030, 1031, 1032],
            [1040, 1041, 1042],
            [1050, 1041, 1052],
        ]
        assert as_numbers(layer.keys).tolist() == [[1050, 1041, 1052]]

    @pytest.mark.parametrize("grad", [False, True], ids=["no-grad", "grad"])
    @pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
    def test_single_frames_one_after_another(self, interpolate: bool, grad: bool) -> None:
        layer = TemporalReuseCacheLayer()
        age, seen = None, []
        with torch.set_grad_enabled(grad):
            for time, frame in enumerate(("xxx", "x.x", "x..", "xx.")):
                plan = ReusePlan.build(mask(frame), age, interpolate=interpolate)
                seen += update(layer, plan, first_frame=time).tolist()
                age = plan.age
        assert seen == [[1000, 1001, 1002], [1010, 1001, 1012], [1020, 1001, 1012], [1030, 1031, 1012]]
        assert age.tolist() == [[1, 1, 3]]

    def test_streams_stay_apart(self) -> None:
        layer = TemporalReuseCacheLayer()
        computed = torch.cat([mask("xxx", "x.."), mask("xxx", ".xx")])
        assert update(layer, ReusePlan.build(computed)).tolist() == [
            [1000, 1001, 1002],
            [1010, 1001, 1002],
            [2000, 2001, 2002],
            [2000, 2011, 2012],
        ]
        assert as_numbers(layer.keys).tolist() == [[1010, 1001, 1002], [2000, 2011, 2012]]

    def test_whole_frames_come_back_as_they_are(self) -> None:
        layer = TemporalReuseCacheLayer()
        plan = ReusePlan.build(torch.ones(2, 3, 4, dtype=torch.bool))
        assert torch.equal(update(layer, plan), token_numbers(2, 0, 3, 4).flatten(0, 1))
        assert torch.equal(as_numbers(layer.keys), token_numbers(2, 2, 1, 4)[:, 0])

    def test_the_cache_does_not_keep_the_frames_of_a_call_alive(self) -> None:
        for computed in (torch.ones(1, 50, 4, dtype=torch.bool), mask(*["xxxx"] + ["x..x"] * 49)):
            layer = TemporalReuseCacheLayer()
            update(layer, ReusePlan.build(computed))
            elements = layer.keys.untyped_storage().nbytes() // layer.keys.element_size()
            assert elements == layer.keys.numel()

    def test_states_of_whole_frames_are_copied(self) -> None:
        layer = TemporalReuseCacheLayer()
        plan = ReusePlan.build(torch.ones(1, 1, 2, dtype=torch.bool))
        states = as_states(torch.tensor([[1.0, 2.0]]))
        layer.update(states, states.clone(), plan)
        states.zero_()
        assert as_numbers(layer.keys).tolist() == [[1, 2]]

    def test_gradients_reach_the_states_but_not_the_cache(self) -> None:
        layer = TemporalReuseCacheLayer()
        plan = ReusePlan.build(mask("xxx", "x.x"))
        states = torch.randn(1, HEADS, 5, HEAD_DIM, requires_grad=True)
        keys, _ = layer.update(states, states, plan)
        assembled(keys, plan).sum().backward()
        # Position 1 of frame 0 is used twice.
        assert states.grad[0, 0, :, 0].tolist() == [1, 2, 1, 1, 1]
        assert not layer.keys.requires_grad

    def test_a_plan_with_a_past_needs_one(self) -> None:
        plan = ReusePlan.build(mask("x.."), torch.ones(1, 3, dtype=torch.long))
        with pytest.raises(ValueError, match="the plan has a past, but the cache is empty"):
            update(TemporalReuseCacheLayer(), plan)

    def test_outputs_are_assembled_like_keys(self) -> None:
        cache = TemporalReuseCache(1)
        plan = ReusePlan.build(mask("xxx", "x..", "x.x"), interpolate=True)
        numbers = token_numbers(1, 0, 3, 3)
        states = numbers[plan.computed][None, :, None].repeat(1, 1, 4)
        output = cache.update_output(states, plan)
        assert output.shape == (3, 3, 4)
        assert output[..., 0].tolist() == [[1000, 1001, 1002], [1010, 1001, 1012], [1020, 1001, 1022]]
        second = ReusePlan.build(mask("x.."), plan.age, interpolate=True)
        output = cache.update_output(torch.full((1, 1, 4), 7.0), second)
        assert output[..., 3].tolist() == [[7, 1001, 1022]]

    @torch.no_grad()
    def test_an_output_is_not_overwritten_by_the_next(self) -> None:
        cache = TemporalReuseCache(1)
        whole = ReusePlan.build(mask("xxx"))
        later = ReusePlan.build(mask("x.."), whole.age)
        outputs = [cache.update_output(torch.zeros(1, 3, 4), whole)]
        outputs += [cache.update_output(torch.full((1, 1, 4), value), later) for value in (1.0, 2.0)]
        assert [float(output[0, 0, 0]) for output in outputs] == [0, 1, 2]


class TestObservedAttention:
    def test_is_averaged_over_layers_and_then_forgotten(self) -> None:
        cache = TemporalReuseCache(2)
        assert cache.take_attention() is None
        cache.observe(torch.tensor([[0.0, 1.0]]))
        cache.observe(torch.tensor([[1.0, 0.0]]))
        assert cache.take_attention().tolist() == [[0.5, 0.5]]
        assert cache.take_attention() is None


class TestStreams:
    def test_is_a_transformers_cache(self) -> None:
        cache = filled_cache()
        assert isinstance(cache, Cache)
        assert len(cache) == 2
        assert cache.get_seq_length() == 4
        assert cache.get_mask_sizes(1, 0) == (4, 0)
        assert cache.get_max_length() == -1
        assert not cache.is_compileable
        assert cache.batch_size == 3
        assert repr(cache) == "TemporalReuseCache(layers=2, streams=3)"

    def test_an_empty_cache_says_so(self) -> None:
        cache = TemporalReuseCache(2)
        assert cache.batch_size == -1
        assert cache.memory_bytes == 0
        assert cache.get_seq_length() == 0
        assert cache.get_mask_sizes(5, 0) == (5, 0)
        assert repr(cache) == "TemporalReuseCache(layers=2, streams=0)"

    @pytest.mark.parametrize(
        "change",
        [
            lambda cache: cache.reset(),
            lambda cache: cache.crop(-2),
            lambda cache: cache.reorder_cache(torch.tensor([0])),
            lambda cache: cache.batch_select_indices(torch.tensor([0])),
            lambda cache: cache.batch_repeat_interleave(2),
            lambda cache: cache.offload(),
        ],
        ids=["reset", "crop", "reorder", "select", "repeat", "offload"],
    )
    def test_an_empty_cache_stays_empty(self, change: Callable[[TemporalReuseCache], None]) -> None:
        cache = TemporalReuseCache(2)
        change(cache)
        assert cache.batch_size == -1
        assert cache.memory_bytes == 0

    @pytest.mark.parametrize("streams", [[2, 0, 1], [1, 1, 0]], ids=str)
    def test_reorder_cache(self, streams: list[int]) -> None:
        cache = filled_cache()
        cache.reorder_cache(torch.tensor(streams))
        assert_streams(cache, streams)

    @pytest.mark.parametrize("streams", [[1], [2, 0], [0, 0, 1, 2, 2], [-1, 0]], ids=str)
    def test_batch_select_indices(self, streams: list[int]) -> None:
        cache = filled_cache()
        cache.batch_select_indices(torch.tensor(streams))
        assert_streams(cache, [stream % 3 for stream in streams])
        assert cache.owner["batch_size"] == len(streams)

    def test_batch_repeat_interleave(self) -> None:
        cache = filled_cache()
        cache.batch_repeat_interleave(2)
        assert_streams(cache, [0, 0, 1, 1, 2, 2])

    def test_take_and_put(self) -> None:
        cache = filled_cache()
        part = cache.take(torch.tensor([2, 0]))
        assert_streams(part, [2, 0])
        assert_streams(cache, [0, 1, 2])
        for layer in part.layers:
            layer.keys += 5000
        part.streams.age += 7
        cache.put(torch.tensor([2, 0]), part)
        full = filled_cache()
        assert torch.equal(cache.layers[1].keys[1], full.layers[1].keys[1])
        assert torch.equal(cache.layers[1].keys[[0, 2]], full.layers[1].keys[[0, 2]] + 5000)
        assert torch.equal(cache.layers[1].values, full.layers[1].values)
        assert cache.streams.age[:, 0].tolist() == [8, 1, 8]

    @pytest.mark.parametrize(
        ("mine", "theirs", "expected"),
        [(None, 1, [2, 1, 2]), (1, None, [1, 2, 1]), (0, 1, [0, 1, 0]), (None, None, None)],
        ids=str,
    )
    def test_put_says_of_every_stream_what_was_left_out(
        self, mine: int | None, theirs: int | None, expected: list[int] | None
    ) -> None:
        cache = filled_cache()
        part = cache.take(torch.tensor([0]))
        for own, layer in ((cache, mine), (part, theirs)):
            if layer is not None:
                own._last_layers = torch.full((own.batch_size, 1, 4, 1), layer)
        cache.put(torch.tensor([1]), part)
        if expected is None:
            assert cache._last_layers is None
        else:
            assert cache._last_layers[:, 0, :, 0].tolist() == [[layer] * 4 for layer in expected]

    @pytest.mark.parametrize("streams", [[3], [-4], [0, 7]], ids=str)
    def test_a_stream_that_is_not_there_is_an_error(self, streams: list[int]) -> None:
        cache = filled_cache()
        for change in (cache.reset, cache.batch_select_indices):
            with pytest.raises(IndexError, match=r"asked for, but the cache holds streams 0 to 2\."):
                change(torch.tensor(streams))
        assert_streams(cache, [0, 1, 2])


class TestReset:
    def test_of_all_streams_leaves_an_empty_cache(self) -> None:
        cache = filled_cache()
        cache.reset()
        assert cache.batch_size == -1
        assert cache.memory_bytes == 0
        assert cache.owner is None
        # Anyone may use it now.
        cache.check_owner(model="OtherModel")

    @pytest.mark.parametrize("streams", [[1], (0, 2), torch.tensor([2, 1]), [-1]], ids=str)
    def test_of_some_streams_marks_them_as_not_valid(self, streams: list[int] | torch.Tensor) -> None:
        cache, full = filled_cache(), filled_cache()
        cache.reset(streams)
        chosen = torch.zeros(3, dtype=torch.bool)
        chosen[torch.as_tensor(streams)] = True
        assert (cache.streams.age[chosen] == NEVER).all()
        assert cache.streams.saliency[chosen].isnan().all()
        for tensor, full_tensor in zip(cache.streams.tensors(), full.streams.tensors()):
            assert torch.equal(tensor[~chosen], full_tensor[~chosen])
        assert cache.batch_size == 3
        assert cache.owner == full.owner


class TestCrop:
    def test_forgets_what_was_computed_in_the_last_frames(self) -> None:
        cache = filled_cache(batch=1)
        cache.streams.age = torch.tensor([[1, 2, 5, NEVER]])
        cache.crop(-2)
        # Seen from two frames earlier: the third token was then 3 frames old.
        assert cache.streams.age.tolist() == [[NEVER, NEVER, 3, NEVER]]

    def test_by_nothing_changes_nothing(self) -> None:
        cache = filled_cache()
        cache.crop(0)
        assert_streams(cache, [0, 1, 2])

    def test_takes_the_sign_of_transformers_caches(self) -> None:
        with pytest.raises(ValueError, match=r"^crop takes minus the number of frames, but got 2: try -2\.$"):
            filled_cache().crop(2)


class TestCopies:
    @pytest.mark.parametrize(
        "copied", [copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))], ids=["deepcopy", "pickle"]
    )
    def test_are_equal_and_apart(self, copied: Callable[[TemporalReuseCache], TemporalReuseCache]) -> None:
        cache = filled_cache()
        other = copied(cache)
        assert_streams(other, [0, 1, 2])
        assert other.owner == cache.owner
        other.layers[0].keys.zero_()
        other.reset([0])
        assert_streams(cache, [0, 1, 2])

    def test_offloaded_states_are_the_same(self) -> None:
        cache = filled_cache()
        cache.offload()
        assert_streams(cache, [0, 1, 2])
        cache.offload(layer_idx=1)
        cache.layers[1].prefetch()
        assert_streams(cache, [0, 1, 2])


class TestMemory:
    @pytest.mark.parametrize(("batch", "tokens", "layers"), [(1, 4, 1), (3, 7, 2), (5, 50, 4)], ids=str)
    def test_bytes_follow_the_formula(self, batch: int, tokens: int, layers: int) -> None:
        cache = filled_cache(batch, tokens, layers)
        states = 2 * layers * tokens * HEADS * HEAD_DIM * 4
        output, reference = tokens * 10 * 4, (tokens - 1) * 5 * 4
        age, saliency, debt = tokens * 8, (tokens - 1) * 4, (tokens - 1) * 4
        assert cache.memory_bytes == batch * (states + output + reference + age + saliency + debt)


class TestOwner:
    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("model", "OtherModel", "model TestModel, but is now used with model OtherModel"),
            ("weights", "def", "weights abc, but is now used with weights def"),
            ("batch_size", 4, "batch size 3, but is now used with batch size 4"),
            ("resolution", "8 x 16", "resolution 8 x 8, but is now used with resolution 8 x 16"),
            ("dtype", "bfloat16", "dtype float32, but is now used with dtype bfloat16"),
        ],
    )
    def test_a_difference_is_refused_in_one_sentence_that_names_it(
        self, name: str, value: str | int, words: str
    ) -> None:
        cache = filled_cache()
        with pytest.raises(ValueError) as error:
            cache.check_owner(**{**cache.owner, name: value})
        assert str(error.value) == (
            f"this TemporalReuseCache was filled with {words}; start a new stream by leaving past_key_values out."
        )

    def test_the_same_again_is_accepted(self) -> None:
        cache = filled_cache()
        cache.check_owner(**cache.owner)
        assert_streams(cache, [0, 1, 2])


class TestStreamsAskedFor:
    """By numbers or by a mask, in both caches alike."""

    @pytest.fixture(params=["frames", "windows"])
    def filled(self, request: pytest.FixtureRequest) -> Any:
        model = tiny_video_classifier() if request.param == "frames" else hf_ttr.with_temporal_reuse(tiny_videomae())
        with torch.no_grad():
            return model(make_clip(3, 8)).past_key_values

    @pytest.mark.parametrize("change", ["batch_select_indices", "reset", "take"])
    def test_a_mask_is_a_mask(self, filled: Any, change: str) -> None:
        by_mask, by_numbers = copy.deepcopy(filled), copy.deepcopy(filled)
        results = [
            getattr(cache, change)(torch.tensor(streams)) or cache
            for cache, streams in ((by_mask, [True, False, True]), (by_numbers, [0, 2]))
        ]
        assert results[0].batch_size == results[1].batch_size == (3 if change == "reset" else 2)
        for one, other in zip(results[0].streams.tensors(), results[1].streams.tensors()):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
        for one, other in zip(results[0].layers, results[1].layers):
            assert torch.equal(one.keys, other.keys) and torch.equal(one.values, other.values)

    @pytest.mark.parametrize(
        ("streams", "words"),
        [
            ([True, False], r"a mask of streams has the shape \(2,\), but must be \(3,\)"),
            ([[True, False, True]], r"a mask of streams has the shape \(1, 3\)"),
            ([0.0, 1.0], "pass a list of whole numbers, or a mask"),
            ([[0, 1]], "pass a list of whole numbers, or a mask"),
            ([3], "the cache holds streams 0 to 2"),
        ],
    )
    def test_what_is_neither_is_refused(self, filled: Any, streams: Any, words: str) -> None:
        before = copy.deepcopy(filled)
        for change in (filled.batch_select_indices, filled.reset, filled.take, filled.reorder_cache):
            with pytest.raises(IndexError, match=words):
                change(torch.tensor(streams))
        assert all(map(torch.equal, filled.streams.tensors()[:1], before.streams.tensors()[:1]))

    def test_none_and_one(self, filled: Any) -> None:
        assert filled.take([]).batch_size == 0
        assert filled.take(torch.tensor(-1)).batch_size == 1
