"""Read a source in the background, so that its frames are there when they are wanted."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from ..display import scrub
from .base import FrameSource, SourceError, one_line
from .frame import Frame
from .states import OPENING, RECONNECTING, SILENCE, STALLED, StreamState, is_silent


DEFAULT_CAPACITY = 8


class FrameReader:
    """A thread that reads a source into a queue.

    Args:
        source (`FrameSource`): The source; the reader closes it.
        capacity (`int`): Number of frames that the queue holds.
        drop_oldest (`bool`, *optional*): Whether a full queue drops its oldest frame for the newest; if not, the
            thread waits for room. `source.is_live` by default.
        start (`int`): Number of frames of the source to skip.
        wake (`threading.Event`, *optional*): Set whenever a frame has come or the stream has ended; several readers,
            and whatever else their consumer waits for, may share it. The consumer clears it, and then looks.

    Attributes:
        source (`FrameSource`): The source.
        error (`SourceError`, *optional*): What ended the stream, if it was a fault. The frames before it remain in
            the queue.
        dropped (`int`): Number of frames that were dropped because the queue was full.
        received (`int`): Number of frames that the source gave, those that were dropped included.
        last_arrival (`float`, *optional*): When the last of them came, by `time.monotonic()`.

    Raises:
        ValueError: `capacity` is not positive, or `start` is negative.
        SourceError: The source has been read before.

    Example:

    ```python
    >>> import hf_ttr
    >>> from hf_ttr.streaming import FrameReader, open_source

    >>> with FrameReader(open_source(hf_ttr.example("demo.mp4"))) as reader:
    ...     while not reader.ended:
    ...         frame = reader.get(timeout=1.0)
    ```
    """

    def __init__(
        self,
        source: FrameSource,
        capacity: int = DEFAULT_CAPACITY,
        drop_oldest: bool | None = None,
        start: int = 0,
        wake: threading.Event | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"`capacity` is {capacity}; the queue has to hold at least 1 frame.")
        self.source = source
        self.error: SourceError | None = None
        self.dropped = 0
        self.received = 0
        self.last_arrival: float | None = None
        self._usual_gap: float | None = None
        self._capacity = capacity
        self._drop_oldest = source.is_live if drop_oldest is None else drop_oldest
        self._frames = source.frames(start)
        self._queue: deque[Frame] = deque()
        self._done = False
        self._closing = False
        self._changed = threading.Condition()
        self._listeners = {wake} if wake is not None else set()
        self._thread = threading.Thread(target=self._run, name=f"reader of {source.name}", daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        """Whether the source has ended and all its frames have been taken."""
        with self._changed:
            return self._done and not self._queue

    @property
    def ready(self) -> bool:
        """Whether there is something to do at once: a frame to take, or an end to notice."""
        with self._changed:
            return self._done or bool(self._queue)

    @property
    def state(self) -> StreamState:
        """What the stream does, as long as there are frames to take or to come."""
        with self._changed:
            if self.source.state in (OPENING, RECONNECTING):
                return self.source.state
            if self.last_arrival is None:
                return OPENING
            # One that waits for room in the queue has more to give.
            is_waiting = not self._done and (self._drop_oldest or len(self._queue) < self._capacity)
            thinning = self.source.thinning
            # Of a source that is thinned, the first frames lie as far apart as those that follow.
            gap = max(self._usual_gap or 0.0, 0.0 if thinning is None else 1 / thinning.max_fps)
            if is_waiting and is_silent(time.monotonic() - self.last_arrival, gap):
                return STALLED
            return self.source.state

    def get(self, timeout: float = 0.0) -> Frame | None:
        """Take the oldest frame.

        Args:
            timeout (`float`): Seconds to wait for one.

        Returns:
            `Frame`, *optional*: The frame; `None` if none came in time, or none will.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._done, timeout)
            return self._pop()

    def take(self, most: int) -> list[Frame]:
        """Take frames without waiting.

        Args:
            most (`int`): The largest number of frames to take.

        Returns:
            `list[Frame]`: The oldest frames, possibly none.
        """
        with self._changed:
            frames = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            self._changed.notify_all()
            return frames

    def _pop(self) -> Frame | None:
        if not self._queue:
            return None
        self._changed.notify_all()
        return self._queue.popleft()

    def stop(self) -> None:
        """Do as `close`, without waiting for the thread."""
        with self._changed:
            self._closing = True
            self._queue.clear()
            self._changed.notify_all()
        self.source.close()

    def close(self, timeout: float = 1.0) -> None:
        """Stop reading, drop the frames in the queue, and close the source; closing again does nothing.

        Args:
            timeout (`float`): Seconds to wait for the thread. One that waits for the network, or for an iterator,
                goes on in the background until that answers, and closes the source then.
        """
        self.stop()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)
        with self._changed:
            self._done = True
            self._tell()

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def _run(self) -> None:
        error: SourceError | None = None
        try:
            for frame in self._frames:
                if not self._put(frame):
                    break
        except SourceError as fault:
            error = fault
        except BaseException as fault:  # an iterator may raise anything, and the consumer must hear of it
            error = SourceError(f"{self.source.label} broke off ({one_line(fault)}); correct its source.")
            error.__cause__ = scrub(fault)
        finally:
            self._frames.close()  # type: ignore[attr-defined]
            self.source.close()
            with self._changed:
                self.error = None if self._closing else error
                self._done = True
                self._tell()

    def _put(self, frame: Frame) -> bool:
        """Put a frame into the queue, waiting for room if need be; whether to go on reading."""
        with self._changed:
            self.received += 1
            self._note_arrival()
            if not self._drop_oldest:
                self._changed.wait_for(lambda: len(self._queue) < self._capacity or self._closing)
            if self._closing:
                return False
            if len(self._queue) == self._capacity:
                self._queue.popleft()
                self.dropped += 1
            self._queue.append(frame)
            self._tell()
            return True

    def _note_arrival(self) -> None:
        now = time.monotonic()
        if self.last_arrival is not None:
            # A mean that forgets, so that neither the beginning nor an interruption counts for long.
            gap, usual = now - self.last_arrival, self._usual_gap
            self._usual_gap = gap if usual is None else usual + (min(gap, max(SILENCE, 10 * usual)) - usual) / 10
        self.last_arrival = now

    def _tell(self) -> None:
        self._changed.notify_all()
        for listener in self._listeners:
            listener.set()

    def _listen(self, listener: threading.Event, on: bool) -> None:
        with self._changed:
            (self._listeners.add if on else self._listeners.discard)(listener)


def wait_for_any(readers: Iterable[FrameReader], timeout: float) -> list[FrameReader]:
    """Wait until a reader has a frame, or has come to its end.

    Args:
        readers (`Iterable[FrameReader]`): The readers.
        timeout (`float`): Seconds to wait at most.

    Returns:
        `list[FrameReader]`: All the readers that have a frame or have ended; none if the time is over. A reader that
        has `ended` is in it each time, and had better be left out of the next call.
    """
    readers = list(readers)
    if ready := [reader for reader in readers if reader.ready]:
        return ready
    end = time.monotonic() + timeout
    woken = threading.Event()
    for reader in readers:
        reader._listen(woken, True)
    try:
        while True:
            woken.clear()
            ready = [reader for reader in readers if reader.ready]
            if ready or not woken.wait(max(0.0, end - time.monotonic())):
                return ready
    finally:
        for reader in readers:
            reader._listen(woken, False)
