"""Frames that the caller has, or makes one by one: arrays, pictures and iterators of them."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from numbers import Real
from typing import Any

import numpy as np
import PIL.Image
import torch

from ..display import scrub
from ..video import VideoDecodingError, VideoLimits
from ..video.clip import Clip
from ..video.limits import DEFAULT_LIMITS
from .base import FrameSource, SourceError, label, one_line
from .clock import StreamClock
from .frame import Frame


class ArraySource(FrameSource):
    """The frames of an array, a list or an iterator.

    Frames of floats are in [0, 255] or in [0, 1]: all the frames of an array or a list decide which, and the first
    frame of an iterator.

    Args:
        source (`Iterable`): An array of shape (frames, height, width, channels) or (frames, channels, height,
            width), a picture, or any iterable of arrays of shape (height, width) or (height, width, channels),
            pictures, `Frame`s or pairs `(time, frame)` with the time in seconds.
        name (`str`): What the stream is called in messages.
        is_live (`bool`): Whether frames without a time get that of their arrival, rather than one of `fps`.
        fps (`float`): Frames per second, of frames without a time.
        limits (`VideoLimits`): Of pictures out of files.

    Raises:
        SourceError: The array, or the list, holds no frames.
    """

    def __init__(
        self,
        source: Iterable[Any] | PIL.Image.Image,
        name: str,
        is_live: bool,
        fps: float,
        limits: VideoLimits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(name, is_live)
        self._limits = limits
        self._step = 1 / fps
        # What makes frames one by one may make them all in the same memory.
        self._copies = not isinstance(source, (np.ndarray, torch.Tensor, PIL.Image.Image, list, tuple))
        self._scale: float | None = None
        self._clock = StreamClock()
        try:
            if isinstance(source, (np.ndarray, torch.Tensor)):
                self._scale = Clip(source, None, True).scale
            elif isinstance(source, PIL.Image.Image):
                source = [source]
            elif isinstance(source, (list, tuple)):
                self._scale = _common_scale(source)
        except VideoDecodingError as error:
            raise SourceError(f"{label(name)} cannot be read: {_lower(error)}") from scrub(error)
        self._source: Iterable[Any] | None = source

    def _frames(self) -> Generator[Frame, None, None]:
        index = 0
        began: float | None = None
        try:
            items = iter(self._source if self._source is not None else ())
            while not self._closing.is_set():
                try:
                    item = next(items)
                except StopIteration:
                    break
                except Exception as error:
                    raise SourceError(
                        f"{self.label} broke off after {index} frames, as its iterator raised {one_line(error)}; "
                        "correct the iterator."
                    ) from scrub(error)
                now = time.monotonic()
                began = now if began is None else began
                frame = self._frame(item, index, now - began)
                index += 1
                self.received = self.decoded = index
                yield frame
            if index == 0 and not self._closing.is_set():
                raise SourceError(f"{self.label} holds no frame; pass at least one.")
        finally:
            self.close()

    def _frame(self, item: Any, index: int, elapsed: float) -> Frame:
        stamp: float | None = elapsed if self.is_live else index * self._step
        if isinstance(item, Frame):
            stamp = item.time
        elif _is_timed(item):
            stamp, item = float(item[0]), item[1]
        moment = self._clock.time_of(stamp, self._step)
        self.repaired_timestamps = self._clock.repaired
        if isinstance(item, Frame):
            return item.moved(moment, index)
        try:
            clip = Clip([item], None, True, self._limits)
        except VideoDecodingError as error:
            raise SourceError(f"{self.label} broke off at frame {index}: {_lower(error)}") from scrub(error)
        if clip.scale is not None:
            self._scale = self._scale or clip.scale
            if clip.scale < self._scale:
                raise SourceError(
                    f"{self.label} broke off at frame {index}, whose pixels exceed 1 after frames in [0, 1]; pass "
                    "uint8 pixels."
                )
            clip.scale = self._scale

        def pixels() -> np.ndarray:
            try:
                return clip.frame(0)
            except VideoDecodingError as error:
                raise SourceError(f"{self.label} broke off at frame {index}: {_lower(error)}") from scrub(error)

        return Frame(np.array(pixels()) if self._copies else pixels, moment, index)

    def close(self) -> None:
        """Stop before the next frame; an iterator that is making one is not interrupted."""
        super().close()
        self._source = None


def _is_timed(item: Any) -> bool:
    return isinstance(item, (tuple, list)) and len(item) == 2 and isinstance(item[0], Real)


def _common_scale(items: Iterable[Any]) -> float | None:
    """What brings the float frames of a list to [0, 255]."""
    frames = [item[1] if _is_timed(item) else item for item in items]
    if not frames:
        raise VideoDecodingError("The video holds no frame; pass at least one.")
    arrays = [frame for frame in frames if isinstance(frame, (np.ndarray, torch.Tensor))]
    scales = [scale for array in arrays if (scale := Clip([array], None, True).scale) is not None]
    return min(scales, default=None)


def _lower(error: Exception) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]
