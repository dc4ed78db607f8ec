"""
Random use of the cache of windows against a cache of plain lists.

Keys and values are filled with the number of the token, so that every comparison is exact.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hf_ttr import TemporalReuseConfig, TemporalReuseWindowCache
from hf_ttr.planning.window_plan import WindowPlan
from hf_ttr.planning.window_planner import WindowPlanner

from ..caching.test_cache import as_numbers, as_states
from .content import KINDS, SEEDS, SIZES, embeddings, few, window_settings
from .test_cache_machine import MODES


LAYERS, GRID, TIMES, POSITIONS, DIM = 2, (2, 2), 3, 4, 3
SLOTS = [(time, position) for time in range(TIMES) for position in range(POSITIONS)]
MOST_STREAMS, MOST_CACHES = 6, 3


@dataclass(frozen=True)
class Row:
    """What was computed for a slot."""

    number: int
    age: int
    embedding: tuple[float, ...]
    change: float
    last_layer: int


@dataclass
class Stream:
    """
    What a cache should hold of a stream.

    Attributes:
        rows: those that stand for something, by number, in order.
        slots: of which two rows each slot is made, and the share of the second.
        patches: of the last window.
    """

    rows: dict[int, Row] = field(default_factory=dict)
    slots: dict[tuple[int, int], tuple[int, int, float]] = field(default_factory=dict)
    patches: torch.Tensor | None = None


@dataclass
class Pair:
    """A cache, and what it should hold; `None` before the first call."""

    cache: TemporalReuseWindowCache = field(default_factory=lambda: TemporalReuseWindowCache(LAYERS))
    streams: list[Stream] | None = None


def slot_rows(
    computed: dict[tuple[int, int], int],
    held: dict[tuple[int, int], tuple[int, int, float]],
    sources: dict[tuple[int, int], int],
    interpolate: bool,
) -> dict[tuple[int, int], tuple[int, int, float]]:
    """Of which two rows every slot is made, and the share of the second."""
    made = {}
    for time, position in SLOTS:
        times = [other for other in range(TIMES) if (other, position) in computed]
        if (time, position) in held:
            made[time, position] = held[time, position]
        elif interpolate:
            before = max((other for other in times if other <= time), default=min(times))
            after = min((other for other in times if other >= time), default=before)
            before = before if before <= time else after
            share = (time - before) / (after - before) if after > before else 0.0
            made[time, position] = (computed[before, position], computed[after, position], share)
        else:
            row = computed[sources[time, position], position]
            made[time, position] = (row, row, 0.0)
    return made


class WindowCacheMachine(RuleBasedStateMachine):
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
        pair: Pair,
        plan: WindowPlan,
        patches: torch.Tensor,
        planner: WindowPlanner,
        seed: int,
        interpolate: bool,
        sources: torch.Tensor | None = None,
    ) -> None:
        """Does with a plan what a model does, and the same to the lists."""
        cache, streams = pair.cache, pair.streams
        generator = torch.Generator().manual_seed(seed)
        numbers = torch.arange(plan.computed.numel()).view(plan.shape) + self.numbers
        self.numbers += numbers.numel()
        reduction, last_layers = None, torch.full(plan.shape, LAYERS)
        if seed % 3 == 0 and plan.computed.any():
            last_layers = torch.randint(0, LAYERS + 1, plan.shape, generator=generator)
            reduction = SimpleNamespace(last_layers=last_layers[plan.computed])

        table = [number for stream in streams for number in stream.rows]
        past = len(table)
        assert plan.past_counts == [len(stream.rows) for stream in streams]
        table += numbers[plan.computed].tolist()
        for index, stream in enumerate(streams):
            own = {slot: int(numbers[index][slot]) for slot in SLOTS if plan.computed[index][slot]}
            is_held = [slot for slot in SLOTS if int(plan.left[index][slot]) < past]
            if sources is None:
                # Of the planner's own plan: which token stands for a slot is its choice, what is left to be its rows.
                found = {row: time for (time, _), row in own.items()}
                time_of = {slot: found.get(table[int(plan.left[index][slot])], -1) for slot in SLOTS}
            else:
                assert is_held == [slot for slot in SLOTS if int(sources[index][slot]) < 0]
                time_of = {slot: int(sources[index][slot]) for slot in SLOTS}
            made = slot_rows(own, {slot: stream.slots[slot] for slot in is_held}, time_of, interpolate)
            for slot, (left, right, share) in made.items():
                assert table[int(plan.left[index][slot])] == left
                if share:
                    assert table[int(plan.right[index][slot])] == right
                assert float(plan.alpha[index][slot]) == pytest.approx(share, abs=1e-7)
            weights = dict.fromkeys([*stream.rows, *own.values()], 0.0)
            for left, right, share in made.values():
                weights[left] += 1 - share
                weights[right] += share
            first = stream.patches is None or not stream.rows
            passed = 0.0
            if not first:
                norm = float(patches[index].norm(dim=-1).mean().clamp(min=1e-12))
                passed = float((patches[index] - stream.patches).square().sum(-1).mean()) / norm**2
            rows = {
                number: replace(row, age=row.age + 1, change=row.change + passed)
                for number, row in stream.rows.items()
            }
            for slot, number in own.items():
                rows[number] = Row(number, 1, tuple(patches[index][slot].tolist()), 0.0, int(last_layers[index][slot]))
            stream.rows = {number: row for number, row in rows.items() if weights[number] > 0}
            stream.slots, stream.patches = made, patches[index]
            counts = [weights[number] for number in stream.rows]
            torch.testing.assert_close(plan.counts.split(plan.live_counts)[index], torch.tensor(counts))
            assert sum(counts) == pytest.approx(len(SLOTS))
            assert plan.stands_alone[index] == (list(stream.rows) == list(own.values()))

        live = torch.tensor([number for stream in streams for number in stream.rows])
        rows = numbers[plan.computed]
        for index in range(LAYERS):
            states = as_states(numbers.flatten(1) if plan.is_dense else rows[None]).float() + index / 16
            if len(rows):
                keys, values = cache.update(states, states + 0.25, index, plan)
                assert torch.equal(values, keys + 0.25)
                assert torch.equal(as_numbers(keys - index / 16).flatten(), live.float())
        if not len(rows):
            cache.keep(plan)
        output = cache.update_output(rows.float()[:, None].repeat(1, DIM), plan)
        assert torch.equal(output, live.float()[:, None].expand(-1, DIM))
        self.outputs.append((output, output.clone()))
        layers = torch.tensor([row.last_layer for stream in streams for row in stream.rows.values()])
        for index in range(LAYERS + 1):
            kept = cache.kept(index, plan, reduction)
            assert torch.equal(layers >= index, torch.ones_like(layers, dtype=torch.bool) if kept is None else kept)
        cache.remember_kept(plan, reduction)
        checksums = patches.double().sum((2, 3))
        cache.streams = planner.remember(plan, patches, checksums, cache.streams)

    @rule(
        data=st.data(),
        batch=st.integers(1, 3),
        share=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]),
        hold=st.sampled_from([0.0, 0.5, 1.0]),
        interpolate=st.booleans(),
        seed=SEEDS,
        grad=st.sampled_from(list(MODES)),
    )
    def call_with_a_random_plan(
        self, data: st.DataObject, batch: int, share: float, hold: float, interpolate: bool, seed: int, grad: str
    ) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        if pair.streams is None:
            pair.streams = [Stream() for _ in range(batch)]
        batch = len(pair.streams)
        generator = torch.Generator().manual_seed(seed)
        computed = torch.rand(batch, TIMES, POSITIONS, generator=generator) < share
        chances = torch.rand(batch, TIMES, POSITIONS, 2, generator=generator)
        sources = torch.full(computed.shape, -1)
        for index, stream in enumerate(pair.streams):
            for position in range(POSITIONS):
                if not stream.rows and not computed[index, :, position].any():
                    computed[index, int(chances[index, 0, position, 0] * TIMES), position] = True
                times = computed[index, :, position].nonzero().flatten().tolist()
                for time in range(TIMES):
                    held, which = chances[index, time, position].tolist()
                    if computed[index, time, position]:
                        sources[index, time, position] = time
                    elif times and (not stream.rows or held >= hold):
                        sources[index, time, position] = times[int(which * len(times))]
        with MODES[grad]():
            plan = WindowPlan.build(
                sources, None if pair.cache.streams is None else pair.cache.streams.past, interpolate
            )
            patches = embeddings("noise", seed, (batch, TIMES, POSITIONS, DIM))
            planner = WindowPlanner(TemporalReuseConfig(), GRID)
            self.carry_out(pair, plan, patches, planner, seed, interpolate, sources)

    @rule(
        data=st.data(),
        batch=st.integers(1, 3),
        kind=st.sampled_from(KINDS),
        size=SIZES,
        settings=window_settings(),
        first_is_read=st.booleans(),
        compute_all=st.sampled_from([False, False, False, True]),
        seed=SEEDS,
        near=st.booleans(),
        grad=st.sampled_from(list(MODES)),
    )
    def call_with_the_planner(
        self,
        data: st.DataObject,
        batch: int,
        kind: str,
        size: float,
        settings: dict[str, Any],
        first_is_read: bool,
        compute_all: bool,
        seed: int,
        near: bool,
        grad: str,
    ) -> None:
        pair = data.draw(st.sampled_from(self.pairs))
        if pair.streams is None:
            pair.streams = [Stream() for _ in range(batch)]
        planner = WindowPlanner(TemporalReuseConfig(**settings), GRID, first_is_read, compute_all)
        patches = embeddings(kind, seed, (len(pair.streams), TIMES, POSITIONS, DIM), size)
        if near and pair.cache.streams is not None:
            # Otherwise nothing of the last window would ever be held.
            patches = pair.cache.streams.patches.clone()
            patches[:, seed % TIMES :, seed % POSITIONS] += size
        with MODES[grad]():
            plan = planner.plan(patches, pair.cache.streams)
            interpolate = settings["mode"] == "bidirectional" and settings["representative"] in (
                "spread",
                "interpolate",
            )
            self.carry_out(pair, plan, patches, planner, seed, interpolate and not plan.is_dense)

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
            pair.streams[index] = Stream()

    def select_streams(self, pair: Pair, chosen: list[int]) -> None:
        pair.streams = [copy.deepcopy(pair.streams[index]) for index in chosen]

    @precondition(any_filled)
    @rule(data=st.data())
    def reorder(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(self.filled()))
        order = data.draw(st.permutations(range(len(pair.streams))))
        pair.cache.reorder_cache(torch.tensor(order))
        self.select_streams(pair, order)

    @precondition(any_filled)
    @rule(data=st.data())
    def select(self, data: st.DataObject) -> None:
        pair = data.draw(st.sampled_from(self.filled()))
        count = len(pair.streams)
        chosen = data.draw(st.lists(st.integers(-count, count - 1), min_size=1, max_size=MOST_STREAMS))
        pair.cache.batch_select_indices(torch.tensor(chosen))
        self.select_streams(pair, chosen)

    @precondition(any_filled)
    @rule(data=st.data(), repeats=st.integers(1, 2))
    def repeat(self, data: st.DataObject, repeats: int) -> None:
        pair = data.draw(st.sampled_from(self.filled()))
        count = len(pair.streams)
        if repeats * count <= MOST_STREAMS:
            pair.cache.batch_repeat_interleave(repeats)
            self.select_streams(pair, [index for index in range(count) for _ in range(repeats)])

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


def assert_holds(cache: TemporalReuseWindowCache, streams: list[Stream] | None) -> None:
    if streams is None:
        assert cache.batch_size == -1
        assert cache.memory_bytes == 0
        return
    state = cache.streams
    assert cache.batch_size == len(streams)
    rows = [row for stream in streams for row in stream.rows.values()]
    numbers = [row.number for row in rows]
    for index, layer in enumerate(cache.layers):
        assert as_numbers(layer.keys - index / 16).flatten().tolist() == numbers
        assert torch.equal(layer.values, layer.keys + 0.25)
    assert cache._output[:, 0].tolist() == numbers
    assert state.counts == [len(stream.rows) for stream in streams]
    assert state.is_fresh == [not stream.rows for stream in streams]
    assert state.age.tolist() == [row.age for row in rows]
    assert torch.equal(state.reference, torch.tensor([row.embedding for row in rows]).view(-1, DIM))
    torch.testing.assert_close(state.change, torch.tensor([row.change for row in rows]).view(-1), rtol=1e-4, atol=1e-6)
    last_layers = [LAYERS] * len(rows) if cache._last_layers is None else cache._last_layers.tolist()
    assert last_layers == [row.last_layer for row in rows]
    for index, stream in enumerate(streams):
        if not stream.rows:
            assert (state.left[index] == -1).all() and (state.right[index] == -1).all()
            continue
        assert torch.equal(state.patches[index], stream.patches)
        torch.testing.assert_close(state.checksums[index], stream.patches.double().sum((1, 2)), rtol=0, atol=0)
        for slot, (left, right, share) in stream.slots.items():
            assert numbers[int(state.left[index][slot])] == left
            assert numbers[int(state.right[index][slot])] == (right if share else left)
            assert float(state.alpha[index][slot]) == pytest.approx(share, abs=1e-7)


TestWindowCache = WindowCacheMachine.TestCase
TestWindowCache.settings = few(1)
