"""At most so many frames in a second, chosen before they are decoded where that can be."""

from __future__ import annotations

import math


# Times are sums of rounded steps: one that belongs to a span may lie a little before it.
_ROUNDING = 1e-6

_SPANS = 32
"""How many spans of time are known behind the newest: packets come in the order of decoding."""


class Thinning:
    """
    Takes the first frame in each of the equal spans that a rate divides time into.

    Args:
        max_fps (`float`): frames in a second.

    Example:

    ```python
    >>> from hf_ttr.streaming.thinning import Thinning

    >>> thinning = Thinning(5.0)
    >>> [number for number in range(15) if thinning.takes(number / 25)]
    [0, 5, 10]
    ```
    """

    def __init__(self, max_fps: float) -> None:
        self.max_fps = max_fps
        self._last: int | None = None
        self._first: dict[int, float] = {}

    def takes(self, time: float) -> bool:
        """
        Whether a frame is looked at.

        Args:
            time (`float`): of the frame, in seconds; frames come in the order in which they are shown.
        """
        span = self._span(time)
        takes, self._last = span != self._last, span
        return takes

    def is_surplus(self, time: float) -> bool:
        """
        Whether a packet holds a frame that is not looked at, as an earlier one of its span came before.

        Args:
            time (`float`): of its frame, in seconds; packets come in the order in which they are decoded.
        """
        span = self._span(time)
        first = self._first.get(span)
        if first is None or time <= first:
            if self._first and abs(span - max(self._first)) > _SPANS:
                # Another clock: what came before says nothing of it.
                self._first.clear()
            self._first[span] = time
            if len(self._first) > _SPANS:
                del self._first[min(self._first)]
            return False
        return True

    def _span(self, time: float) -> int:
        return math.floor(time * self.max_fps + _ROUNDING)
