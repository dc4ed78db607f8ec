"""
Live streams in steps of fixed shapes, whose kernels are launched at once.

How many tokens a plan computes depends on the video, and a CUDA graph is made for fixed shapes. So a step has two
parts. The first embeds the frames and plans. The host reads three numbers of it: that is all it waits for. The second
computes as many rows as the next larger of a few sizes has. What is left of that size is not padding: the tokens that
come next are computed as well, those whose errors have added up to most.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import torch

from ..caching.cache import TemporalReuseCache
from ..configuration import TemporalReuseConfig
from ..execution.flops import ReuseReport, TransformerCost
from ..execution.graphs import Graphs
from ..execution.kernels.frame_links import FrameLinks
from ..execution.packed import FrameCall, ObservedFrames, PackedFrames, PackedLayout
from ..modeling_outputs import TemporalReuseModelOutput
from ..planning.plan import NEVER, ReusePlan
from ..planning.planner import Planner
from ..planning.stream_state import StreamState
from .capturing import Captured


SMALLEST, GROWTH = 16, 1.1
"""Rows of the smallest step, and how much larger each next one is: on average a twentieth is filled up."""

LARGEST_SHARE = 0.75
"""Of the tokens of all streams, above which a step goes the usual way, which is made for whole frames as well."""


def sizes_of_steps(tokens: int, prefix: int, streams: int) -> list[int]:
    """
    Numbers of rows that steps have, increasing.

    Args:
        tokens (`int`): of a frame.
        prefix (`int`): of these, those in front of the patches, which are always computed.
        streams (`int`): how many streams there are.
    """
    largest = int(LARGEST_SHARE * tokens * streams)
    found, size = [], float(max(SMALLEST, prefix * streams))
    while int(size) < largest:
        found.append(int(size))
        size = max(size * GROWTH, size + 1)
    return [*found, largest] if largest else []


@dataclass
class StepPlan(ReusePlan):
    """A plan of the next frame of streams, of which the host knows nothing but how many rows there are in all."""

    packed: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))

    is_dense = False  # type: ignore[assignment]
    is_hold = True  # type: ignore[assignment]

    @property
    def rows(self) -> torch.Tensor:  # type: ignore[override]
        """See `ReusePlan.rows`."""
        return self.packed


@dataclass(kw_only=True)
class StepFrames(PackedFrames):
    """The computed rows of a step: how many of them belong to a frame is known to the device alone, in `links`."""

    links_alone: ClassVar[bool] = True

    @property
    def layout(self) -> PackedLayout:  # type: ignore[override]
        """Not known to the host."""
        raise NotImplementedError("attention that adds something to the scores has no steps of fixed shapes")


class CapturedSteps(Captured):
    """The steps of a model of frames, by number of streams, size of frames and settings."""

    def step(
        self,
        video: torch.Tensor,
        settings: TemporalReuseConfig,
        cache: TemporalReuseCache,
        reads: int | None,
        make_planner: Callable[[torch.Tensor], Planner],
    ) -> TemporalReuseModelOutput | None:
        """
        The next frame of each stream.

        Args:
            video (`torch.Tensor` of shape `(batch, 1, channels, height, width)`): the frames.
            settings: in mode "causal", without reduction.
            cache: that holds the streams; what it holds is moved to where the steps read it.
            reads (`int`, *optional*): as in `FrameModel.encode_frames`.
            make_planner: makes the planner for frames, `(frames, channels, height, width)`.

        Returns:
            The output; or `None` where the frames are for the usual way: the streams are new, or nearly everything is
            computed, or they hold numbers that are not finite. The cache is as it was then.
        """
        return self._attempt(
            (tuple(video.shape), video.dtype, reads, repr(vars(settings))),
            lambda: _Steps(self.body, self.graphs, video, cache, reads, make_planner),
            lambda steps: steps(video, cache),
        )


class _Steps:
    """The steps of so many streams of one size."""

    def __init__(
        self,
        body: Any,
        graphs: Graphs,
        video: torch.Tensor,
        cache: TemporalReuseCache,
        reads: int | None,
        make_planner: Callable[[torch.Tensor], Planner],
    ) -> None:
        assert cache.streams is not None
        self.body, self.graphs, self.reads = body, graphs, reads
        self.pixels = video[:, 0].clone()
        self.planner = make_planner(self.pixels)
        self.cost: TransformerCost = body.parts.cost(body, self.planner.grid[0] * self.planner.grid[1])
        self.owner: weakref.ref[TemporalReuseCache] = weakref.ref(cache)
        self.state = StreamState(*(tensor.clone() for tensor in cache.streams.tensors()))
        # Where the steps write: not what inference mode, which forbids that outside itself, may have made.
        self.buffers = self.state.tensors()
        self.layers = [(layer.keys.clone(), layer.values.clone()) for layer in _filled(cache)]
        self.output = None if cache._output is None else cache._output.clone()
        batch = video.shape[0]
        self.shape = (batch, 1, self.state.age.shape[1])
        self.sizes = sizes_of_steps(self.shape[2], self.planner.prefix_tokens, batch)
        self.runs: dict[tuple[int, bool], _Run] = {}
        self._take_over(cache)
        self.look = graphs.capture(self._look)

    def _look(self) -> None:
        """Embeds and plans; what comes of it lies where the second part finds it."""
        prefix = self.planner.prefix_tokens
        self.tokens = self.body.parts.embed(self.body, self.pixels, {})[:, None]
        self.patches = self.tokens[:, :, prefix:]
        chosen, self.debt = self.planner.choose_next(self.patches, self.state)
        always = chosen.new_ones(chosen.shape[0], prefix)
        self.chosen = torch.cat([always, chosen], dim=1)
        # What is chosen comes first, then what has the largest errors.
        self.urgency = torch.cat([always, torch.where(chosen, torch.inf, self.debt)], dim=1)
        self.urgency[:, :prefix] = torch.inf
        counts = self.chosen.sum(1)
        finite = torch.isfinite(self.pixels.sum(dtype=torch.float32))
        self.asked = torch.stack([counts.sum(), counts.max(), finite.long()])

    def __call__(self, video: torch.Tensor, cache: TemporalReuseCache) -> TemporalReuseModelOutput | None:
        self._take_over(cache)
        self.pixels.copy_(video[:, 0])
        self.look()
        total, longest, finite = self.graphs.read(self.asked)
        size = next((size for size in self.sizes if size >= total), None)
        if size is None or not finite:
            return None
        # Attention is recorded in whole frames alone: other steps have no work with it.
        key = size, self.planner.observes_attention and longest == self.shape[2]
        if key not in self.runs:
            self.runs[key] = _Run(self, *key)
        self.runs[key].replay()
        return self.runs[key].result(cache)

    def settle(self, computed: torch.Tensor, attention: torch.Tensor | None) -> None:
        """
        The state of the streams after a step.

        Args:
            computed (`torch.BoolTensor` of shape `(batch, tokens)`): what was computed.
            attention (`torch.FloatTensor` of shape `(batch, tokens)`, *optional*): of the first token of each stream;
                it counts where the frame was to be computed whole.
        """
        state, prefix = self.state, self.planner.prefix_tokens
        assert state.debt is not None
        patches = computed[:, prefix:]
        state.reference.copy_(torch.where(patches[..., None], self.patches[:, 0], state.reference))
        state.age.copy_(torch.where(computed, 1, (state.age + 1).clamp(max=NEVER)))
        state.debt.copy_(self.debt.masked_fill(patches, 0.0))
        if attention is not None:
            is_whole = self.chosen.all(1, keepdim=True)
            state.saliency.copy_(torch.where(is_whole, attention[:, prefix:], state.saliency))

    def _take_over(self, cache: TemporalReuseCache) -> None:
        """Moves what a cache holds to where the steps read it; a cache whose place is taken gets a copy of its own."""
        before = self.owner()
        if before is not None and before is not cache:
            take_apart(before, self.buffers, self.layers, self.output)
        self.owner = weakref.ref(cache)
        assert cache.streams is not None
        for entry, own in zip(fields(StreamState), self.buffers):
            held = getattr(cache.streams, entry.name)
            if held is not own:
                own.copy_(held)
                setattr(self.state, entry.name, own)
        cache.streams = self.state
        for layer, (keys, values) in zip(_filled(cache), self.layers):
            layer.keys, layer.values = _moved(layer.keys, keys), _moved(layer.values, values)
        if self.output is not None:
            cache._output = _moved(cache._output, self.output)


class _Run:
    """The second part of a step, of so many rows; `observes` is whether frames among them are computed whole."""

    def __init__(self, steps: _Steps, size: int, observes: bool) -> None:
        self.steps, self.size, self.observes = steps, size, observes
        # A capture runs more than once, and each time from what the streams were before.
        before = [tensor.clone() for tensor in steps.buffers]
        self.replay = steps.graphs.capture(self._work)
        for place, tensor in zip(steps.buffers, before):
            place.copy_(tensor)

    def _work(self) -> None:
        steps, body = self.steps, self.steps.body
        (batch, _, tokens), outputs = steps.shape, steps.reads
        # Everything that is chosen is infinitely urgent; ties are among such alone, or among errors of 0.
        rows = steps.urgency.flatten().topk(self.size).indices.sort().values
        computed = torch.zeros(batch * tokens, dtype=torch.bool, device=rows.device).index_fill(0, rows, True)
        computed = computed.view(batch, tokens)
        counts = computed.sum(1)
        starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        held = torch.arange(batch * tokens, device=rows.device).view(batch, 1, tokens)
        none = torch.zeros(batch, 1, tokens, device=rows.device)
        plan = StepPlan(computed[:, None], held, held, none, steps.state.age, has_past=True, packed=rows)
        cells = held[:, 0].int()
        links = FrameLinks(starts.int(), cells, cells, none[:, 0], longest=tokens, is_hold=True)
        observed = None
        if self.observes:
            streams = torch.arange(batch, device=rows.device)
            observed = ObservedFrames(streams, streams, starts[:-1], list(range(batch)))
        calls = calls_of_layers(plan, self.size, links, observed, outputs, len(steps.layers))
        cache = steps.owner()
        assert cache is not None
        inputs = body.parts.layer_inputs(body, steps.pixels, {})
        packed = steps.tokens.flatten(0, 2)[rows][None]
        states = body._run_layers(packed, cache, calls, inputs, return_dict=True).last_hidden_state
        if outputs is None:
            self.states = cache.update_output(states, plan).unflatten(0, (batch, 1))
        else:
            self.states = states[0].unflatten(0, (batch, 1, outputs))
        self.report = self._report(counts)
        steps.settle(computed, cache.take_attention())

    def _report(self, counts: torch.Tensor) -> torch.Tensor:
        """Rows and multiply-adds of each stream, `torch.LongTensor` of shape `(2, streams)`."""
        steps = self.steps
        observed = steps.chosen.all(1) & self.observes
        return torch.stack([counts, multiply_adds(steps.cost, counts, observed, 1, steps.shape[2], steps.reads)])

    def result(self, cache: TemporalReuseCache) -> TemporalReuseModelOutput:
        """What the caller gets: copies, as the next step writes over what is here."""
        steps = self.steps
        counts, spent = self.report.clone()
        dense = steps.cost.dense(1, steps.shape[2])
        report = ReuseReport.of_counts(counts, steps.shape[2], spent, dense, steps.cost.layers)
        return TemporalReuseModelOutput(last_hidden_state=self.states.clone(), past_key_values=cache, reuse=report)


def calls_of_layers(
    plan: StepPlan,
    size: int,
    links: FrameLinks,
    observed: ObservedFrames | None,
    outputs: int | None,
    layers: int,
) -> list[FrameCall]:
    """
    A call of so many rows for each layer; as `FrameCall.for_layers`, of a plan that the device alone knows.

    Args:
        plan: the plan.
        size (`int`): rows, those included that no frame owns.
        links: of all layers but the last.
        observed: of which frames attention is recorded.
        outputs (`int`, *optional*): how many tokens in front of each frame the last layer has outputs for.
        layers (`int`): how many there are.
    """
    call = last = StepFrames(plan, [size], None, None, observed, links=links)
    if outputs is not None:
        asking = torch.arange(len(links.query_starts), device=links.left.device) * outputs
        few = replace(links, query_starts=asking.int(), longest=outputs)
        first = (links.query_starts[:-1, None].long() + torch.arange(outputs, device=asking.device)).flatten()
        if observed is not None:
            observed = replace(observed, rows=asking[observed.frames])
        last = StepFrames(plan, [size], outputs, None, observed, links=few, output_rows=first)
    return [*[call] * (layers - 1), last]


def multiply_adds(
    cost: TransformerCost, counts: torch.Tensor, observed: torch.Tensor, frames: int, tokens: int, outputs: int | None
) -> torch.Tensor:
    """
    Of streams of which the device alone knows how many rows are computed; they grow evenly with these.

    Args:
        cost: the parts of the model.
        counts, observed (`torch.Tensor` of shape `(batch,)`): rows, and frames whose attention is recorded.
        frames, tokens (`int`): frames of each stream, and tokens of each of them.
        outputs (`int`, *optional*): as in `calls_of_layers`.

    Returns:
        `torch.LongTensor` of shape `(batch,)`.
    """

    def of(rows: int) -> int:
        every = cost.layer(rows, rows * tokens)
        few = frames * (outputs or 0)
        last = every if outputs is None else cost.layer_of_few(rows, few * tokens, few)
        return frames * cost.patch + (cost.layers - 1) * every + last

    return of(0) + counts * (of(1) - of(0)) + observed * cost.observed(tokens)


def _filled(cache: TemporalReuseCache) -> list[Any]:
    """The layers of a cache, on the device on which they were computed."""
    for layer in cache.layers:
        layer.prefetch()
    return list(cache.layers)


def _moved(held: Any, place: torch.Tensor) -> torch.Tensor:
    """A tensor at its place, to which it is copied if it is not there."""
    if held is not None and held.data_ptr() == place.data_ptr():
        found: torch.Tensor = held
        return found
    if held is not None:
        place.copy_(held)
    return place


def take_apart(
    cache: TemporalReuseCache,
    state: list[torch.Tensor],
    layers: list[tuple[torch.Tensor, torch.Tensor]],
    output: torch.Tensor | None,
) -> None:
    """What a cache holds at the given places, those of its streams, keys, values and outputs, is copied elsewhere."""
    places = {tensor.data_ptr() for tensor in (*state, *(one for pair in layers for one in pair))}
    places |= set() if output is None else {output.data_ptr()}

    def apart(held: Any) -> Any:
        return held.clone() if held is not None and held.data_ptr() in places else held

    if cache.streams is not None:
        cache.streams = StreamState(*map(apart, cache.streams.tensors()))
    for layer in cache.layers:
        layer.keys, layer.values = apart(layer.keys), apart(layer.values)
    cache._output = apart(cache._output)


__all__ = ["CapturedSteps", "calls_of_layers", "multiply_adds", "sizes_of_steps", "take_apart"]
