"""A live source that is looked for until it is there, and again when it vanishes."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from ..display import chain_of
from .base import FrameSource, SourceError, reason_of
from .frame import Frame
from .states import LIVE, OPENING, RECONNECTING


FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0

_COUNTERS = ("received", "decoded", "damaged_packets", "repaired_timestamps")


class ReconnectingSource(FrameSource):
    """The frames of a live source across interruptions, with indices and times that go on.

    The time of the first frame after an interruption is that of the frame before and the seconds that passed. A source
    that is not there in the beginning is looked for in the same way. One of known length, such as a file on a server,
    has ended when it was read to its end.

    Args:
        opener (`Callable[[float], FrameSource]`): Opens the source, given the seconds that it may take.
        name (`str`): What the stream is called in messages.
        timeout (`float`): Seconds that opening may take.
        reconnect (`float`): Seconds without a frame, from the loss of the source or from the beginning, after which it
            is given up.
        opened (`FrameSource`, *optional*): The source, where it is open already.
    """

    def __init__(
        self,
        opener: Callable[[float], FrameSource],
        name: str,
        timeout: float,
        reconnect: float,
        opened: FrameSource | None = None,
    ) -> None:
        super().__init__(name, is_live=True)
        self.state = OPENING
        self._opener = opener
        self._opened = opened
        self._timeout = timeout
        self._reconnect = reconnect
        self._source: FrameSource | None = None
        self._past = dict.fromkeys(_COUNTERS, 0)  # of the sources before

    def _frames(self) -> Generator[Frame, None, None]:
        count, last = 0, 0.0
        seen = time.monotonic()
        lost: float | None = seen
        pause, opening = FIRST_PAUSE, self._timeout
        fault: SourceError | None = None
        try:
            while not self._closing.is_set():
                try:
                    self._source, self._opened = self._opened or self._opener(opening), None
                    offset: float | None = None
                    # One that was opened while this was closed is closed in the end.
                    for frame in self._source.frames() if not self._closing.is_set() else ():
                        if offset is None:
                            offset = last + max(time.monotonic() - seen, 1e-3) if count else 0.0
                            self.reconnections += count > 0
                        last, seen = offset + frame.time, time.monotonic()
                        lost, pause = None, FIRST_PAUSE
                        self.state, self.fault = LIVE, None
                        self._count(self._source)
                        yield frame.moved(last, count)
                        count += 1
                    if getattr(self._source, "has_known_end", False):
                        # Nothing has vanished.
                        return
                    fault = None
                except SourceError as error:
                    fault = _without_frames(error)
                self._drop()
                if not self._closing.is_set():
                    self.state, self.fault = (RECONNECTING if count else OPENING), fault
                lost = time.monotonic() if lost is None else lost
                remaining = lost + self._reconnect - time.monotonic()
                if remaining <= 0 and not self._closing.is_set():
                    raise self._given_up(count, fault) from fault
                self._closing.wait(min(pause, max(remaining, 0.0)))
                pause = min(2 * pause, LONGEST_PAUSE)
                opening = min(self._timeout, max(remaining, FIRST_PAUSE))
        finally:
            self.close()

    def _given_up(self, count: int, fault: SourceError | None) -> SourceError:
        why = reason_of(fault, self.name) if fault else "ended"
        what = f"vanished after {count} frames and gave none for" if count else "gave no frame for"
        return SourceError(
            f"{self.label} {what} {self._reconnect:g} s (it {why}); check the network and its sender, or raise "
            "`reconnect`."
        )

    def _count(self, source: FrameSource) -> None:
        for name, before in self._past.items():
            setattr(self, name, before + getattr(source, name))

    def _drop(self) -> None:
        if (source := self._source) is not None:
            source.close()
            self._count(source)
            self._past = {name: getattr(self, name) for name in _COUNTERS}
            self._source = None

    def close(self) -> None:
        """Close the source, and open it no more."""
        super().close()
        for source in (self._source, self._opened):
            if source is not None:
                source.close()


def _without_frames(fault: SourceError) -> SourceError:
    """The fault, which else holds the decoder that it came from, in a circle, until the collector comes by."""
    for link in chain_of(fault):
        link.__traceback__ = None
    return fault
