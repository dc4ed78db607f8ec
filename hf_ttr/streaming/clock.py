"""The times of the frames of a stream, whatever the timestamps of the source."""

from __future__ import annotations

import math


# A timestamp that lies further back than this, in seconds, is a clock that was set anew, not a slip of one frame.
RESTART_SECONDS = 1.0


class StreamClock:
    """Turns timestamps into times from the first frame that strictly increase.

    Attributes:
        repaired (`int`): Number of timestamps that were missing, or not after the time before, and were replaced.
    """

    def __init__(self) -> None:
        self.repaired = 0
        self._last: float | None = None
        self._origin: float | None = None

    def time_of(self, timestamp: float | None, step: float) -> float:
        """Give the time of the next frame.

        Args:
            timestamp (`float`, *optional*): What the source says, in seconds from any origin.
            step (`float`): Seconds between two frames, for a frame whose timestamp cannot be used.

        Returns:
            `float`: Seconds since the first frame.
        """
        if timestamp is not None and not math.isfinite(timestamp):
            timestamp = None
        expected = 0.0 if self._last is None else self._last + step
        if timestamp is None:
            time = expected
            self.repaired += 1
        elif self._origin is None:
            time = expected
            self._origin = timestamp - expected
        else:
            time = timestamp - self._origin
            if self._last is not None and time <= self._last:
                if time < self._last - RESTART_SECONDS:
                    self._origin = timestamp - expected
                time = expected
                self.repaired += 1
        if self._last is not None and time <= self._last:  # so far from 0 that a step is lost in rounding
            time = math.nextafter(self._last, math.inf)
        self._last = time
        return time
