"""The times of the frames of a stream, whatever the timestamps of the source."""

from __future__ import annotations

import math


# A timestamp that lies further back than this, in seconds, is a clock that was set anew, not a slip of one frame.
RESTART_SECONDS = 1.0

# A timestamp of a live source that leaps so much further ahead than the time that passed, in seconds, is another one.
LEAP_SECONDS = 10.0


class StreamClock:
    """Turns timestamps into times from the first frame that strictly increase.

    Times of files are what their timestamps say, gaps included. Those of live sources are held against the time that
    passes: a clock that is set back or leaps ahead goes on with the seconds that went by.

    Attributes:
        repaired (`int`): Number of timestamps that were missing, not after the time before, or a leap ahead of the
            time that passed, and were replaced.
    """

    def __init__(self) -> None:
        self.repaired = 0
        self._last: float | None = None
        self._origin: float | None = None
        self._arrived: float | None = None

    def time_of(self, timestamp: float | None, step: float, arrival: float | None = None) -> float:
        """Give the time of the next frame.

        Args:
            timestamp (`float`, *optional*): What the source says, in seconds from any origin.
            step (`float`): Seconds between two frames, for a frame whose timestamp cannot be used.
            arrival (`float`, *optional*): When it came, in seconds of a clock of this machine; of a live source.

        Returns:
            `float`: Seconds since the first frame.
        """
        if timestamp is not None and not math.isfinite(timestamp):
            timestamp = None
        passed = 0.0 if arrival is None or self._arrived is None else arrival - self._arrived
        if arrival is not None:
            self._arrived = arrival
            step = passed if timestamp is None else max(step, passed)
        expected = 0.0 if self._last is None else self._last + step
        if timestamp is None:
            time = expected
            self.repaired += 1
        elif self._origin is None:
            time = expected
            self._origin = timestamp - expected
        else:
            time = timestamp - self._origin
            if self._last is not None:
                leaps = arrival is not None and time - self._last > passed + LEAP_SECONDS
                if leaps or time < self._last - RESTART_SECONDS:
                    self._origin = timestamp - expected
                if leaps or time <= self._last:
                    time = expected
                    self.repaired += 1
        if self._last is not None and time <= self._last:  # so far from 0 that a step is lost in rounding
            time = math.nextafter(self._last, math.inf)
        self._last = time
        return time
