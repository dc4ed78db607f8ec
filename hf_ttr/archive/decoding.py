"""Decode videos in processes of their own, so that one that kills or hangs its decoder takes nothing else with it."""

from __future__ import annotations

import itertools
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np

from ..checks import check_counts, is_number
from ..video import VideoInfo
from ..video.ahead import Ahead
from ..video.inputs import name_of
from .child import ChildDied, ChildHung, ChildProcess, KilledAtStart, SetUp
from .cut import Cut, Piece
from .row import ErrorKind
from .turns import Turns


STARTS = 3
"""How often a process is started that is killed as it begins: where memory runs out, decoders are the first to go."""

_PAUSE = 0.5


class DecodingFault(Exception):
    """
    A video cannot be decoded; the message is one sentence that names the video, the fault and the remedy.

    Args:
        kind (`str`): of the fault: `"unreadable"`, `"killed"`, `"hung"` or `"memory"`, see `ErrorKind`.
        sentence (`str`): the message.
    """

    def __init__(self, kind: ErrorKind, sentence: str) -> None:
        super().__init__(kind, sentence)
        self.kind, self.sentence = kind, sentence

    def __str__(self) -> str:
        return self.sentence


class GuardedDecoder:
    """
    Decodes videos, several at a time and each piece by piece, in processes of its own.

    A process that dies, that takes too long for a piece and is killed, or that runs out of memory was at one video:
    that one has a fault. The others of the process go on in a new one, where what they gave before is decoded again
    and left out. All processes end when this object is closed, and when the one that made it ends, in whatever way.

    Args:
        processor: a `TemporalReuseVideoProcessor`.
        cut: what a piece is: `WholeVideo`, `Clips`, or another object that has `pieces`.
        processes (`int`): how many; videos are spread over them.
        time_limit (`float`): seconds for one piece. Opening a video and its first piece are one: it is fetched then.
        memory_limit (`int`): bytes that a process may take beside what it begins with.

    Raises:
        ValueError: if a number is out of range; one sentence.

    Example:

    ```python
    >>> import hf_ttr
    >>> from hf_ttr.archive.cut import WholeVideo
    >>> from hf_ttr.archive.decoding import GuardedDecoder

    >>> processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(hf_ttr.example("vit-demo"))
    >>> with GuardedDecoder(processor, WholeVideo(num_frames=24)) as decoder:
    ...     video = decoder.open(hf_ttr.example("demo.mp4"))
    ...     while (piece := video.next()) is not None:
    ...         print(tuple(piece.pixel_values.shape))
    (1, 24, 3, 224, 224)
    (1, 24, 3, 224, 224)
    (1, 16, 3, 224, 224)
    >>> video.facts.frames
    64
    ```
    """

    def __init__(
        self, processor: Any, cut: Cut, processes: int = 1, time_limit: float = 120.0, memory_limit: int = 4 << 30
    ) -> None:
        check_counts(processes=processes, memory_limit=memory_limit)
        if not is_number(time_limit) or time_limit <= 0:
            raise ValueError(f"time_limit is {time_limit!r}, but must be a positive number of seconds.")
        # A class of the user's own may need anything.
        needs_torch = not type(processor).__module__.startswith("hf_ttr.")
        self._set_up = SetUp(pickle.dumps((processor, cut)), time_limit, memory_limit, needs_torch)
        self._turns = Turns()
        self._numbers = itertools.count()
        self._closed = False
        self._has_begun = threading.Event()
        self._lanes = [_Lane(self._set_up, self._turns.beside_others, self._has_begun) for _ in range(processes)]
        for lane in self._lanes:
            lane.ahead.submit(lane.child)
        self._alone: list[_Lane] = []

    def open(self, source: Any) -> OpenVideo:
        """
        Opens a video; nothing is read before its first piece is asked for.

        Args:
            source: a path, an address (see `hf_ttr.archive.opening`) or bytes.

        Returns:
            `OpenVideo`: to be closed, unless it was read to its end.
        """
        self._check_open()
        return OpenVideo(source, next(self._numbers), min(self._lanes, key=lambda lane: lane.videos))

    def retry(self, source: Any) -> OpenVideo:
        """
        Opens a video that had a fault once more, in a process of its own, each of whose pieces is decoded while no
        other video is: what was the fault of others, such as too little memory for all of them, is none then.

        Args:
            source: as in `open`.

        Returns:
            `OpenVideo`: to be closed, unless it was read to its end.
        """
        self._check_open()
        self._alone = [lane for lane in self._alone if not lane.is_stopped]
        lane = _Lane(self._set_up, self._turns.alone, self._has_begun, is_of_one_video=True)
        self._alone.append(lane)
        return OpenVideo(source, next(self._numbers), lane)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the decoder is closed; make another one.")

    def close(self) -> None:
        """Ends all processes, also those that are at something. Closing again does nothing."""
        self._closed = True
        lanes = (*self._lanes, *self._alone)
        # All of them first, as one may wait for another.
        for lane in lanes:
            lane.stop()
        for lane in lanes:
            lane.close()

    def __enter__(self) -> GuardedDecoder:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


class OpenVideo:
    """
    A video that is decoded in another process; for one thread, as is its decoder.

    Attributes:
        facts (`VideoInfo`, *optional*): once it is at its end: how many frames it has, and how many of them in a
            second.
        decoding_seconds (`float`): that were spent on it in the other process, also on what was decoded twice.
    """

    def __init__(self, source: Any, number: int, lane: _Lane) -> None:
        self.facts: VideoInfo | None = None
        self.decoding_seconds = 0.0
        self._name, self._source = name_of(source), pickle.dumps(source)
        self._number, self._lane = number, lane
        self._child: ChildProcess | None = None
        self._given = 0
        self._asked: Future[Piece | VideoInfo] | None = None
        self._fault: DecodingFault | None = None
        self._closed = False
        lane.videos += 1

    def prefetch(self) -> None:
        """Asks for the next piece in the background, if it was not asked for and the video is not at its end."""
        if self._asked is None and not self._closed:
            self._asked = self._lane.ahead.submit(self._ask)

    def next(self) -> Piece | None:
        """
        Waits for the next piece.

        Returns:
            `Piece`, *optional*: `None` at the end of the video, or if it was closed.

        Raises:
            DecodingFault: if the video cannot be decoded, or not to its end; again at each call.
            RuntimeError: if the decoder is closed meanwhile, or no process of it can be started.
        """
        if self._fault is not None:
            raise self._fault
        if self._closed:
            return None
        self.prefetch()
        asked = self._asked
        assert asked is not None
        try:
            found = asked.result()
        except CancelledError:
            raise RuntimeError("the decoder was closed before this video; make another one.") from None
        except DecodingFault as fault:
            self._fault = fault
            self.close()
            raise
        finally:
            # It is not where waiting was interrupted.
            if asked.done():
                self._asked = None
        if isinstance(found, VideoInfo):
            self.facts = found
            self.close()
            return None
        self._given += 1
        return found

    def close(self) -> None:
        """Gives up what was not decoded yet. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._asked is not None:
            self._asked.cancel()
        self._lane.videos -= 1
        if self._lane.is_of_one_video:
            self._lane.close()
        else:
            self._lane.ahead.submit(self._forget)

    # What follows runs on the thread of the process.

    def _ask(self) -> Piece | VideoInfo:
        try:
            child = self._lane.child()
        except KilledAtStart as error:
            if not self._lane.has_begun.is_set():
                raise
            raise DecodingFault(
                "killed",
                f"{self._name} found no process to decode it, as each was killed when it began; give this machine "
                "more memory, or run less on it.",
            ) from error
        with self._lane.turn():
            if self._child is not child:
                self._request(child, ("open", self._number), self._source)
                self._child = child
                # In a process behind another one: what was given is decoded again.
                for _ in range(self._given):
                    if isinstance(found := self._request(child, ("next", self._number, False)), VideoInfo):
                        return found
            found = self._request(child, ("next", self._number, True))
            assert found is not None
            return found

    def _request(
        self, child: ChildProcess, message: tuple[Any, ...], payload: bytes = b""
    ) -> Piece | VideoInfo | None:
        """Asks for one thing: a piece, the facts at the end, or nothing."""
        began = time.monotonic()
        try:
            (kind, *about, seconds), pixels = self._lane.ask(child, message, payload)
        except (ChildDied, ChildHung) as error:
            self.decoding_seconds += time.monotonic() - began
            if self._lane.is_stopped:  # and that is why
                raise CancelledError from None
            raise self._fault_of(error) from None
        self.decoding_seconds += seconds
        if kind == "piece":
            return None if about[0] is None else Piece(pixels.reshape(about[0]))
        if kind == "opened":
            return None
        # In both cases the other process is done with it.
        self._child = None
        if kind == "error":
            if about[0] == "memory":  # which may be what others left: the next one has all of it
                self._lane.lose(child)
            raise self._fault_of_kind(*about)
        facts: VideoInfo = about[0]
        return facts

    def _fault_of(self, error: ChildDied | ChildHung) -> DecodingFault:
        if isinstance(error, ChildDied):
            return DecodingFault(
                "killed", f"{self._name} ended the process that decodes it ({error}); convert it, or leave it out."
            )
        limit = self._lane.set_up.time_limit
        return DecodingFault(
            "hung", f"{self._name} gave nothing within {limit:g} s; convert it, leave it out, or raise `time_limit`."
        )

    def _fault_of_kind(self, kind: str, sentence: str) -> DecodingFault:
        if kind == "memory":
            limit = self._lane.set_up.memory_limit / 2**30
            return DecodingFault(
                "memory",
                f"{self._name} takes more than {limit:.3g} GiB to decode, or asks for it as it is damaged; replace "
                "it, make it smaller, or raise `memory_limit`.",
            )
        if kind == "unprepared":
            sentence = f"{self._name} cannot be prepared for the model ({sentence}); check it, or leave it out."
        return DecodingFault("unreadable", sentence)

    def _forget(self) -> None:
        child, self._child = self._child, None
        if child is not None and child is self._lane.known:
            with suppress(ChildDied, ChildHung):  # the next one begins in a new process
                self._lane.ask(child, ("close", self._number))


class _Lane:
    """
    A process, or the one after it, with the thread that asks it one thing after the other.

    Args:
        set_up: what a process is started with.
        turn: to be had for each request.
        has_begun: set once a process of this decoder could be asked.
        is_of_one_video: whether it is closed with its video.
    """

    def __init__(
        self,
        set_up: SetUp,
        turn: Callable[[], AbstractContextManager[None]],
        has_begun: threading.Event,
        is_of_one_video: bool = False,
    ) -> None:
        self.set_up, self.turn, self.has_begun, self.is_of_one_video = set_up, turn, has_begun, is_of_one_video
        self.videos = 0
        self.known: ChildProcess | None = None
        self.is_stopped = False
        self._changing = threading.Lock()
        self.ahead = Ahead("decoder")

    def child(self) -> ChildProcess:
        """The process, which is started if there is none; on the thread of the lane."""
        if self.known is not None:
            return self.known
        for _ in range(STARTS - 1):
            try:
                return self._started()
            except KilledAtStart:
                time.sleep(_PAUSE)
        return self._started()

    def _started(self) -> ChildProcess:
        with self._changing:
            if self.is_stopped:
                raise CancelledError
            child = self.known = ChildProcess(self.set_up)
        try:
            child.wait_until_ready()
        except BaseException:
            self.lose(child)
            if self.is_stopped:
                raise CancelledError from None
            raise
        self.has_begun.set()
        return child

    def ask(
        self, child: ChildProcess, message: tuple[Any, ...], payload: bytes = b""
    ) -> tuple[tuple[Any, ...], np.ndarray]:
        """See `ChildProcess.ask`; where it does not come to an answer, the process is lost."""
        try:
            return child.ask(message, self.set_up.time_limit, payload)
        except BaseException:
            self.lose(child)
            raise

    def lose(self, child: ChildProcess) -> None:
        """Ends a process, in whose place another one is to come; on the thread of the lane."""
        child.end()
        with self._changing:
            self.known = None

    def stop(self) -> None:
        """Ends the process, whatever it is at, and lets the thread end; from another thread."""
        with self._changing:
            self.is_stopped = True
            if self.known is not None:
                self.known.kill()
        self.ahead.stop()

    def close(self) -> None:
        """Leaves nothing behind, neither process nor thread; from another thread."""
        self.stop()
        self.ahead.join()
        if self.known is not None:
            self.lose(self.known)
