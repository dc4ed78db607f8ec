"""Frames that are in memory: arrays and pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import PIL.Image
import PIL.ImageFile

from ..display import scrub
from .container import check_size
from .errors import VideoDecodingError, one_line
from .info import VideoInfo
from .limits import DEFAULT_LIMITS, VideoLimits
from .picture import exif_orientation, picture_to_rgb


if TYPE_CHECKING:
    import torch

CHANNEL_COUNTS = (1, 3, 4)


class Clip:
    """Frames in memory, checked when the object is made and turned to RGB one by one.

    Args:
        source (`Any`): An array, a picture, or a list of either.
        input_data_format (`str`, *optional*): `"channels_first"` or `"channels_last"`, for arrays.
        convert_rgb (`bool`): Whether other channels are turned to RGB.
        limits (`VideoLimits`): Of pictures out of files, which are decoded when their frame is read.

    Attributes:
        info (`VideoInfo`): The facts about the video.
        scale (`float`, *optional*): What brings the pixels to [0, 255].

    Raises:
        VideoDecodingError: These are no frames of one video.
    """

    def __init__(
        self, source: Any, input_data_format: str | None, convert_rgb: bool, limits: VideoLimits = DEFAULT_LIMITS
    ) -> None:
        if isinstance(source, PIL.Image.Image):
            source = [source]
        if len(source) == 0:
            raise VideoDecodingError("The video holds no frame; pass at least one.")
        self.convert_rgb = convert_rgb
        self.frames: Sequence[Any] | np.ndarray
        self.channels_first = False
        self.scale: float | None = None
        shapes: list[tuple[int, ...]]
        if all(isinstance(frame, PIL.Image.Image) for frame in source):
            self.frames = source
            shapes = [_size(frame, limits)[::-1] for frame in source]
        else:
            self.frames = self._arrays(source)
            shapes = [frame.shape for frame in self.frames]
            self.channels_first = _is_channels_first(shapes[0], input_data_format)
        if different := [shape for shape in shapes if shape != shapes[0]]:
            raise VideoDecodingError(
                f"The frames of the video change size, from {shapes[0]} to {different[0]}; resize them to one size."
            )
        height, width = shapes[0][-2:] if self.channels_first else shapes[0][:2]
        if height == 0 or width == 0:
            raise VideoDecodingError(f"The frames of the video have no pixel ({height} x {width}); pass larger ones.")
        if isinstance(self.frames[0], np.ndarray):
            self.scale = _scale_to_uint8(self.frames)
        self.info = VideoInfo(len(self.frames), None, width, height, unit_range=self.scale == 255.0)

    @staticmethod
    def _arrays(source: Any) -> Sequence[np.ndarray] | np.ndarray:
        if isinstance(source, np.ndarray) or is_tensor(source):
            array = _to_numpy(source)
            if array.ndim != 4:
                raise VideoDecodingError(
                    f"The array of shape {array.shape} is not a video; pass 4 axes, (frames, height, width, channels) "
                    "or (frames, channels, height, width)."
                )
            return array
        arrays = [_to_numpy(frame) for frame in source if isinstance(frame, np.ndarray) or is_tensor(frame)]
        if len(arrays) < len(source) or any(array.ndim not in (2, 3) for array in arrays):
            raise VideoDecodingError(
                "The list is not one video; pass only pictures, or only arrays of shape (height, width) or (height, "
                "width, channels)."
            )
        return arrays

    def frame(self, index: int) -> np.ndarray:
        """The frame of an index, `uint8` of shape (height, width, channels)."""
        frame = self.frames[index]
        if isinstance(frame, PIL.Image.Image):
            return self._pixels(frame, index)
        if frame.ndim == 2:
            frame = frame[..., None]
        elif self.channels_first:
            frame = np.moveaxis(frame, 0, -1)
        if self.scale is not None:
            frame = np.rint(frame * self.scale).astype(np.uint8)
        if self.convert_rgb and frame.shape[-1] == 1:
            frame = np.repeat(frame, 3, axis=-1)
        elif self.convert_rgb and frame.shape[-1] == 4:
            frame = picture_to_rgb(PIL.Image.fromarray(np.ascontiguousarray(frame)))
        return frame

    def _pixels(self, picture: PIL.Image.Image, index: int) -> np.ndarray:
        try:
            pixels = picture_to_rgb(picture) if self.convert_rgb else np.array(picture)
            return exif_orientation(picture).apply(pixels if pixels.ndim == 3 else pixels[..., None])
        except Exception as error:  # PIL raises what it likes at damaged files
            raise VideoDecodingError(
                f"Picture {index} of the video cannot be read ({one_line(error)}); replace it by a complete copy."
            ) from scrub(error)


def is_tensor(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether a value is a tensor of torch, which is not loaded for the question: reading files does without it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _size(picture: PIL.Image.Image, limits: VideoLimits) -> tuple[int, int]:
    """Width and height of an upright picture, before it is decoded."""
    width, height = exif_orientation(picture).size(*picture.size)
    if isinstance(picture, PIL.ImageFile.ImageFile):
        check_size(width, height, "The picture", limits)
    return width, height


def _to_numpy(array: np.ndarray | torch.Tensor) -> np.ndarray:
    if not isinstance(array, np.ndarray):
        try:
            array = array.detach().cpu()
            array = (array.float() if array.is_floating_point() else array).numpy()  # numpy has no bfloat16
        except Exception as error:  # sparse, quantised, without memory...
            raise VideoDecodingError(
                f"The frames of the video are a tensor that cannot be turned to an array ({one_line(error)}); pass a "
                "dense one."
            ) from scrub(error)
    return array


def _is_channels_first(shape: tuple[int, ...], input_data_format: str | None) -> bool:
    """Whether a frame of this shape is (channels, height, width)."""
    if len(shape) == 2:
        return False
    if input_data_format is None:
        first = shape[-1] != 3 and (shape[0] == 3 or shape[-1] not in CHANNEL_COUNTS)
    elif input_data_format in ("channels_first", "channels_last"):
        first = input_data_format == "channels_first"
    else:
        raise ValueError(f"`input_data_format` is 'channels_first' or 'channels_last', not {input_data_format!r}.")
    if shape[0 if first else -1] not in CHANNEL_COUNTS:
        raise VideoDecodingError(
            f"The frames of the video have the shape {shape}, without an axis of 1, 3 or 4 channels; pass grey, RGB "
            "or RGBA frames."
        )
    return first


def _scale_to_uint8(frames: Sequence[np.ndarray] | np.ndarray) -> float | None:
    """The factor that brings the pixels to [0, 255], or `None` if they are `uint8` already."""
    types = {frame.dtype for frame in frames}
    if types == {np.dtype(np.uint8)}:
        return None
    if any(dtype.kind not in "uif" for dtype in types):
        raise VideoDecodingError(
            f"The pixels of the video have the type {', '.join(sorted(map(str, types)))}; pass uint8 or float pixels."
        )
    # `np.min` and `np.max` hand on a NaN.
    low, high = float(np.min([np.min(frame) for frame in frames])), float(np.max([np.max(frame) for frame in frames]))
    if not np.isfinite([low, high]).all():
        raise VideoDecodingError("The video has NaN or infinite pixels; pass finite ones.")
    if low < 0 or high > 255:
        raise VideoDecodingError(
            f"The pixels of the video go from {low:g} to {high:g}; pass them in [0, 255], or floats in [0, 1], before "
            "any normalisation."
        )
    return 255.0 if high <= 1 and all(dtype.kind == "f" for dtype in types) else 1.0
