"""
Random use of the cache of frames against a cache of plain lists.

Keys and values are filled with the number of the token, so that every comparison is exact.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hf_ttr import TemporalReuseCache, TemporalReuseConfig
from hf_ttr.planning.plan import NEVER, ReusePlan
from hf_ttr.planning.planner import Planner

from ..caching.test_cache import HEAD_DIM, HEADS, as_numbers, as_states
from .content import KINDS, SEEDS, SIZES, embeddings, few, reuse_settings


LAYERS, GRID, PATCHES, TOKENS, DIM = 2, (2, 2), 4, 5, 3
MOST_STREAMS, MOST_CACHES = 6, 3
MODES: dict[str, Callable[[], AbstractContextManager]] = {
    "grad": torch.enable_grad,
    "no-grad": torch.no_grad,
    "inference": torch.inference_mode,
}


@dataclass(frozen=True)
class Token:
    """What was last computed at a position."""

    number: int
    age: int
    embedding: tuple[float, ...]
    last_layer: int


@dataclass
class Stream:
    """What a cache should hold of a stream; a position that holds nothing valid is `None`."""

    tokens: list[Token | None] = field(default_factory=lambda: [None] * TOKENS)
    saliency: list[float] | None = None
    debt: list[float] = field(default_factory=lambda: [0.0] * PATCHES)


@dataclass
class Pair:
    """A cache, and what it should hold; `None` before the first call."""

    cache: TemporalReuseCache = field(default_factory=lambda: TemporalReuseCache(LAYERS))
    streams: list[Stream] | None = None


def frame_tokens(
    stream: Stream, computed: list[list[bool]], own: list[list[Token]], interpolate: bool
) -> list[list[tuple[Token, Token, float]]]:
    """Of which two tokens every token of some frames is made, and the share of the second if it is linear in time."""
    frames = len(computed)
    made: list[list[Any]] = [[None] * TOKENS for _ in range(frames)]
    for position in range(TOKENS):
        times = [time for time in range(frames) if computed[time][position]]
        for time in range(frames):
            earlier = [other for other in times if other <= time]
            later = [other for other in times if other >= time]
            held = stream.tokens[position]
            left, start = (own[earlier[-1]][position], earlier[-1]) if earlier else (held, -held.age)
            right, end = (own[later[0]][position], later[0]) if interpolate and later else (left, start)
            made[time][position] = (left, right, (time - start) / (end - start) if end > start else 0.0)
    return made


class CacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pairs = [Pair()]
        self.numbers = 0
        self.outputs: list[tuple[torch.Tensor, torch.Tensor]] = []

    def filled(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.streams is not None]

    def add(self, pair: Pair) -> None:
        self.pairs = [*self.pairs[-MOST_CACHES + 1 :], pair]

    def any_filled(self) -> bool:
        return bool(self.filled())

    def carry_out(
        self,
        cache: TemporalReuseCache,
        streams: list[Stream],
        plan: ReusePlan,
        patches: torch.Tensor,
        planner: Planner,
        seed: int,
        is_linear: bool = True,
    ) -> None:
        """Does with a plan what a model does, and the same to the lists."""
        batch, frames, tokens = plan.shape
        generator = torch.Generator().manual_seed(seed)
        numbers = torch.arange(plan.computed.numel()).view(plan.shape) + self.numbers
        self.numbers += numbers.numel()
        reduction, last_layers = None, torch.full(plan.shape, LAYERS)
        if seed % 3 == 0:
            last_layers = torch.randint(0, LAYERS + 1, plan.shape, generator=generator)
            reduction = SimpleNamespace(last_layers=last_layers[plan.computed])
        features = torch.nn.functional.pad(patches, (0, 0, 1, 0))
        own = [
            [
                [
                    Token(number, 0, tuple(embedding), layer)
                    for number, embedding, layer in zip(frame_numbers, frame_features, frame_layers)
                ]
                for frame_numbers, frame_features, frame_layers in zip(*parts)
            ]
            for parts in zip(numbers.tolist(), features.tolist(), last_layers.tolist())
        ]
        computed = plan.computed.tolist()
        made = [
            frame_tokens(stream, mask, mine, plan.interpolate) for stream, mask, mine in zip(streams, computed, own)
        ]

        def expected(of: Callable[[tuple[Token, Token, float]], float]) -> torch.Tensor:
            return torch.tensor([[[of(entry) for entry in frame] for frame in frames] for frames in made])

        lefts, rights = expected(lambda entry: entry[0].number), expected(lambda entry: entry[1].number)
        rows = numbers.flatten(0, 1) if plan.is_dense else numbers[plan.computed][None]
        for index in range(LAYERS):
            states = as_states(rows.float()) + index / 16
            keys, values = cache.update(states, states + 0.25, index, plan)
            assert torch.equal(values, keys + 0.25)
            found = as_numbers(keys - index / 16)
            if plan.is_dense:
                assert torch.equal(found.view(plan.shape), lefts)
                assert torch.equal(lefts, rights)
            else:
                assert torch.equal(found[0][plan.links[0]], lefts)
                assert torch.equal(found[0][plan.links[1]], rights)
        share = expected(lambda entry: entry[2])
        if is_linear:
            assert torch.equal(plan.alpha, share)
        else:
            assert ((plan.alpha >= 0) & (plan.alpha <= 1)).all()
            assert not plan.alpha[lefts == rights].any()

        layers = [expected(lambda entry: entry[0].last_layer), expected(lambda entry: entry[1].last_layer)]
        for index in range(LAYERS + 1):
            kept = cache.kept(index, plan, reduction)
            if kept is None:
                assert all((own >= index).all() for own in layers)
            elif plan.is_dense:
                assert torch.equal(kept.view(plan.shape), layers[0] >= index)
            else:
                assert torch.equal(kept.flatten()[plan.links[0]], layers[0] >= index)
                assert torch.equal(kept.flatten()[plan.links[1]], layers[1] >= index)
        cache.remember_kept(plan, reduction)

        states = rows.float()[..., None].repeat(1, 1, DIM)
        output = cache.update_output(states, plan)[..., 0].view(plan.shape)
        torch.testing.assert_close(output, torch.lerp(lefts.float(), rights.float(), plan.alpha), rtol=1e-5, atol=1e-3)
        assert torch.equal(output[lefts == rights], lefts[lefts == rights].float())
        self.outputs.append((output, output.clone()))

        observed = plan.computed.all(-1).any(-1).nonzero().squeeze(-1)
        attention = torch.rand(len(observed), tokens, generator=generator)
        cache.streams = planner.remember(plan, patches, cache.streams, observed, attention)

        for index, stream in enumerate(streams):
            for position in range(tokens):
                times = [time for time in range(frames) if computed[index][time][position]]
                held = stream.tokens[position]
                stream.tokens[position] = (
                    replace(own[index][times[-1]][position], age=frames - times[-1])
                    if times
                    else replace(held, age=held.age + frames)
                )
            stream.debt = cache.streams.debt[index].tolist()
        for index, seen in zip(observed.tolist(), attention[:, 1:].tolist()):
            streams[index].saliency = seen

    def go_on(
        self,
        cache: TemporalReuseCache,
        streams: list[Stream],
        patches: torch.Tensor,
        planner: Planner,
        seed: int,
    ) -> None:
        """Goes through frames as a model does: streams that start apart from the others, one plan after another."""
        fresh = planner.is_fresh(cache.streams)
        is_fresh = [all(token is None for token in stream.tokens) for stream in streams]
        assert fresh is None or fresh.tolist() == is_fresh
        if fresh is not None and any(is_fresh) and not all(is_fresh):
            for chosen in (fresh.nonzero().squeeze(-1), (~fresh).nonzero().squeeze(-1)):
                part = cache.take(chosen)
                own = [streams[index] for index in chosen.tolist()]
                self.go_on(part, own, patches[chosen], replace(planner), seed)
                cache.put(chosen, part)
            return
        start = 0
        while start < patches.shape[1]:
            plan = planner.plan(patches[:, start:], cache.streams)
            frames = patches[:, start : start + plan.shape[1]]
            self.carry_out(cache, streams, plan, frames, planner, seed + start, is_linear=False)
            start += plan.shape[1]

    @rule(
        data=st.data(),
        batch=st.integers(1, 3),
        frames=st.integers(1, 4),
        share=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
        interpolate=st.booleans(),
        seed=SEEDS,
        grad=st.sampled_from(list(MODES)),
    )
    def call_with_a_random_plan(
        self, data: st.DataObject, batch: int, frames: int, share: float, interpolate: bool, seed: int, grad: str
    ) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        cache = pair.cache
        if pair.streams is None:
            pair.streams = [Stream() for _ in range(batch)]
        batch = len(pair.streams)
        generator = torch.Generator().manual_seed(seed)
        computed = torch.rand(batch, frames, TOKENS, generator=generator) < share
        missing = [[token is None for token in stream.tokens] for stream in pair.streams]
        computed[:, 0] |= torch.tensor(missing)
        plan = ReusePlan.build(computed, None if cache.streams is None else cache.streams.age, interpolate)
        planner = Planner(TemporalReuseConfig(), GRID)
        with MODES[grad]():
            self.carry_out(
                cache, pair.streams, plan, embeddings("noise", seed, (batch, frames, PATCHES, DIM)), planner, seed
            )

    @rule(
        data=st.data(),
        batch=st.integers(1, 3),
        frames=st.integers(1, 4),
        kind=st.sampled_from(KINDS),
        size=SIZES,
        settings=reuse_settings(),
        mode=st.sampled_from(["bidirectional", "causal"]),
        compute_all=st.sampled_from([False, False, False, True]),
        seed=SEEDS,
        grad=st.sampled_from(list(MODES)),
    )
    def call_with_the_planner(
        self,
        data: st.DataObject,
        batch: int,
        frames: int,
        kind: str,
        size: float,
        settings: dict[str, Any],
        mode: str,
        compute_all: bool,
        seed: int,
        grad: str,
    ) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        if pair.streams is None:
            pair.streams = [Stream() for _ in range(batch)]
        planner = Planner(TemporalReuseConfig(mode=mode, **settings), GRID, compute_all=compute_all)
        patches = embeddings(kind, seed, (len(pair.streams), frames, PATCHES, DIM), size)
        with MODES[grad]():
            self.go_on(pair.cache, pair.streams, patches, planner, seed)

    @rule(data=st.data())
    def reset_all(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        pair.cache.reset()
        pair.streams = None

    @precondition(any_filled)
    @rule(data=st.data(), as_tensor=st.booleans())
    def reset_some(self, data: st.DataObject, as_tensor: bool) -> None:
        pair = data.draw(st.sampled_from(self.filled()))
        count = len(pair.streams)
        chosen = data.draw(st.lists(st.integers(-count, count - 1), max_size=3))
        pair.cache.reset(torch.tensor(chosen, dtype=torch.long) if as_tensor else chosen)
        for index in chosen:
            pair.streams[index] = Stream(debt=pair.streams[index].debt)

    @precondition(any_filled)
    @rule(data=st.data())
    def reorder(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(self.filled()))
        order = data.draw(st.permutations(range(len(pair.streams))))
        pair.cache.reorder_cache(torch.tensor(order))
        pair.streams = [pair.streams[index] for index in order]

    def chosen_streams(self, data: st.DataObject, pair: Pair) -> list[int]:
        count = len(pair.streams)
        return data.draw(st.lists(st.integers(-count, count - 1), min_size=1, max_size=MOST_STREAMS))

    @precondition(any_filled)
    @rule(data=st.data())
    def select(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(self.filled()))
        chosen = self.chosen_streams(data, pair)
        pair.cache.batch_select_indices(torch.tensor(chosen))
        pair.streams = [copy.deepcopy(pair.streams[index]) for index in chosen]

    @precondition(any_filled)
    @rule(data=st.data(), repeats=st.integers(1, 2))
    def repeat(self, data: st.DataObject, repeats: int) -> None:
        pair = data.draw(st.sampled_from(self.filled()))
        if repeats * len(pair.streams) <= MOST_STREAMS:
            pair.cache.batch_repeat_interleave(repeats)
            pair.streams = [copy.deepcopy(stream) for stream in pair.streams for _ in range(repeats)]

    @precondition(any_filled)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(self.filled()))
        chosen = self.chosen_streams(data, pair)
        self.add(Pair(pair.cache.take(torch.tensor(chosen)), [copy.deepcopy(pair.streams[index]) for index in chosen]))

    @precondition(any_filled)
    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        whole, part = (data.draw(st.sampled_from(self.filled())) for _ in range(2))
        if len(part.streams) <= len(whole.streams):
            places = data.draw(st.permutations(range(len(whole.streams))))[: len(part.streams)]
            whole.cache.put(torch.tensor(places), part.cache)
            new = copy.deepcopy(part.streams)
            for place, stream in zip(places, new):
                whole.streams[place] = stream

    @rule(data=st.data(), frames=st.sampled_from([0, 1, 2, 3, 100]))
    def crop(self, data: st.DataObject, frames: int) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        pair.cache.crop(-frames)
        for stream in pair.streams or []:
            stream.tokens = [
                None if token is None or token.age <= frames else replace(token, age=token.age - frames)
                for token in stream.tokens
            ]

    @rule(data=st.data(), layer=st.sampled_from([None, 0, 1]))
    def offload(self, data: st.DataObject, layer: int | None) -> None:
        data.draw(st.sampled_from(self.pairs)).cache.offload(layer)

    @rule(data=st.data())
    def deepcopy(self, data: st.DataObject) -> None:
        self.add(copy.deepcopy(data.draw(st.sampled_from(self.pairs))))

    @invariant()
    def caches_hold_what_they_should(self) -> None:
        for pair in self.pairs:
            assert_holds(pair.cache, pair.streams)

    @invariant()
    def outputs_are_not_overwritten(self) -> None:
        for output, copied in self.outputs[-3:]:
            assert torch.equal(output, copied)


def assert_holds(cache: TemporalReuseCache, streams: list[Stream] | None) -> None:
    if streams is None:
        assert cache.batch_size == -1
        assert cache.memory_bytes == 0
        return
    assert cache.batch_size == len(streams)
    valid = torch.tensor([[token is not None for token in stream.tokens] for stream in streams])
    tokens = [token for stream in streams for token in stream.tokens if token is not None]
    numbers = torch.tensor([float(token.number) for token in tokens])
    for index, layer in enumerate(cache.layers):
        assert torch.equal(as_numbers(layer.keys)[valid], numbers + index / 16)
        assert torch.equal(layer.values, layer.keys + 0.25)
    assert torch.equal(cache._output[:, 0][valid], numbers[:, None].expand(-1, DIM))
    ages = [[NEVER if token is None else token.age for token in stream.tokens] for stream in streams]
    assert cache.streams.age.tolist() == ages
    found = torch.nn.functional.pad(cache.streams.reference, (0, 0, 1, 0))[valid]
    assert torch.equal(found, torch.tensor([token.embedding for token in tokens]).view(-1, DIM))
    last_layers = torch.full((len(streams), TOKENS), LAYERS)
    if cache._last_layers is not None:
        last_layers = cache._last_layers.view(len(streams), TOKENS)
    assert last_layers[valid].tolist() == [token.last_layer for token in tokens]
    nan = float("nan")
    saliency = torch.tensor([stream.saliency or [nan] * PATCHES for stream in streams])
    torch.testing.assert_close(cache.streams.saliency, saliency, rtol=0, atol=0, equal_nan=True)
    assert cache.streams.debt.tolist() == [stream.debt for stream in streams]
    layer_bytes = 2 * LAYERS * HEADS * HEAD_DIM * TOKENS * 4
    last_layer_bytes = 0 if cache._last_layers is None else TOKENS * 8
    state_bytes = TOKENS * (DIM * 4 + 8) + PATCHES * (DIM * 4 + 4 + 4)
    assert cache.memory_bytes == len(streams) * (layer_bytes + last_layer_bytes + state_bytes)


TestCache = CacheMachine.TestCase
TestCache.settings = few(1)
