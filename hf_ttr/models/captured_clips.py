"""
Clips in pieces of fixed shapes, whose kernels are launched at once.

A clip is its first frame, computed whole, and pieces of up to `MAX_FRAMES` frames that are planned together. The first
frame has the same shapes every time. A piece has two parts, as steps of live streams have: the first embeds and plans,
the host reads how many tokens that computes, and the second computes so many rows, rounded up to one of a few sizes.
What is left of a size is padding: rows behind the last, which no frame owns and to which no link leads.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch

from ..caching.cache import TemporalReuseCache
from ..configuration import TemporalReuseConfig
from ..execution.flops import ReuseReport, TransformerCost
from ..execution.graphs import Graphs
from ..execution.kernels.frame_links import FrameLinks
from ..execution.packed import FrameCall, ObservedFrames
from ..modeling_outputs import TemporalReuseModelOutput
from ..planning.plan import ReusePlan, packed_rows
from ..planning.planner import MAX_FRAMES, Planner, Spent
from ..planning.stream_state import StreamState
from .captured_steps import StepPlan, calls_of_layers, multiply_adds, sizes_of_steps, take_apart
from .capturing import Captured


@dataclass
class PiecePlan(StepPlan):
    """A plan of some frames, between which tokens are interpolated; the host knows the size of the piece alone."""

    is_hold = False  # type: ignore[assignment]
    is_single = False  # type: ignore[assignment]


class CapturedClips(Captured):
    """The clips of a model, by number of clips, size of frames and settings."""

    subject = "Clips go"

    @property
    def captured(self) -> int:
        """See `Captured.captured`."""
        return sum(clips.captured for clips in self._steps.values())

    def run(
        self,
        video: torch.Tensor,
        settings: TemporalReuseConfig,
        cache: TemporalReuseCache,
        reads: int | None,
        make_planner: Callable[[torch.Tensor], Planner],
    ) -> TemporalReuseModelOutput | None:
        """
        Clips, from their first frame on.

        Args:
            video (`torch.Tensor` of shape `(batch, frames, channels, height, width)`): the clips.
            settings: in mode "bidirectional", without reduction.
            cache: an empty one, which then holds the streams.
            reads (`int`, *optional*): as in `FrameModel.encode_frames`.
            make_planner: makes the planner for frames, `(frames, channels, height, width)`.

        Returns:
            The output; or `None` where the clips are for the usual way: nearly everything is computed, or they hold
            numbers that are not finite. The cache is still empty then.
        """
        key = (video.shape[0], *video.shape[2:], video.dtype, reads, repr(vars(settings)))

        def make() -> _Clips:
            return _Clips(self.body, self.graphs, video[:, 0], reads, make_planner)

        return self._attempt(key, make, lambda clips: clips(video, cache))


class _Clips:
    """Clips of one size: where their streams lie, the first frame, and pieces by their number of frames."""

    def __init__(
        self,
        body: Any,
        graphs: Graphs,
        first: torch.Tensor,
        reads: int | None,
        make_planner: Callable[[torch.Tensor], Planner],
    ) -> None:
        self.body, self.graphs, self.reads = body, graphs, reads
        self.pixels = first.clone()
        self.planner = make_planner(self.pixels)
        prefix, positions = self.planner.prefix_tokens, self.planner.grid[0] * self.planner.grid[1]
        self.batch, self.tokens = len(first), prefix + positions
        self.cost: TransformerCost = body.parts.cost(body, positions)
        self.whole = ReusePlan.whole((self.batch, 1, self.tokens), first.device, self.planner.observes_attention)
        layers = len(body.parts.layers_of(body))
        self.calls = FrameCall.for_layers(self.whole, layers, reads)
        self.cache = body.cache_class(layers)
        self.planned_frames = torch.zeros((), dtype=torch.long, device=first.device)
        self.planned_tokens = torch.zeros(self.batch, dtype=torch.long, device=first.device)
        self.owner: weakref.ref[TemporalReuseCache] | None = None
        self.pieces: dict[int, _Piece] = {}
        self._compute_first()
        # Where the first frame leaves the streams, and everything behind it finds and leaves them. Copies, as a state
        # may hold tensors of the plan, which stay as they are.
        self.state = StreamState(*(tensor.clone() for tensor in self.cache.streams.tensors()))
        self.layers = [(layer.keys, layer.values) for layer in self.cache.layers]
        self.output = self.cache._output
        self.first = graphs.capture(self._first_to_places)

    @property
    def captured(self) -> int:
        """How many graphs there are."""
        return 1 + sum(1 + len(piece.runs) for piece in self.pieces.values())

    def _compute_first(self) -> None:
        """The first frame of all clips; the internal cache then holds what comes of it."""
        body, prefix = self.body, self.planner.prefix_tokens
        tokens = body.parts.embed(body, self.pixels, {})
        inputs = body.parts.layer_inputs(body, self.pixels, {})
        self.cache.streams = None
        states = body._run_layers(tokens, self.cache, self.calls, inputs, return_dict=True).last_hidden_state
        if self.reads is None:
            states = self.cache.update_output(states, self.whole)
        self.states = states[:, None]
        observed = self.calls[0].observed
        self.cache.streams = self.planner.remember(
            self.whole,
            tokens[:, None, prefix:],
            None,
            None if observed is None else observed.streams,
            self.cache.take_attention(),
        )

    def _first_to_places(self) -> None:
        """The same, as far as it is captured: what comes of it lies where pieces find it."""
        self._compute_first()
        self.keep()
        self.planned_frames.fill_(1)
        self.planned_tokens.fill_(self.tokens)

    def place(self) -> None:
        """Lets the internal cache read and write where the streams lie."""
        self.cache.streams = self.state
        for layer, (keys, values) in zip(self.cache.layers, self.layers):
            layer.keys, layer.values = keys, values
        self.cache._output = self.output

    def keep(self) -> None:
        """Moves what the internal cache holds to where the streams lie."""
        for new, place in zip(self.cache.streams.tensors(), self.state.tensors()):
            place.copy_(new)
        for layer, (keys, values) in zip(self.cache.layers, self.layers):
            keys.copy_(layer.keys)
            values.copy_(layer.values)
        if self.output is not None:
            self.output.copy_(self.cache._output)

    def __call__(self, video: torch.Tensor, cache: TemporalReuseCache) -> TemporalReuseModelOutput | None:
        before = None if self.owner is None else self.owner()
        if before is not None and before is not cache:
            take_apart(before, self.state.tensors(), self.layers, self.output)
        self.owner = None
        self.pixels.copy_(video[:, 0])
        self.first()
        outputs, reports = [self.states.clone()], [self._report_of_first()]
        for frames in video[:, 1:].split(MAX_FRAMES, dim=1):
            piece = self.pieces.get(frames.shape[1])
            if piece is None:
                piece = self.pieces[frames.shape[1]] = _Piece(self, frames)
            found = piece(frames)
            if found is None:
                return None
            outputs.append(found[0])
            reports.append(found[1])
        self._hand_over(cache)
        return TemporalReuseModelOutput(
            last_hidden_state=torch.cat(outputs, dim=1), past_key_values=cache, reuse=ReuseReport.join(reports)
        )

    def _hand_over(self, cache: TemporalReuseCache) -> None:
        """Lets a cache hold the streams that lie here, until others come."""
        self.owner = weakref.ref(cache)
        # A state of its own: what a cache puts in the place of a tensor must not be taken for where streams lie.
        cache.streams = StreamState(*self.state.tensors())
        for layer, (keys, values) in zip(cache.layers, self.layers):
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
        cache._output = self.output

    def _report_of_first(self) -> ReuseReport:
        counts = torch.full((self.batch,), self.tokens, dtype=torch.long, device=self.pixels.device)
        observed = torch.full_like(counts, int(self.planner.observes_attention))
        return self.report(counts, observed, 1, 0)

    def report(self, counts: torch.Tensor, observed: torch.Tensor, frames: int, planning: int) -> ReuseReport:
        """
        Of so many frames of each stream.

        Args:
            counts, observed (`torch.LongTensor` of shape `(batch,)`): computed tokens, and whole frames whose
                attention was recorded.
            frames (`int`): how many there were.
            planning (`int`): multiply-adds of planning them.
        """
        cost, tokens = self.cost, self.tokens
        spent = planning + multiply_adds(cost, counts, observed, frames, tokens, self.reads)
        return ReuseReport.of_counts(counts, frames * tokens, spent, cost.dense(frames, tokens), cost.layers)


class _Piece:
    """Frames of clips that are planned together."""

    def __init__(self, clips: _Clips, frames: torch.Tensor) -> None:
        self.clips, self.pixels = clips, frames.flatten(0, 1).clone()
        self.shape = (clips.batch, frames.shape[1], clips.tokens)
        self.sizes = sizes_of_steps(clips.tokens, clips.planner.prefix_tokens, clips.batch * frames.shape[1])
        self.runs: dict[tuple[int, bool], _Run] = {}
        self.look = clips.graphs.capture(self._look)

    def _look(self) -> None:
        """Embeds and plans; what comes of it lies where the second part finds it."""
        clips, prefix = self.clips, self.clips.planner.prefix_tokens
        embedded = clips.body.parts.embed(clips.body, self.pixels, {})
        self.tokens = embedded.unflatten(0, self.shape[:2])
        spent = Spent(clips.planned_frames, clips.planned_tokens)
        self.plan = clips.planner.plan_next(self.tokens[:, :, prefix:], clips.state, spent)
        finite = torch.isfinite(self.pixels.sum(dtype=torch.float32))
        self.whole = self.plan.computed.all(-1)
        self.asked = torch.stack([self.plan.computed.sum(), self.whole.sum(), finite.long()])

    def __call__(self, frames: torch.Tensor) -> tuple[torch.Tensor, ReuseReport] | None:
        self.pixels.copy_(frames.flatten(0, 1))
        self.look()
        total, whole, finite = self.clips.graphs.read(self.asked)
        size = next((size for size in self.sizes if size >= total), None)
        if size is None or not finite:
            return None
        # Attention is recorded in whole frames alone: other pieces have no work with it.
        key = size, self.clips.planner.observes_attention and whole > 0
        if key not in self.runs:
            self.runs[key] = _Run(self, *key)
        run = self.runs[key]
        run.replay()
        counts, observed = run.counts.clone(), self.whole.any(1).long() * key[1]
        report = self.clips.report(counts, observed, self.shape[1], self.plan.planning_multiply_adds)
        return run.states.clone(), report


class _Run:
    """The second part of a piece, of so many rows; `observes` is whether frames among them are computed whole."""

    def __init__(self, piece: _Piece, size: int, observes: bool) -> None:
        self.piece, self.size, self.observes = piece, size, observes
        # Captures run more than once, and each time from what the streams were before.
        before = [tensor.clone() for tensor in self._streams()]
        self.replay = piece.clips.graphs.capture(self._work)
        for place, tensor in zip(self._streams(), before):
            place.copy_(tensor)

    def _streams(self) -> list[torch.Tensor]:
        """All that a run writes and reads of the streams."""
        clips = self.piece.clips
        found = [*clips.state.tensors(), *(tensor for pair in clips.layers for tensor in pair)]
        found += [clips.planned_frames, clips.planned_tokens]
        return found if clips.output is None else [*found, clips.output]

    def _work(self) -> None:
        piece, clips = self.piece, self.piece.clips
        body, planner, outputs = clips.body, clips.planner, clips.reads
        batch, frames, tokens = piece.shape
        computed = piece.plan.computed
        # Padding is the first token again and again.
        rows = packed_rows(computed, self.size)
        counts = computed.sum(-1).flatten()
        starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        parts = vars(piece.plan)
        plan = PiecePlan(**{entry.name: parts[entry.name] for entry in fields(ReusePlan)}, packed=rows)
        left, right, alpha = (part.flatten(0, 1) for part in (plan.left, plan.right, plan.alpha))
        left, right, alpha = left.int(), right.int(), alpha.float().contiguous()
        links = FrameLinks(starts.int(), left, right, alpha, longest=tokens, is_hold=False)
        streams, observed = torch.arange(batch, device=rows.device), None
        # Of a stream without one it is the last frame, and nothing comes of that.
        last_whole = streams * frames + frames - 1 - piece.whole.flip(1).long().argmax(1)
        if self.observes:
            observed = ObservedFrames(streams, last_whole, starts[last_whole], list(range(batch)))
        calls = calls_of_layers(plan, self.size, links, observed, outputs, len(clips.layers))
        clips.place()
        inputs = body.parts.layer_inputs(body, piece.pixels, {})
        packed = piece.tokens.flatten(0, 2)[rows][None]
        states = body._run_layers(packed, clips.cache, calls, inputs, return_dict=True).last_hidden_state
        if outputs is None:
            self.states = clips.cache.update_output(states, plan).unflatten(0, (batch, frames))
        else:
            self.states = states[0].unflatten(0, (batch, frames, outputs))
        patches = piece.tokens[:, :, planner.prefix_tokens :]
        state = planner.remember(plan, patches, clips.state)
        attention = clips.cache.take_attention()
        if attention is not None:
            seen = attention[:, planner.prefix_tokens :]
            state.saliency = torch.where(piece.whole.any(1, keepdim=True), seen, state.saliency)
        clips.cache.streams = state
        self.counts = computed.sum((1, 2))
        clips.keep()
        clips.planned_frames += frames
        clips.planned_tokens += self.counts


__all__ = ["CapturedClips"]
