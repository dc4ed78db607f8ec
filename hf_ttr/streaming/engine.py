"""Many streams through one model: frames go in, results come out, and nothing runs in the background."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from transformers import __version__ as transformers_version

from ..answers.scores import ScoreKind, best_labels, divergence, same_answer, score_kind, to_scores
from ..caching.fingerprint import weights_digest
from ..caching.snapshot import SnapshotError, check_cache, load_cache, save_cache
from ..checks import is_number
from ..configuration import TemporalReuseConfig, as_temporal_reuse_config, default_threshold
from ..display import scrub, shown
from .base import SourceError, label, one_line
from .caches import StreamCaches
from .control import FidelityGuard, LatencyControl
from .options import LARGEST_FACTOR, StreamOptions
from .result import Divergence, StreamResult, is_count, is_divergence, iso_time
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
        failed: whether it ended with a fault.
        error: that of its frames, if they could not be classified.
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
    failed: bool = False
    error: SourceError | None = None
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
    Streams start, stall and end independently; those that are ready go through the model together. One whose frames
    cannot be classified, or get scores that are no numbers, ends with that fault (`error`); the others go on.

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

    >>> model = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(hf_ttr.example("vit-demo"))
    >>> processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(hf_ttr.example("vit-demo"))
    >>> engine = StreamEngine(model, processor, StreamOptions(top_k=1))
    >>> engine.add("door")
    >>> frames, _ = read_frames(hf_ttr.example("demo.mp4"), lambda total: range(3))
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
        self._kind = self.options.function_to_apply or score_kind(config.problem_type)
        self._dense = copy.copy(self.settings)
        self._dense.threshold, self._dense.compute_budget, self._dense.reduction = 0.0, None, []
        self._caches = StreamCaches()
        self._lanes: dict[str, Lane] = {}
        self._identity: dict[str, Any] | None = None
        # When the call began that the results are of.
        self._called = 0.0

    def _settings(self, settings: TemporalReuseConfig) -> TemporalReuseConfig:
        """Those of the model, in the mode that fits: without a delay nothing is known of what comes."""
        if self.window_frames is None and settings.mode != "off":
            settings = copy.copy(settings)
            settings.mode = "bidirectional" if self.options.lookahead else "causal"
        return settings

    def _base_threshold(self, settings: TemporalReuseConfig) -> float | None:
        if settings.mode == "off" or settings.compute_budget is not None:
            return None
        return settings.effective_threshold(default_threshold(self.model.config.plans_windows)) or None

    @property
    def score_kind(self) -> ScoreKind:
        """What makes scores of logits."""
        return self._kind

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
        self,
        name: str,
        pixels: Any,
        index: int,
        time: float,
        arrival: float | None = None,
        dropped: int = 0,
        is_live: bool = True,
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
            is_live (`bool`): whether it came in its own time, so that `latency_budget_ms` is for all of its latency.
                That of frames which are read as fast as they are taken is for the time of computing.

        Raises:
            ValueError: if index or time cannot be those of a frame.
        """
        lane = self._lane(name)
        if not (is_count(index) and is_number(time)):
            raise ValueError(f"a frame has index {index!r} and time {time!r}; pass a whole number, and seconds.")
        if index % self.options.frame_sampling_rate == 0:
            began = _now()
            values = self.processor(
                [pixels() if callable(pixels) else pixels], do_sample_frames=False, return_tensors="pt"
            )
            tensor = values["pixel_values"][0, 0].to(self.model.device)
            now = _now()
            arrival = began if arrival is None else arrival
            lane.track.add(Seen(index, time, arrival, _wall() - (now - arrival), now - began, is_live), tensor)
        if isinstance(lane.track, WindowTrack):
            # What its track holds is part of a snapshot.
            lane.next_frame = index + 1
        lane.dropped, lane.last_time = dropped, time

    def end(self, name: str, failed: bool = False) -> None:
        """
        Says that no frame of a stream comes any more; the next `step` gives the rest of its results.

        Args:
            name: of the stream.
            failed (`bool`): whether it broke off, so that a snapshot of it is one of a stream that goes on.
        """
        lane = self._lane(name)
        lane.ended, lane.failed = True, failed or lane.failed

    def is_finished(self, name: str) -> bool:
        """Whether a stream has ended and all its results were given."""
        return self._lane(name).finished

    def error(self, name: str) -> SourceError | None:
        """What ended a stream, if its frames could not be classified."""
        return self._lane(name).error

    def step(self) -> list[StreamResult]:
        """Makes one call of each stream that has the frames for it, together; returns the results."""
        groups: dict[Any, list[tuple[Lane, Call]]] = defaultdict(list)
        idle = []
        for lane in self._lanes.values():
            call = self._next_call(lane)
            if call is not None:
                groups[(call.pixel_values.shape, call.stride, lane.name in self._caches)].append((lane, call))
            elif lane.ended and not lane.finished:
                idle.append(lane)
        results = []
        for group in groups.values():
            for start in range(0, len(group), self.options.batch_size):
                results += self._run(group[start : start + self.options.batch_size])
        self._called = _now()
        for lane in idle:
            results += self._results(lane, lane.track.finish)
            lane.finished = True
        return results

    def _next_call(self, lane: Lane) -> Call | None:
        if lane.error is not None:
            return None
        try:
            return lane.track.next_call(lane.ended)
        except Exception as fault:  # frames that do not fit each other
            self._fail(lane, fault)
            return None

    def _fail(self, lane: Lane, fault: Exception | str) -> None:
        """Ends a stream with a fault of its own; what came before it remains."""
        why = one_line(fault) if isinstance(fault, Exception) else fault
        lane.error = SourceError(
            f"{label(lane.name)} cannot be classified from frame {lane.next_frame} on ({why}); check its frames and "
            "the model."
        )
        lane.error.__cause__ = scrub(fault) if isinstance(fault, Exception) else None
        lane.ended = lane.failed = True
        # Nobody knows what is in it.
        self._caches.drop([lane.name])

    def threshold(self, name: str) -> float | None:
        """The threshold in force for a stream."""
        lane = self._lane(name)
        if self.base_threshold is None:
            return None
        return min(self.base_threshold * self.latency.factor, lane.guard.limit)

    def save(self, name: str, path: str | os.PathLike[str]) -> None:
        """
        Writes all that is known of a stream to a safetensors file.

        One that ended with a fault is not finished: it goes on behind the last frame that was classified.

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
            "dropped": lane.dropped,
            "finished": lane.finished and not lane.failed,
            "costs": [lane.computed_tokens, lane.total_tokens, lane.multiply_adds, lane.dense_multiply_adds],
            "divergence": None if lane.divergence is None else asdict(lane.divergence),
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
        where = f"the snapshot '{shown(os.fspath(path), None)}'"
        cache, tensors, notes = load_cache(path, self.model.device, self._most_bytes())
        before = notes.get("identity")
        if not isinstance(before, dict):
            raise SnapshotError(f"{where} is of no stream; delete it to start anew.")
        now = self.identity()
        if before.get("model") != now["model"]:
            raise SnapshotError(f"{where} is of another model; pass that model, or delete it to start anew.")
        if different := difference(before, now):
            raise SnapshotError(f"{where} is of a stream with {different}; pass the same, or delete it to start anew.")
        self.add(name)
        lane = self._lanes[name]
        try:
            self._restore(lane, cache, tensors, notes)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            self.remove(name)
            raise SnapshotError(f"{where} is damaged ({one_line(error)}); delete it to start anew.") from error

    def _restore(self, lane: Lane, cache: Any, tensors: dict[str, torch.Tensor], notes: dict[str, Any]) -> None:
        """Takes over what a snapshot holds, once it is known to be what `save` writes of such a model."""
        config = self.model.config
        shapes = (
            {"answers": (config.num_labels or config.vision.hidden_size,)}
            if self.window_frames is None
            else {"frames": (config.vision.num_channels, *config.frame_size)}
        )
        for key, tensor in tensors.items():
            if key not in shapes or tensor.shape[1:] != shapes[key] or tensor.dtype != torch.float32:
                raise ValueError(f"its tensor {key!r} of shape {tuple(tensor.shape)} is none of this model")
        numbers = {key: notes[key] for key in ("results", "next_frame", "dropped")}
        if not all(is_count(value) for value in (*numbers.values(), *notes["costs"])) or len(notes["costs"]) != 4:
            raise ValueError("its counts are none")
        if not (is_number(notes["last_time"]) and isinstance(notes["finished"], bool)):
            raise ValueError("its last time is none")
        if not is_divergence(notes["divergence"]):
            raise ValueError("its dense check is none")
        if cache is not None:
            check_cache(cache, config)
        lane.track.restore(tensors, notes["track"])
        lane.guard.restore(notes["guard"])
        for key, value in numbers.items():
            setattr(lane, key, value)
        lane.last_time = notes["last_time"]
        lane.ended = lane.finished = notes["finished"]
        lane.computed_tokens, lane.total_tokens, lane.multiply_adds, lane.dense_multiply_adds = notes["costs"]
        lane.divergence = None if notes["divergence"] is None else Divergence(**notes["divergence"])
        if cache is not None and self.settings.mode != "off":
            self._caches.put([lane.name], cache)

    def _most_bytes(self) -> int:
        """More than a snapshot of a stream of this model can take."""
        config = self.model.config
        shape, frames = config.model_shape(), self.window_frames or 1
        # Once per frame, where a token may stand for several.
        tokens = frames * (1 + config.prefix_tokens + math.prod(config.grid))
        states = (2 * shape.layers + 8) * tokens * shape.hidden_size
        answers = self.window * (config.num_labels or shape.hidden_size)
        pixels = frames * config.vision.num_channels * math.prod(config.frame_size)
        return 8 * (states + answers + pixels) + 2**24

    def next_frame(self, name: str) -> int:
        """Index of the first frame of the source that a stream has not gone through."""
        return self._lane(name).next_frame

    def last_time(self, name: str) -> float:
        """Timestamp of the last frame that a stream was given."""
        return self._lane(name).last_time

    def dropped(self, name: str) -> int:
        """How many frames of a stream were dropped before they were handed in."""
        return self._lane(name).dropped

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

    def identity(self) -> dict[str, Any]:
        """
        The model, and all settings on which results depend, which a stream cannot change while it goes on, as JSON can
        hold them: not the device, `batch_size`, and `top_k`.
        """
        if self._identity is None:
            self._identity = _as_json(self._facts())
        return self._identity

    def _facts(self) -> dict[str, Any]:
        from .. import __version__

        config = self.model.config
        architecture = {key: value for key, value in config.to_dict().items() if key not in _NOT_OF_A_MODEL}
        return {
            "model": f"{type(self.model).__name__} {weights_digest(self.model)}",
            "reuse": self.settings.settings_to_dict(),
            "options": self.options.lasting(),
            "processor": self.processor.to_dict(),
            "labels": _digest(config.id2label),
            "problem_type": config.problem_type,
            "config": _digest(architecture),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "attention": config._attn_implementation,
            "versions": {"hf_ttr": __version__, "torch": torch.__version__, "transformers": transformers_version},
        }

    def _run(self, group: list[tuple[Lane, Call]]) -> list[StreamResult]:
        """Classifies the frames of streams that are all new, or all not."""
        logits: dict[str, torch.Tensor] = {}
        self._called = _now()
        self._together(group, lambda part: self._call(part, logits))
        if self.settings.mode != "off":
            due = [(lane, call) for lane, call in group if not lane.error and lane.guard.is_due(len(call.new))]
            self._together(due, lambda part: self._check(part, logits))
        results: list[StreamResult] = []
        for lane, call in group:
            if lane.error is None:
                own = logits[lane.name]
                results += self._results(lane, lambda: lane.track.absorb(call, own))  # noqa: B023
        return results

    @torch.inference_mode()
    def _together(
        self, group: list[tuple[Lane, Call]], work: Callable[[list[tuple[Lane, Call]]], dict[str, torch.Tensor]]
    ) -> None:
        """Does the work for all streams at once; where that fails, for each by itself, as the fault is one's own."""
        if not group:
            return
        try:
            found = work(group)
        except Exception as fault:
            if not isinstance(fault, ValueError):
                # What is refused leaves the caches as they were; what broke off may have left anything in them.
                self._caches.drop([lane.name for lane, _ in group])
            if len(group) == 1:
                self._fail(group[0][0], fault)
                return
            for one in group:
                self._together([one], work)
            return
        for lane, _ in group:
            if not bool(found[lane.name].isfinite().all()):
                self._fail(lane, "its scores are no numbers")

    def _call(self, group: list[tuple[Lane, Call]], logits: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Calls the model once, and notes the logits of each stream."""
        names = [lane.name for lane, _ in group]
        calls = [call for _, call in group]
        options: dict[str, Any] = {"temporal_reuse": self.settings}
        cache = None
        if self.settings.mode != "off":
            if all(name in self._caches for name in names):
                options["past_key_values"] = cache = self._caches.take(names)
            if self.base_threshold is not None:
                options["thresholds"] = torch.tensor([self.threshold(name) for name in names], dtype=torch.float64)
            if self.window_frames is not None:
                options["stride"] = calls[0].stride
        try:
            out = self.model(torch.stack([call.pixel_values for call in calls]), **options)
        except ValueError:
            if cache is not None:
                self._caches.put(names, cache)
            raise
        if out.past_key_values is not None:
            self._caches.put(names, out.past_key_values)
        own = (out.logits[:, None] if self.window_frames is not None else out.frame_logits).float().cpu()
        for row, (lane, call) in enumerate(group):
            lane.add_cost(out.reuse, row)
            if isinstance(lane.track, FrameTrack):
                lane.next_frame = call.new[-1].index + 1
            logits[lane.name] = own[row]
        return logits

    def _check(self, group: list[tuple[Lane, Call]], logits: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """
        Runs the model without reuse on the last frames (or windows) of some streams, which go on from there.

        The last logits of each are then the dense ones.
        """
        last = slice(None) if self.window_frames is not None else slice(-1, None)
        frames = torch.stack([call.pixel_values[last] for _, call in group])
        out = self.model(frames, temporal_reuse=self._dense)
        self._caches.put([lane.name for lane, _ in group], out.past_key_values)
        for row, ((lane, _), expected) in enumerate(zip(group, out.logits.float().cpu())):
            got = logits[lane.name][-1]
            kl = divergence(expected, got, self._kind).item()
            logits[lane.name] = torch.cat([logits[lane.name][:-1], expected[None]])
            if math.isfinite(kl):
                lane.divergence = Divergence(kl, bool(same_answer(expected, got, self._kind)))
                lane.guard.observe(lane.divergence, self.threshold(lane.name) or 0.0)
            lane.multiply_adds += int(out.reuse.multiply_adds[row])
        return logits

    def _results(self, lane: Lane, windows: Callable[[], list[Window]]) -> list[StreamResult]:
        """The results of windows."""
        try:
            return [self._result(lane, window) for window in windows()]
        except Exception as fault:
            self._fail(lane, fault)
            return []

    def _result(self, lane: Lane, window: Window) -> StreamResult:
        scores = to_scores(window.logits, self._kind)
        best = best_labels(scores, self.options.top_k, self.model.config.id2label)
        now, seen = _now(), window.last
        latency = 1000 * max(0.0, now - seen.arrival)
        computing = min(latency, 1000 * (now - self._called + seen.preparing))
        self.latency.observe(latency if seen.is_live else computing)
        result = StreamResult(
            stream=lane.name,
            number=lane.results,
            first_frame=window.first.index,
            last_frame=window.last.index,
            start=window.first.time,
            end=window.last.time,
            labels=[{"label": label, "score": score} for label, score in best],
            computed_share=lane.computed_tokens / lane.total_tokens if lane.total_tokens else 1.0,
            multiply_adds=lane.multiply_adds,
            dense_multiply_adds=lane.dense_multiply_adds,
            latency_ms=latency,
            threshold=self.threshold(lane.name),
            dropped=lane.dropped,
            divergence=lane.divergence,
            waiting_ms=latency - computing,
            computing_ms=computing,
            arrived_at=iso_time(seen.arrived_at),
        )
        lane.results += 1
        lane.computed_tokens = lane.total_tokens = lane.multiply_adds = lane.dense_multiply_adds = 0
        lane.divergence = None
        return result


def difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """
    What was another once, in the middle of a sentence; `None` where all is the same.

    Args:
        before, now (`dict[str, Any]`): identities, see `StreamEngine.identity`.
    """
    for name, value in now.items():
        old = before.get(name)
        if old == value:
            continue
        if isinstance(value, dict) and isinstance(old, dict):
            # Settings of other versions may be missing here or there.
            return difference(old, {**dict.fromkeys(old), **value}) or f"another {name}"
        if name in ("labels", "config", "model"):
            return f"another {name}" if name != "labels" else "other labels"
        return f"{name} {shown(repr(old), 80)}, which is {shown(repr(value), 80)} now"
    return None


# What a config says of its whereabouts, its labels and its reuse is told by itself, or of no account.
_NOT_OF_A_MODEL = frozenset(
    ("_name_or_path", "architectures", "auto_map", "custom_pipelines", "dtype", "id2label", "label2id")
) | {"problem_type", "temporal_reuse", "transformers_version"}


def _as_json(value: Any) -> Any:
    """A value as it comes back from a file."""
    return json.loads(json.dumps(value, default=str))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _now() -> float:
    return time.monotonic()


def _wall() -> float:
    return time.time()
