"""Which parts of a frame a model looks at: all that the processor makes of it, or squares along its longer side."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np

from .errors import VideoDecodingError


def check_views(views: Any) -> None:
    """
    Looks whether a number of views is one that there is.

    Raises:
        ValueError: if it is not; one sentence.
    """
    if views not in (1, 3):
        raise ValueError(f"views is {views!r}, but must be 1, or 3 squares along the longer side.")


def views_of(processor: Any, frame: np.ndarray, views: int) -> np.ndarray:
    """
    What the model sees of a frame: by itself, so that a video need not be in memory before it is made small.

    Args:
        processor: a `TemporalReuseVideoProcessor`.
        frame: `uint8` of shape `(height, width, 3)`.
        views: 1, the frame as the processor makes it, or 3 squares along its longer side.

    Returns:
        `np.ndarray`: `float32` of shape `(views, channels, height, width)`.
    """
    options: dict[str, Any] = {"do_sample_frames": False, "return_tensors": "np"}
    if views == 3:
        options |= {"size": {"shortest_edge": min(_side(processor))}, "do_center_crop": False}
    pixels: np.ndarray = processor([frame], **options)["pixel_values"][0]
    return pixels if views == 1 else _squares(pixels[0])


def check_sizes(sizes: Set[tuple[int, ...]]) -> None:
    """
    Looks whether the frames of a video, as the processor makes them, can be put together.

    Args:
        sizes: height and width of all of them.

    Raises:
        VideoDecodingError: if there are several.
    """
    if len(sizes) > 1:
        raise VideoDecodingError(
            f"The frames of the video have the sizes {' and '.join(map(str, sorted(sizes)))}; set a fixed `size`."
        )


def _side(processor: Any) -> tuple[int, int]:
    """Height and width of what the processor makes."""
    size = processor.crop_size if processor.do_center_crop else processor.size
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    return size["height"], size["width"]


def _squares(pixels: np.ndarray) -> np.ndarray:
    """Three squares along the longer side of a frame of shape `(channels, height, width)`."""
    height, width = pixels.shape[1:]
    side, room = min(height, width), abs(height - width)
    starts = (0, room // 2, room)
    return np.stack([pixels[:, :, s : s + side] if width >= height else pixels[:, s : s + side] for s in starts])
