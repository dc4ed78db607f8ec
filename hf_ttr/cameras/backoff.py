"""How long to wait before something is tried again: longer each time, and never all at the same moment."""

from __future__ import annotations

import random


FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0


class Backoff:
    """
    Pauses between attempts: twice as long each time, up to a limit, less up to a half by chance.

    Args:
        first, longest (`float`): seconds of the first pause, and of those in the end.
        chance (`random.Random`, *optional*): what tells those apart that lost the same receiver at the same time.

    Example:

    ```python
    >>> from hf_ttr.cameras.backoff import Backoff

    >>> backoff = Backoff(first=1.0, longest=4.0)
    >>> [0.5 * size <= backoff.next_pause() <= size for size in (1, 2, 4, 4)]
    [True, True, True, True]

    ```
    """

    def __init__(
        self, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE, chance: random.Random | None = None
    ) -> None:
        self._first = first
        self._longest = longest
        self._chance = chance or random.Random()
        self._size = first

    def next_pause(self) -> float:
        """Seconds until the next attempt; the one after that is later."""
        size, self._size = self._size, min(2 * self._size, self._longest)
        return size * self._chance.uniform(0.5, 1.0)

    def reset(self) -> None:
        """An attempt was successful."""
        self._size = self._first


__all__ = ["Backoff"]
