"""One frame of a stream, whose pixels are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import numpy as np


class Frame:
    """A frame and its place in the stream.

    Args:
        pixels (`np.ndarray` or `Callable[[], np.ndarray]`): The pixels, or the function that makes them. It is called
            at most once, so that a frame that is dropped is never converted.
        time (`float`): Seconds on the stream's own clock, from its first frame.
        index (`int`): Number of the frame in the source, from 0, dropped frames counted.

    Attributes:
        arrival (`float`): When it came, by `time.monotonic()`.
    """

    __slots__ = ("_pixels", "arrival", "index", "time")

    def __init__(self, pixels: np.ndarray | Callable[[], np.ndarray], time: float, index: int) -> None:
        self._pixels = pixels
        self.time = time
        self.index = index
        self.arrival = monotonic()

    @property
    def pixels(self) -> np.ndarray:
        """The picture, RGB `uint8` of shape (height, width, 3).

        Raises:
            SourceError: The decoded frame has a pixel format that cannot be converted.
        """
        if not isinstance(self._pixels, np.ndarray):
            self._pixels = self._pixels()
        return self._pixels

    def moved(self, time: float, index: int) -> Frame:
        """Give the same picture another place, without converting it.

        Args:
            time (`float`): Seconds on the other stream's clock.
            index (`int`): Number of the frame in the other stream.

        Returns:
            `Frame`: The frame in its new place.
        """
        return Frame(self._pixels, time, index)

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, time={self.time:.3f})"
