"""Sources, readers and the engine put together: an iterator of results that goes on as long as a source does."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from transformers.utils import logging

from ..cache_snapshot import SnapshotError
from ..files import write_json
from .base import FrameSource, SourceError, label, one_line
from .engine import StreamEngine
from .frame import Frame
from .reader import DEFAULT_CAPACITY, FrameReader
from .result import StreamResult


logger = logging.get_logger(__name__)

WAIT = 0.5
"""Seconds after which it is looked whether a snapshot is due, though no frame came."""


@dataclass
class StreamStatistics:
    """
    What became of a stream so far.

    Attributes:
        frames: number of frames that the source gave, those that were dropped included.
        dropped: frames that came faster than they could be looked at.
        results: number of results.
        damaged_packets, repaired_timestamps, reconnections: of the source, see `FrameSource`.
        checks, exceeded: dense checks, and those that found more than `max_divergence`.
        ended: whether the stream is over.
        error (`SourceError`, *optional*): what ended it, if it was a fault.
    """

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


class VideoStreams:
    """
    Classifies streams as their frames come; an iterator of `StreamResult`, and a context manager that closes them.

    A stream that fails ends with the results of the frames that came before; the others go on. The fault is in
    `statistics` and is logged. Where all streams failed, the first fault is raised at the end.

    Args:
        engine: what classifies.
        sources (`Mapping[str, FrameSource]`): by the names that the results have.
        capacity (`int`): frames that wait for the engine in each stream. Of live sources the oldest are dropped for
            new ones, others wait.
        snapshots (`str` or `os.PathLike`, *optional*): folder for what is needed to go on in another process.
        snapshot_every (`float`): seconds from one snapshot to the next.
        resume (`bool`): whether to go on from the snapshots that are there. Of files, results that were given after
            them come again, with the same numbers.
        kept (`Mapping[str, int]`, *optional*): of streams that go on, how many results are kept of them: a snapshot
            must not be ahead of that, and live streams count on from there.

    Raises:
        SnapshotError: if a snapshot does not fit, or the run before had another model or other options; one sentence.
        OSError: if the folder cannot be written.
    """

    def __init__(
        self,
        engine: StreamEngine,
        sources: Mapping[str, FrameSource],
        capacity: int = DEFAULT_CAPACITY,
        snapshots: str | os.PathLike[str] | None = None,
        snapshot_every: float = 30.0,
        resume: bool = False,
        kept: Mapping[str, int] | None = None,
    ) -> None:
        self.engine = engine
        self._kept = kept
        self._snapshots = None if snapshots is None else os.fspath(snapshots)
        self._snapshot_every = snapshot_every
        self._wake = threading.Event()
        self._readers: dict[str, FrameReader] = {}
        self._past: dict[str, tuple[int, float]] = {}
        self._statistics: dict[str, StreamStatistics] = {}
        self._sources = dict(sources)
        # Interrupted in a wait, all that is known is in order, and every result was given.
        self._is_waiting = False
        try:
            if self._snapshots is not None:
                self._agree(self._snapshots, resume)
            for name, source in sources.items():
                self._start(name, source, capacity, resume)
        except BaseException:
            self.close()
            raise
        self._results = self._run()

    def _start(self, name: str, source: FrameSource, capacity: int, resume: bool) -> None:
        path, kept = self.snapshot_path(name), None if self._kept is None else self._kept.get(name, 0)
        if path is not None and os.path.isfile(path):
            if resume:
                self.engine.load(name, path)
                if kept is not None and self.engine.result_count(name) > kept:
                    raise SnapshotError(
                        f"the snapshot '{path}' has seen {self.engine.result_count(name)} results of the stream "
                        f"'{name}', of which {kept} are there; delete it to look at the stream again from its start."
                    )
            else:
                # Of another run, of whose results none are there.
                os.unlink(path)
        if name not in self.engine.names:
            self.engine.add(name)
        if source.is_live and kept is not None:
            self.engine.count_on(name, kept)
        self._statistics[name] = StreamStatistics(results=self.engine.result_count(name))
        if self.engine.is_finished(name):
            source.close()
            return
        begin, last_time = self.engine.next_frame(name), self.engine.last_time(name)
        # A camera goes on where it is by now; its frames are counted on from those before.
        self._past[name] = (begin, last_time) if source.is_live and begin else (0, 0.0)
        start = 0 if source.is_live else begin
        self._readers[name] = FrameReader(source, capacity, start=start, wake=self._wake)

    def _agree(self, folder: str, resume: bool) -> None:
        """Makes sure that a run that is resumed had the same model and options."""
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "run.json")
        if resume and os.path.isfile(path):
            with open(path, encoding="utf-8") as file:
                before = json.load(file)
            if before != self.engine.identity():
                raise SnapshotError(
                    f"the run in '{folder}' had another model or other options ({before}, and now "
                    f"{self.engine.identity()}); pass the same, or start anew."
                )
        write_json(path, self.engine.identity())

    @property
    def statistics(self) -> dict[str, StreamStatistics]:
        """What became of each stream so far."""
        for name, statistics in self._statistics.items():
            source = self._sources[name]
            for counter in ("damaged_packets", "repaired_timestamps", "reconnections"):
                setattr(statistics, counter, getattr(source, counter))
            if name in self._readers:
                statistics.frames = self._readers[name].received
                statistics.dropped = self._readers[name].dropped
        return self._statistics

    def snapshot_path(self, name: str) -> str | None:
        """Where the snapshot of a stream is, or will be."""
        return None if self._snapshots is None else os.path.join(self._snapshots, f"{quote(name, '')}.safetensors")

    def snapshot(self) -> None:
        """
        Writes the snapshots of all streams that have not ended, if there is a folder for them.

        Raises:
            OSError: if one cannot be written; what was there before remains.
        """
        for name in self._readers:
            self._save(name)

    def _save(self, name: str) -> None:
        path = self.snapshot_path(name)
        if path is not None:
            self.engine.save(name, path)

    def __iter__(self) -> Iterator[StreamResult]:
        return self

    def __next__(self) -> StreamResult:
        return next(self._results)

    def __enter__(self) -> VideoStreams:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def close(self) -> None:
        """Stops all streams, and lets go of their files and connections."""
        if self._is_waiting:
            self._is_waiting = False
            self.snapshot()
        if hasattr(self, "_results"):
            self._results.close()
        for reader in self._readers.values():
            reader.close()
        for source in self._sources.values():
            source.close()

    def _run(self) -> Generator[StreamResult, None, None]:
        saved = time.monotonic()
        while self._readers or self.engine.is_ready:
            if not self.engine.is_ready:
                self._wait()
            for name in list(self._readers):
                self._feed(name)
            # Each result is given before the next call, so that none waits for it.
            for result in self.engine.step():
                self._statistics[result.stream].results += 1
                yield result
            self._let_go()
            if self._snapshots is not None and time.monotonic() - saved >= self._snapshot_every:
                self.snapshot()
                saved = time.monotonic()
        self._raise_if_all_failed()

    def _wait(self) -> None:
        self._wake.clear()
        if not any(reader.ready for reader in self._readers.values()):
            self._is_waiting = True
            self._wake.wait(WAIT)
            self._is_waiting = False

    def _feed(self, name: str) -> None:
        """Hands the engine what it needs for the next call of a stream, as far as it is there."""
        reader = self._readers[name]
        if self._statistics[name].ended:
            return
        error = None
        for frame in reader.take(self.engine.wanted(name) * self.engine.options.frame_sampling_rate):
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
                break
        if error is not None or reader.ended:
            self._statistics[name].error = error or reader.error
            self._statistics[name].ended = True
            if self._statistics[name].error is not None:
                logger.warning(f"{self._statistics[name].error}")
            self.engine.end(name)

    def _push(self, name: str, frame: Frame, dropped: int) -> None:
        frames, seconds = self._past[name]
        self.engine.push(
            name,
            lambda: frame.pixels,
            index=frame.index + frames,
            time=frame.time + seconds,
            arrival=frame.arrival,
            dropped=dropped,
        )

    def _let_go(self) -> None:
        """Closes what belongs to streams that are over."""
        for name in list(self._readers):
            if self.engine.is_finished(name):
                statistics = self.statistics[name]
                statistics.checks, statistics.exceeded = self.engine.checks(name)
                self._save(name)
                self._readers.pop(name).close()
                self.engine.remove(name)

    def _raise_if_all_failed(self) -> None:
        errors = [statistics.error for statistics in self._statistics.values()]
        if errors and all(error is not None for error in errors):
            assert errors[0] is not None
            raise errors[0]
