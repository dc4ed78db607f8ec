"""Many streams through one model: frames go in, results come out, and nothing runs in the background."""

from __future__ import annotations

import copy
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch

from ..cache_snapshot import SnapshotError, load_cache, save_cache
from ..configuration import (
    DEFAULT_THRESHOLD,
    DEFAULT_WINDOW_THRESHOLD,
    TemporalReuseConfig,
    as_temporal_reuse_config,
)
from ..fingerprint import weights_digest
from .caches import StreamCaches
from .control import FidelityGuard, LatencyControl
from .options import LARGEST_FACTOR, StreamOptions
from .result import Divergence, StreamResult
from .track import Call, FrameTrack, Seen, Track, Window, WindowTrack


@dataclass
class Lane:
    """
    One stream in the engine.

    Attributes:
        name: of the stream.
        track: its frames and windows.
        guard: what holds it to the dense model.
        results: number of results so far.
        next_frame: index of the first frame of the source that was not looked at.
        last_time: timestamp of the last frame that was handed in.
        dropped: frames dropped so far.
        ended, finished: whether no frame comes any more; whether its last result was given.
    """

    name: str
    track: Track
    guard: FidelityGuard
    results: int = 0
    next_frame: int = 0
    last_time: float = 0.0
    dropped: int = 0
    ended: bool = False
    finished: bool = False
    computed_tokens: int = 0
    total_tokens: int = 0
    multiply_adds: int = 0
    dense_multiply_adds: int = 0
    divergence: Divergence | None = None

    def add_cost(self, report: Any, row: int) -> None:
        """Adds what a call cost this stream."""
        if report is not None:
            self.computed_tokens += int(report.computed_tokens[row])
            self.total_tokens += int(report.total_tokens[row])
            self.multiply_adds += int(report.multiply_adds[row])
            self.dense_multiply_adds += int(report.dense_multiply_adds[row])


@dataclass
class StreamEngine:
    """
    Classifies many streams with one model, which goes on with each of them where it left off.

    It does one thing at a time: hand in frames with `push`, and let `step` make the calls for which there are frames.
    Streams start, stall and end independently; those that are ready go through the model together.

    Args:
        model: a video classifier with reuse, in evaluation mode.
        processor: a `TemporalReuseVideoProcessor`.
        options: how the streams are looked at.

    Raises:
        ValueError: if options and model do not fit; one sentence.

    Example:

    ```python
    >>> import hf_ttr
    >>> from hf_ttr.streaming import StreamEngine, StreamOptions
    >>> from hf_ttr.video import read_frames

    >>> model = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained("hf_ttr/assets/vit-demo")
    >>> processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained("hf_ttr/assets/vit-demo")
    >>> engine = StreamEngine(model, processor, StreamOptions(top_k=1))
    >>> engine.add("door")
    >>> frames, _ = read_frames("hf_ttr/assets/demo.mp4", lambda total: range(3))
    >>> for number, frame in enumerate(frames):
    ...     engine.push("door", frame, index=number, time=number / 25)
    ...     for result in engine.step():
    ...         print(result.stream, result.start, result.label)
    door 0.0 space shuttle
    door 0.04 space shuttle
    door 0.08 space shuttle
    ```
    """

    model: Any
    processor: Any
    options: StreamOptions = field(default_factory=StreamOptions)

    def __post_init__(self) -> None:
        config = self.model.config
        self.window_frames: int | None = config.window_frames
        self.settings = self._settings(as_temporal_reuse_config(config.temporal_reuse))
        self.base_threshold = self._base_threshold(self.settings)
        self.options.check_model(self.window_frames, self.base_threshold)
        most = LARGEST_FACTOR
        if self.options.max_threshold is not None and self.base_threshold is not None:
            most = self.options.max_threshold / self.base_threshold
        self.latency = LatencyControl(self.options.latency_budget_ms, most)
        self._dense = copy.copy(self.settings)
        self._dense.threshold, self._dense.compute_budget, self._dense.reduction = 0.0, None, []
        self._caches = StreamCaches()
        self._lanes: dict[str, Lane] = {}
        self._digest: str | None = None

    def _settings(self, settings: TemporalReuseConfig) -> TemporalReuseConfig:
        """Those of the model, in the mode that fits: without a delay nothing is known of what comes."""
        if self.window_frames is None and settings.mode != "off":
            settings = copy.copy(settings)
            settings.mode = "bidirectional" if self.options.lookahead else "causal"
        return settings

    def _base_threshold(self, settings: TemporalReuseConfig) -> float | None:
        if settings.mode == "off" or settings.compute_budget is not None:
            return None
        default = DEFAULT_THRESHOLD if self.window_frames is None else DEFAULT_WINDOW_THRESHOLD
        return settings.effective_threshold(default) or None

    @property
    def window(self) -> int:
        """Frames of a result."""
        return self.window_frames or self.options.window or 1

    @property
    def stride(self) -> int:
        """Frames from one result to the next."""
        return self.options.stride or self.window

    @property
    def names(self) -> list[str]:
        """Of the streams that are there."""
        return list(self._lanes)

    @property
    def memory_bytes(self) -> int:
        """Bytes that the caches of all streams hold."""
        return self._caches.memory_bytes

    def add(self, name: str) -> None:
        """
        Starts a stream.

        Raises:
            ValueError: if there is one of that name.
        """
        if name in self._lanes:
            raise ValueError(f"there is a stream {name!r} already; give this one another name.")
        options = self.options
        track: Track
        if self.window_frames is None:
            track = FrameTrack(self.window, self.stride, options.lookahead)
        else:
            track = WindowTrack(self.window, self.stride)
        highest = (self.base_threshold or 0.0) * self.latency.most
        self._lanes[name] = Lane(name, track, FidelityGuard(options.verify_every, options.max_divergence, highest))

    def remove(self, name: str) -> None:
        """Forgets a stream, and all that is held of it."""
        self._lane(name)
        del self._lanes[name]
        self._caches.drop([name])

    def wanted(self, name: str) -> int:
        """How many frames the stream needs for its next call; 0 if `step` should come first."""
        return self._lane(name).track.wanted()

    def push(
        self, name: str, pixels: Any, index: int, time: float, arrival: float | None = None, dropped: int = 0
    ) -> None:
        """
        Takes the next frame of a stream; every `frame_sampling_rate`-th is looked at.

        Args:
            name: of the stream.
            pixels: what the processor takes as a frame, such as a `uint8` array of shape `(height, width, 3)`; or a
                function that returns it, which is called if the frame is looked at.
            index (`int`): of the frame in its source.
            time (`float`): its timestamp, in seconds.
            arrival (`float`, *optional*): when it arrived, by `time.monotonic()`; by default now.
            dropped (`int`): frames of the stream that were dropped so far.
        """
        lane = self._lane(name)
        if isinstance(lane.track, WindowTrack):
            # What its track holds is part of a snapshot.
            lane.next_frame = index + 1
        lane.dropped, lane.last_time = dropped, time
        if index % self.options.frame_sampling_rate:
            return
        values = self.processor(
            [pixels() if callable(pixels) else pixels], do_sample_frames=False, return_tensors="pt"
        )
        tensor = values["pixel_values"][0, 0].to(self.model.device)
        lane.track.add(Seen(index, time, _now() if arrival is None else arrival), tensor)

    def end(self, name: str) -> None:
        """Says that no frame of a stream comes any more; the next `step` gives the rest of its results."""
        self._lane(name).ended = True

    def is_finished(self, name: str) -> bool:
        """Whether a stream has ended and all its results were given."""
        return self._lane(name).finished

    def step(self) -> list[StreamResult]:
        """Makes one call of each stream that has the frames for it, together; returns the results."""
        groups: dict[Any, list[tuple[Lane, Call]]] = defaultdict(list)
        idle = []
        for lane in self._lanes.values():
            call = lane.track.next_call(lane.ended)
            if call is not None:
                groups[(call.pixel_values.shape, call.stride, lane.name in self._caches)].append((lane, call))
            elif lane.ended and not lane.finished:
                idle.append(lane)
        results = []
        for group in groups.values():
            for start in range(0, len(group), self.options.batch_size):
                results += self._run(group[start : start + self.options.batch_size])
        for lane in idle:
            results += [self._result(lane, window) for window in lane.track.finish()]
            lane.finished = True
        return results

    def threshold(self, name: str) -> float | None:
        """The threshold in force for a stream."""
        lane = self._lane(name)
        if self.base_threshold is None:
            return None
        return min(self.base_threshold * self.latency.factor, lane.guard.limit)

    def save(self, name: str, path: str | os.PathLike[str]) -> None:
        """
        Writes all that is known of a stream to a safetensors file.

        Raises:
            OSError: if it cannot be written.
        """
        lane = self._lane(name)
        tensors, track = lane.track.state()
        notes = {
            "identity": self.identity(),
            "track": track,
            "guard": lane.guard.state(),
            "results": lane.results,
            "next_frame": lane.next_frame,
            "last_time": lane.last_time,
            "finished": lane.finished,
            "costs": [lane.computed_tokens, lane.total_tokens, lane.multiply_adds, lane.dense_multiply_adds],
        }
        save_cache(self._caches.peek(name), path, tensors, notes)

    def load(self, name: str, path: str | os.PathLike[str]) -> None:
        """
        Goes on with a stream from what `save` wrote, in this process or another.

        Args:
            name: of the stream, which is added.
            path: the file.

        Raises:
            SnapshotError: if the file is damaged, or of another model or other options; one sentence.
        """
        cache, tensors, notes = load_cache(path, self.model.device)
        where = f"the snapshot '{os.fspath(path)}'"
        before, now = notes.get("identity", {}), self.identity()
        if before.get("model") != now["model"]:
            raise SnapshotError(f"{where} is of another model; pass that model, or delete it to start anew.")
        if different := [name for name in now if before.get(name) != now[name]]:
            name = different[0]
            raise SnapshotError(
                f"{where} is of a stream with {name} {before.get(name)!r}, which is {now[name]!r} now; pass the same, "
                "or delete it to start anew."
            )
        self.add(name)
        lane = self._lanes[name]
        lane.track.restore(tensors, notes["track"])
        lane.guard.restore(notes["guard"])
        lane.results, lane.next_frame, lane.last_time = notes["results"], notes["next_frame"], notes["last_time"]
        lane.ended = lane.finished = notes["finished"]
        lane.computed_tokens, lane.total_tokens, lane.multiply_adds, lane.dense_multiply_adds = notes["costs"]
        if cache is not None:
            self._caches.put([name], cache)

    def next_frame(self, name: str) -> int:
        """Index of the first frame of the source that a stream has not gone through."""
        return self._lane(name).next_frame

    def last_time(self, name: str) -> float:
        """Timestamp of the last frame that a stream was given."""
        return self._lane(name).last_time

    def result_count(self, name: str) -> int:
        """How many results a stream had."""
        return self._lane(name).results

    def count_on(self, name: str, results: int) -> None:
        """Numbers the next result of a stream so that it follows as many results, if it had fewer."""
        lane = self._lane(name)
        lane.results = max(lane.results, results)

    def checks(self, name: str) -> tuple[int, int]:
        """How many dense checks a stream had, and how many of them found more than `max_divergence`."""
        guard = self._lane(name).guard
        return guard.checks, guard.exceeded

    @property
    def is_ready(self) -> bool:
        """Whether `step` has something to do."""
        return any(not lane.finished and (lane.ended or lane.track.wanted() == 0) for lane in self._lanes.values())

    def _lane(self, name: str) -> Lane:
        if name not in self._lanes:
            raise ValueError(f"there is no stream {name!r}; the streams are {', '.join(self._lanes) or 'none'}.")
        return self._lanes[name]

    def _model_digest(self) -> str:
        if self._digest is None:
            weights = weights_digest(self.model)
            self._digest = f"{type(self.model).__name__} {weights}"
        return self._digest

    def identity(self) -> dict[str, Any]:
        """The model, and the settings that a stream cannot change while it goes on, as JSON can hold them."""
        options = ("window", "stride", "lookahead", "frame_sampling_rate")
        return {
            "model": self._model_digest(),
            "mode": self.settings.mode,
            "threshold": self.settings.threshold,
            "compute_budget": self.settings.compute_budget,
            "reduction": [method.to_dict() for method in self.settings.reduction],
            **{name: getattr(self.options, name) for name in options},
        }

    @torch.inference_mode()
    def _run(self, group: list[tuple[Lane, Call]]) -> list[StreamResult]:
        """Calls the model once, for streams that are all new, or all not."""
        names = [lane.name for lane, _ in group]
        calls = [call for _, call in group]
        options: dict[str, Any] = {"temporal_reuse": self.settings}
        if self.settings.mode != "off":
            if names[0] in self._caches:
                options["past_key_values"] = self._caches.take(names)
            if self.base_threshold is not None:
                options["thresholds"] = torch.tensor([self.threshold(name) for name in names], dtype=torch.float64)
            if self.window_frames is not None:
                options["stride"] = calls[0].stride
        out = self.model(torch.stack([call.pixel_values for call in calls]), **options)
        logits = out.logits[:, None] if self.window_frames is not None else out.frame_logits
        if out.past_key_values is not None:
            self._caches.put(names, out.past_key_values)
        for row, (lane, call) in enumerate(group):
            lane.add_cost(out.reuse, row)
            if isinstance(lane.track, FrameTrack):
                lane.next_frame = call.new[-1].index + 1
        if self.settings.mode != "off":
            due = [row for row, (lane, call) in enumerate(group) if lane.guard.is_due(len(call.new))]
            if due:
                logits = self._check([group[row] for row in due], logits.clone(), due)
        results = []
        for (lane, call), own in zip(group, logits.float().cpu()):
            results += [self._result(lane, window) for window in lane.track.absorb(call, own)]
        return results

    def _check(self, group: list[tuple[Lane, Call]], logits: torch.Tensor, rows: list[int]) -> torch.Tensor:
        """
        Runs the model without reuse on the last frames (or windows) of some streams, which go on from there.

        Returns:
            `torch.Tensor`: the logits, those of the given rows replaced by the dense ones.
        """
        last = slice(None) if self.window_frames is not None else slice(-1, None)
        frames = torch.stack([call.pixel_values[last] for _, call in group])
        out = self.model(frames, temporal_reuse=self._dense)
        self._caches.put([lane.name for lane, _ in group], out.past_key_values)
        for number, (row, (lane, _)) in enumerate(zip(rows, group)):
            expected, got = out.logits[number].float().log_softmax(-1), logits[row, -1].float().log_softmax(-1)
            kl = max(0.0, (expected.exp() * (expected - got)).sum().item())
            lane.divergence = Divergence(kl, bool(expected.argmax() == got.argmax()))
            lane.guard.observe(lane.divergence, self.threshold(lane.name) or 0.0)
            lane.multiply_adds += int(out.reuse.multiply_adds[number])
            logits[row, -1] = out.logits[number]
        return logits

    def _result(self, lane: Lane, window: Window) -> StreamResult:
        scores = window.logits.softmax(-1)
        best = scores.topk(min(self.options.top_k, len(scores)))
        latency = 1000 * (_now() - window.last.arrival)
        self.latency.observe(latency)
        result = StreamResult(
            stream=lane.name,
            number=lane.results,
            first_frame=window.first.index,
            last_frame=window.last.index,
            start=window.first.time,
            end=window.last.time,
            labels=[
                {"label": self.model.config.id2label[label], "score": score}
                for score, label in zip(best.values.tolist(), best.indices.tolist())
            ],
            computed_share=lane.computed_tokens / lane.total_tokens if lane.total_tokens else 1.0,
            multiply_adds=lane.multiply_adds,
            dense_multiply_adds=lane.dense_multiply_adds,
            latency_ms=latency,
            threshold=self.threshold(lane.name),
            dropped=lane.dropped,
            divergence=lane.divergence,
        )
        lane.results += 1
        lane.computed_tokens = lane.total_tokens = lane.multiply_adds = lane.dense_multiply_adds = 0
        lane.divergence = None
        return result


def _now() -> float:
    return time.monotonic()
