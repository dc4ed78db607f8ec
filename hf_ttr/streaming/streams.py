"""Sources, readers and the engine put together: an iterator of results that goes on as long as a source does."""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
from transformers.utils import logging

from ..caching.snapshot import SnapshotError
from ..checks import first_line
from ..display import scrub, shown
from .base import FrameSource, SourceError, label, one_line, reason_of
from .control import percentile
from .crop import Crop
from .engine import StreamEngine
from .frame import Frame
from .opening import Opening
from .reader import DEFAULT_CAPACITY, FrameReader
from .result import StreamResult
from .snapshot_folder import SnapshotFolder
from .states import ENDED, FAILED, LIVE, OPENING, READING, RECONNECTING, STALLED, StreamState


logger = logging.get_logger(__name__)

WAIT = 0.5
"""Seconds after which it is looked whether a snapshot is due or a state has changed, though no frame came."""

AT_ONCE = 0.5
"""Seconds in which a source is found not to be there at once."""

RECENT = 100
"""Results that percentiles are taken from."""

_OF_SOURCE = ("received", "decoded", "damaged_packets", "repaired_timestamps", "reconnections", "is_live")
"""What a source counts itself."""

PATIENCE = 0.8
"""Seconds that closing waits for the loop, and for all readers together."""


@dataclass
class StreamStatistics:
    """
    What became of a stream so far.

    Attributes:
        received, decoded: frames that came, and those of them that were decoded, see `FrameSource`.
        frames: number of frames that the source gave, those that were dropped included.
        dropped: frames that came faster than they could be looked at.
        results: number of results.
        damaged_packets, repaired_timestamps, reconnections: of the source, see `FrameSource`.
        checks, exceeded: dense checks, and those that found more than `max_divergence`.
        ended: whether the stream is over.
        error (`SourceError`, *optional*): what ended it, if it was a fault: of its source, its frames or its scores.
        state: what it does, see `hf_ttr.streaming.states`.
        fault (`SourceError`, *optional*): why it is not there, while it is looked for.
        is_live: whether its frames come in their own time; `False` until it is open.
        last_seen (`datetime`, *optional*): when its last frame came, those that were dropped included.
        waiting_ms, computing_ms (`float`, *optional*): 95th percentiles over the last results, see `StreamResult`.
    """

    received: int = 0
    decoded: int = 0
    frames: int = 0
    dropped: int = 0
    results: int = 0
    damaged_packets: int = 0
    repaired_timestamps: int = 0
    reconnections: int = 0
    checks: int = 0
    exceeded: int = 0
    ended: bool = False
    error: SourceError | None = None
    state: StreamState = OPENING
    fault: SourceError | None = None
    is_live: bool = False
    last_seen: datetime | None = None
    waiting_ms: float | None = None
    computing_ms: float | None = None


class VideoStreams:
    """
    Classifies streams as their frames come; an iterator of `StreamResult`, and a context manager that closes them.

    A stream that cannot be opened, read or classified ends with the results of the frames that came before; the others
    go on. A live one is looked for meanwhile. What it does is in `statistics`, and is logged as it changes: the
    fault that ends a stream, and that one stalls, vanishes and is back. Where all streams failed, the first fault is
    raised at the end.
    A snapshot that cannot be written is logged once and tried again later; results go on.

    Args:
        engine: what classifies.
        sources (`Mapping[str, FrameSource | Callable[[], FrameSource]]`): by the names that the results have; a
            function opens a source in the background.
        capacity (`int`): frames that wait for the engine in each stream. Of live sources the oldest are dropped for
            new ones, others wait.
        snapshots (`str` or `os.PathLike`, *optional*): folder for what is needed to go on in another process. What
            else is there is left alone.
        snapshot_every (`float`): seconds from one snapshot to the next.
        resume (`bool`): whether to go on from the snapshots that are there. Of files, results that were given after
            them come again, with the same numbers. A stream that ended with a fault is tried again.
        kept (`Mapping[str, int]`, *optional*): of streams that go on, how many results are kept of them: a snapshot
            must not be ahead of that, and live streams count on from there.
        keeps_all (`bool`): whether all results are kept; if not, a snapshot may be ahead of those that are.
        origins (`Mapping[str, str]`, *optional*): what sources are known by, such as paths; a run that goes on must
            have the same.
        crops (`Mapping[str, Mapping[str, Crop]]`, *optional*): of sources that are cut into several streams, what each
            of these sees, by the names that the results have; such a source is read and decoded once.
        stays (`bool`): whether the iterator waits where there is no source, as others may be added.

    Attributes:
        on_state (`Callable[[str, StreamStatistics], None]`, *optional*): called with the name and the statistics of a
            stream whose state has changed, in the thread that takes the results; without one it is logged.
        on_snapshot (`Callable[[], None]`, *optional*): called before snapshots are written, behind the results that
            they have seen.
        turned (`float`): when the loop came round last, by `time.monotonic()`.

    Raises:
        SnapshotError: if a snapshot does not fit, the run before had another model, other options or other sources, or
            the folder cannot be written; one sentence.
        SourceError: if none of the functions could open a source, and that is known at once; else the iterator
            raises it.
        ValueError: if an argument is out of range.
    """

    def __init__(
        self,
        engine: StreamEngine,
        sources: Mapping[str, FrameSource | Callable[[], FrameSource]],
        capacity: int = DEFAULT_CAPACITY,
        snapshots: str | os.PathLike[str] | None = None,
        snapshot_every: float = 30.0,
        resume: bool = False,
        kept: Mapping[str, int] | None = None,
        origins: Mapping[str, str] | None = None,
        keeps_all: bool = True,
        crops: Mapping[str, Mapping[str, Crop]] | None = None,
        stays: bool = False,
    ) -> None:
        self.engine = engine
        self._stays = stays
        self.on_state: Callable[[str, StreamStatistics], None] | None = None
        self.on_snapshot: Callable[[], None] | None = None
        self.turned = time.monotonic()
        self._claimed: dict[str, tuple[str, ...]] = {}
        self._parts: dict[str, dict[str, Crop | None]] = {}
        self._source_of: dict[str, str] = {}
        self._last_frames: dict[str, tuple[int, Frame]] = {}
        self._changes: deque[Callable[[], None]] = deque()
        self._keeps_all = keeps_all
        self._kept = kept
        self._capacity = capacity
        self._folder = None if snapshots is None else SnapshotFolder(snapshots)
        self._snapshot_every = snapshot_every
        self._saved = time.monotonic()
        self._unsaved: dict[str, str] = {}
        self._wake = threading.Event()
        self._openings: dict[str, Opening] = {}
        self._readers: dict[str, FrameReader] = {}
        self._past: dict[str, tuple[int, float, int]] = {}
        self._statistics: dict[str, StreamStatistics] = {}
        self._recent: dict[str, deque[tuple[float, float]]] = {}
        self._told: dict[str, StreamState] = {}
        self._told_at = -math.inf
        self._sources = {name: source for name, source in sources.items() if isinstance(source, FrameSource)}
        # One thread at a time is in the loop; whose turn it is may close without waiting for itself.
        self._turn = threading.Lock()
        self._owner: int | None = None
        self._stopping = self._closed = False
        # Interrupted in a wait, all that is known is in order, and every result was given.
        self._is_waiting = False
        self._all_given = True
        self._results = self._run()
        try:
            if not snapshot_every >= 0:
                raise ValueError(f"snapshot_every is {snapshot_every!r}, but must be a number of seconds.")
            for name in sources:
                self._claim(name, (crops or {}).get(name))
                self._divide(name, (crops or {}).get(name))
            self._prepare(list(sources), resume, origins or {})
            for name, source in sources.items():
                self._start(name, source)
            end = time.monotonic() + AT_ONCE
            while self._openings and not self._readers and (remaining := end - time.monotonic()) > 0:
                self._take_opened()
                if any(opening.passing for opening in self._openings.values()):
                    break
                if self._openings and not self._readers:
                    self._wait(min(remaining, 0.05))
            if not self._readers and not self._openings:
                self._raise_if_all_failed()
        except BaseException:
            self.close()
            raise

    def _prepare(self, names: list[str], resume: bool, origins: Mapping[str, str]) -> None:
        """Takes up each stream where it is to begin; nothing is written before all of it is known to be right."""
        if self._folder is not None and resume:
            self._folder.agree(self.engine.identity(), origins)
        for name in names:
            for part in self._parts[name]:
                self._take_up(part, resume)
            self._begin_statistics(name)
        if self._folder is not None:
            self._folder.begin(self._source_of, self.engine.identity(), origins, resume)

    def _divide(self, name: str, crops: Mapping[str, Crop] | None) -> None:
        """Notes which streams are seen in a source."""
        self._parts[name] = {name: None} if crops is None else dict(crops)
        self._source_of |= dict.fromkeys(self._parts[name], name)

    def _claim(self, name: str, crops: Mapping[str, Crop] | None) -> None:
        """Takes the names of a source and its streams, which no other has then."""
        names = (name,) if crops is None else tuple(crops)
        taken = {part for parts in self._claimed.values() for part in parts}
        if name in self._claimed or taken & set(names):
            raise ValueError(f"there is a stream '{shown(name)}' already; give this one another name.")
        self._claimed[name] = names

    def _take_up(self, part: str, resume: bool) -> None:
        """Goes on with a stream of the engine, or begins with it."""
        kept = None if self._kept is None else self._kept.get(part, 0)
        path = self.snapshot_path(part)
        if not (resume and path is not None and os.path.lexists(path)):
            self.engine.add(part)
            return
        self.engine.load(part, path)
        if kept is not None and self._keeps_all and self.engine.result_count(part) > kept:
            raise SnapshotError(
                f"the snapshot '{shown(path, None)}' has seen {self.engine.result_count(part)} results of the "
                f"stream '{shown(part)}', of which {kept} are there; delete it to look at the stream again "
                "from its start."
            )

    def _begin_statistics(self, name: str) -> None:
        results = sum(self.engine.result_count(part) for part in self._parts[name])
        self._statistics[name] = StreamStatistics(results=results)
        self._recent[name] = deque(maxlen=RECENT)

    def add(
        self,
        name: str,
        source: FrameSource | Callable[[], FrameSource],
        crops: Mapping[str, Crop] | None = None,
        origins: Mapping[str, str] | None = None,
    ) -> None:
        """
        Starts another source while the others go on; any thread may do so, and it begins before the next call.

        Args:
            name, source, crops, origins: as for all of them in the beginning. A snapshot of it is not used.

        Raises:
            ValueError: if there is a stream of that name.
        """
        self._claim(name, crops)

        def begin() -> None:
            self._divide(name, crops)
            for part in self._parts[name]:
                self.engine.add(part)
            self._begin_statistics(name)
            self._start(name, source)
            # It runs also where this cannot be written.
            if self._folder is not None:
                self._folder.forget(self._parts[name])
                self._folder.begin((), self.engine.identity(), origins or {}, resume=True)

        self.call(begin)

    def remove(self, name: str) -> None:
        """
        Ends a source and forgets it with its snapshots, before the next call; any thread may do so.

        Raises:
            ValueError: if there is none of that name.
        """
        if self._claimed.pop(name, None) is None:
            raise ValueError(f"there is no stream '{shown(name)}'.")

        def end() -> None:
            parts = self._parts.pop(name)
            for part in parts:
                del self._source_of[part]
            if (opening := self._openings.pop(name, None)) is not None:
                opening.close()
            if (reader := self._readers.pop(name, None)) is not None:
                reader.close(timeout=0.0)
            for part in set(parts) & set(self.engine.names):
                self.engine.remove(part)
            for held in (self._sources, self._past, self._statistics, self._recent, self._told, self._last_frames):
                held.pop(name, None)
            for part in parts:
                self._unsaved.pop(part, None)
            if self._folder is not None:
                self._folder.forget(parts)
            if self._kept is not None:
                self._kept = {part: kept for part, kept in self._kept.items() if part not in parts}

        self.call(end)

    def call(self, change: Callable[[], None]) -> None:
        """Has a function called in the thread that takes the results, before the next call of the model."""
        self._changes.append(change)
        self._wake.set()

    def _make_changes(self) -> None:
        while self._changes:
            try:
                self._changes.popleft()()
            except SnapshotError as error:
                # The streams themselves go on.
                logger.warning(shown(error, None))

    def frame_of(self, result: StreamResult) -> Frame | None:
        """
        The last frame of the result that was given last of its source.

        Returns:
            `Frame`, *optional*: `None` if it is not held any more.
        """
        index, frame = self._last_frames.get(self._source_of.get(result.stream, ""), (-1, None))
        return frame if index == result.last_frame else None

    def _start(self, name: str, source: FrameSource | Callable[[], FrameSource]) -> None:
        if all(self.engine.is_finished(part) for part in self._parts[name]):
            self._statistics[name].ended = True
            if isinstance(source, FrameSource):
                source.close()
        elif isinstance(source, FrameSource):
            self._read(name, source)
        else:
            self._openings[name] = Opening(source, name, self._wake)

    def _take_opened(self) -> None:
        """Starts to read what was opened by now, and ends what could not be."""
        for name, opening in list(self._openings.items()):
            if not opening.ready:
                continue
            del self._openings[name]
            if opening.source is not None:
                self._sources[name] = opening.source
                self._read(name, opening.source)
            else:
                self._give_up(name, opening.fault)

    def _read(self, name: str, source: FrameSource) -> None:
        parts = list(self._parts[name])
        if source.is_live and self._kept is not None:
            for part in parts:
                self.engine.count_on(part, self._kept.get(part, 0))
        # A camera goes on where it is by now; its frames are counted on from those before.
        seen = max(self.engine.next_frame(part) for part in parts)
        past = (seen, max(self.engine.last_time(part) for part in parts)) if source.is_live and seen else (0, 0.0)
        self._past[name] = (*past, max(self.engine.dropped(part) for part in parts))
        begin = min(self.engine.next_frame(part) for part in parts)
        try:
            self._readers[name] = FrameReader(
                source, self._capacity, start=0 if source.is_live else begin, wake=self._wake
            )
        except SourceError as fault:
            source.close()
            self._give_up(name, fault)

    def _give_up(self, name: str, fault: SourceError) -> None:
        """Ends a stream of which no frame was read; its snapshot stays as it is."""
        self._end(name, fault)
        for part in self._parts[name]:
            self.engine.remove(part)

    def _end(self, name: str, fault: SourceError | None) -> None:
        self._statistics[name].ended = True
        self._statistics[name].error = fault
        if fault is not None:
            scrub(fault)

    @property
    def statistics(self) -> dict[str, StreamStatistics]:
        """What became of each stream so far; any thread may ask."""
        for name, statistics in list(self._statistics.items()):
            if (source := self._sources.get(name)) is not None:
                for counter in _OF_SOURCE:
                    setattr(statistics, counter, getattr(source, counter))
            if (reader := self._readers.get(name)) is not None:
                statistics.frames = reader.received
                statistics.dropped = reader.dropped
                if reader.last_arrival is not None:
                    ago = timedelta(seconds=time.monotonic() - reader.last_arrival)
                    statistics.last_seen = datetime.now().astimezone() - ago
            statistics.state, statistics.fault = self._state(name, statistics, reader)
            with suppress(ValueError):  # of one that is over nothing is held
                found = [self.engine.checks(part) for part in self._parts.get(name, ())]
                statistics.checks, statistics.exceeded = (sum(counts) for counts in zip(*found))
            if recent := tuple(self._recent.get(name, ())):
                waiting, computing = zip(*recent)
                statistics.waiting_ms, statistics.computing_ms = percentile(waiting, 95), percentile(computing, 95)
        return self._statistics

    def _state(
        self, name: str, statistics: StreamStatistics, reader: FrameReader | None
    ) -> tuple[StreamState, SourceError | None]:
        """What a stream does, and why it is not there while it is looked for."""
        if statistics.ended:
            return (ENDED if statistics.error is None else FAILED), None
        if reader is not None:
            state = reader.state
            return state, reader.source.fault if state in (OPENING, RECONNECTING) else None
        opening = self._openings.get(name)
        return OPENING, None if opening is None else opening.passing

    def _tell_states(self, at_once: bool = False) -> None:
        """Says which streams stall, vanish, come back and fail, twice a second at most."""
        now = time.monotonic()
        if now - self._told_at < WAIT and not at_once:
            return
        self._told_at = now
        for name, statistics in self.statistics.items():
            # One that is being opened for the first time is nothing new yet.
            state = statistics.state
            if state == self._told.get(name) or (state == OPENING and statistics.fault is None):
                continue
            before, self._told[name] = self._told.get(name), state
            if self.on_state is not None:
                self.on_state(name, statistics)
            elif state == FAILED:
                if len(self._statistics) > 1:  # else it is raised
                    logger.warning(shown(statistics.error, None))
            elif state in (OPENING, STALLED, RECONNECTING) or (before and state in (LIVE, READING)):
                why = "" if statistics.fault is None else f" ({shown(reason_of(statistics.fault, name), None)})"
                logger.warning(f"{label(name)} is {state}{why}.")

    @property
    def snapshot_error(self) -> str | None:
        """Why the last snapshot of a stream could not be written, in one sentence; `None` if all could."""
        return next(iter(self._unsaved.values()), None)

    def snapshot_path(self, name: str) -> str | None:
        """Where the snapshot of a stream is, or will be."""
        return None if self._folder is None else self._folder.path(name)

    def snapshot(self) -> None:
        """
        Writes the snapshots of all streams that have not ended, if there is a folder for them.

        Where results are still to be taken, it is done behind the last of them.

        Raises:
            OSError: if one cannot be written; what was there before remains.
        """
        if not self._all_given:
            self._saved = -math.inf
            return
        for part, path in self._to_save(list(self._readers)):
            self.engine.save(part, path)

    def _save_all(self) -> None:
        self._save(list(self._readers))
        self._saved = time.monotonic()

    def _save(self, names: Sequence[str]) -> None:
        """Writes the snapshots of sources."""
        for part, path in self._to_save(names):
            self._save_part(part, path)

    def _to_save(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The streams of sources with the paths of their snapshots, once it was told that these are written."""
        if self._folder is None or not names:
            return
        if self.on_snapshot is not None:
            self.on_snapshot()
        for name in names:
            for part in self._parts[name]:
                yield part, self._folder.path(part)

    def _save_part(self, name: str, path: str) -> None:
        """Writes a snapshot; one that fails is no reason to end anything, as the results are there."""
        try:
            self.engine.save(name, path)
        except Exception as fault:
            sentence = (
                f"The snapshot '{shown(path, None)}' cannot be written ({shown(first_line(fault))}); the results go "
                "on, and it is tried again: make room."
            )
            if not self._unsaved:
                logger.warning(sentence)
            self._unsaved[name] = sentence
        else:
            self._unsaved.pop(name, None)

    def __iter__(self) -> Iterator[StreamResult]:
        return self

    def __next__(self) -> StreamResult:
        with self._turn:
            self._owner = threading.get_ident()
            try:
                if self._closed:
                    raise StopIteration
                return next(self._results)
            finally:
                self._owner = None

    def __enter__(self) -> VideoStreams:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def stop(self) -> None:
        """
        Has the iterator end behind the results that are there, with snapshots; this returns at once.

        A signal handler or another thread may call it.
        """
        self._stopping = True

    def close(self) -> None:
        """
        Stops all streams, and lets go of their files and connections; closing again does nothing.

        Any thread may do so, and is back within two seconds, whatever a source waits for: what does not answer is
        closed in the background as soon as it does.
        """
        self._stopping = self._closed = True
        end = time.monotonic() + PATIENCE
        readers = list(self._readers.values())
        ends: list[Callable[[], None]] = [opening.close for opening in self._openings.values()]
        ends += [reader.stop for reader in readers] + [source.close for source in self._sources.values()]
        for end_it in ends:
            try:
                end_it()
            except Exception as fault:
                logger.warning(f"A source cannot be closed ({shown(one_line(fault))}).")
        if self._owner == threading.get_ident():
            # In a signal handler, in the middle of the loop, which ends by itself.
            return
        self._wake.set()
        if self._turn.acquire(timeout=PATIENCE):
            try:
                if self._is_waiting:
                    self._is_waiting = False
                    self._save_all()
                self._results.close()
            finally:
                self._turn.release()
        for reader in readers:
            reader.close(timeout=max(0.0, end - time.monotonic()))

    def _run(self) -> Generator[StreamResult, None, None]:
        while True:
            # Whoever asks for a result has seen to those before it.
            if self._folder is not None and time.monotonic() - self._saved >= self._snapshot_every:
                self._save_all()
            if self._stopping:
                self._save_all()
                return
            self.turned = time.monotonic()
            self._make_changes()
            self._take_opened()
            self._tell_states()
            for name in list(self._readers):
                self._feed(name)
            if not self.engine.is_ready:
                is_over = not self._readers and not self._openings and not self._changes
                if is_over and (self._parts or not self._stays):
                    break
                self._wait()
                continue
            # Each result is given before the next call, so that none waits for it.
            results = self.engine.step()
            for number, result in enumerate(results, start=1):
                self._all_given = number == len(results)
                # Of one that is about to be removed nothing is said any more.
                source = self._source_of.get(result.stream)
                if source is not None and source in self._statistics:
                    self._statistics[source].results += 1
                    self._recent[source].append((result.waiting_ms, result.computing_ms))
                    yield result
            self._let_go()
        self._tell_states(at_once=True)
        self._raise_if_all_failed()

    def _wait(self, seconds: float | None = None) -> None:
        self._wake.clear()
        parts: list[FrameReader | Opening] = [*self._readers.values(), *self._openings.values()]
        if not self._stopping and not self._changes and not any(part.ready for part in parts):
            self._is_waiting = True
            self._wake.wait(WAIT if seconds is None else seconds)
            self._is_waiting = False

    def _feed(self, name: str) -> None:
        """Hands the engine what it needs for the next call of a stream, as far as it is there."""
        reader = self._readers[name]
        if self._statistics[name].ended:
            return
        error = None
        wanted = max(self.engine.wanted(part) for part in self._parts[name])
        for frame in reader.take(wanted * self.engine.options.frame_sampling_rate):
            try:
                self._push(name, frame, reader.dropped)
            except Exception as fault:
                # One stream must not end the others, whatever its frames are.
                error = (
                    fault
                    if isinstance(fault, SourceError)
                    else SourceError(
                        f"{label(name)} has a frame that cannot be looked at ({one_line(fault)}); correct its source."
                    )
                )
                if error is not fault:
                    error.__cause__ = scrub(fault)
                break
        has_ended = error is not None or reader.ended
        # A reader that was stopped has not come to its end.
        if has_ended and not self._stopping:
            self._end(name, error or reader.error)
            for part in self._parts[name]:
                self.engine.end(part, failed=self._statistics[name].error is not None)

    def _push(self, name: str, frame: Frame, dropped: int) -> None:
        frames, seconds, dropped_before = self._past[name]
        index = frame.index + frames
        self._last_frames[name] = index, frame
        for part, crop in self._parts[name].items():
            if index < self.engine.next_frame(part):
                # Its snapshot was written behind those of the others.
                continue
            self.engine.push(
                part,
                partial(_cut, frame, crop),
                index=index,
                time=frame.time + seconds,
                arrival=frame.arrival,
                dropped=dropped + dropped_before,
                is_live=self._readers[name].source.is_live,
            )

    def _let_go(self) -> None:
        """Closes what belongs to streams that are over."""
        for name in list(self._readers):
            parts = list(self._parts.get(name, ()))
            faults = [fault for part in parts if (fault := self.engine.error(part)) is not None]
            if faults and not self._statistics[name].ended:
                self._end(name, faults[0])
                for part in parts:
                    self.engine.end(part, failed=True)
            if parts and all(self.engine.is_finished(part) for part in parts):
                statistics = self.statistics[name]
                self._save([name])
                # One that failed may still wait for its source.
                self._readers.pop(name).close(timeout=0.0 if statistics.error else PATIENCE)
                for part in parts:
                    self.engine.remove(part)

    def _raise_if_all_failed(self) -> None:
        errors = [statistics.error for statistics in self._statistics.values()]
        if errors and all(error is not None for error in errors):
            assert errors[0] is not None
            raise errors[0]


def _cut(frame: Frame, crop: Crop | None) -> np.ndarray:
    return frame.pixels if crop is None else crop.of(frame.pixels)
