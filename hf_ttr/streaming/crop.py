"""The part of a picture that a stream is about."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from ..checks import is_number


@dataclass(frozen=True)
class Crop:
    """
    A rectangle, in fractions of the picture, whatever its size.

    Args:
        left, top, right, bottom (`float`): from 0 to 1, counted from the upper left corner.

    Raises:
        ValueError: if it is empty, or not inside the picture; one sentence.

    Example:

    ```python
    >>> import numpy as np
    >>> from hf_ttr.streaming.crop import Crop

    >>> Crop(0.5, 0.0, 1.0, 0.25).of(np.zeros((480, 640, 3))).shape
    (120, 320, 3)
    ```
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        values = astuple(self)
        inside = all(is_number(value) and 0 <= value <= 1 for value in values)
        if not inside or self.left >= self.right or self.top >= self.bottom:
            raise ValueError(
                f"a crop is {list(values)!r}, but must be left, top, right and bottom from 0 to 1, with left below "
                "right and top below bottom."
            )

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """
        Cuts a picture, without copying it.

        Args:
            pixels: of shape `(height, width, channels)`.

        Returns:
            `np.ndarray`: at least one pixel high and wide.
        """
        height, width = pixels.shape[:2]
        left, top = min(int(self.left * width), width - 1), min(int(self.top * height), height - 1)
        right, bottom = max(round(self.right * width), left + 1), max(round(self.bottom * height), top + 1)
        return pixels[top:bottom, left:right]
