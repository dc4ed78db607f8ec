"""From a decoded frame, or a picture, to upright RGB as its file says that it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import PIL.Image


if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# By their numbers in FFmpeg: matrices of colour that its scaler knows, and BT.601 for all others.
_COLORSPACES = frozenset({1, 4, 5, 6, 7, 9})
_BT709, _BT601 = 1, 5
_LIMITED, _FULL = 1, 2

# Pixels that are put over white at once.
_STRIP = 2**20

_EXIF_ORIENTATION = 0x0112


class Orientation(NamedTuple):
    """How a stored picture is turned to be upright: transposed first, then mirrored and flipped.

    Attributes:
        transposed (`bool`): Whether rows become columns.
        mirrored (`bool`): Whether left and right change places.
        flipped (`bool`): Whether top and bottom change places.
    """

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return (height, width) if self.transposed else (width, height)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Turn pixels of shape (height, width, channels)."""
        if self.transposed:
            pixels = pixels.swapaxes(0, 1)
        return np.ascontiguousarray(pixels[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1])


UPRIGHT = Orientation()

# By the numbers of EXIF.
_EXIF = {
    2: Orientation(mirrored=True),
    3: Orientation(mirrored=True, flipped=True),
    4: Orientation(flipped=True),
    5: Orientation(transposed=True),
    6: Orientation(transposed=True, mirrored=True),
    7: Orientation(transposed=True, mirrored=True, flipped=True),
    8: Orientation(transposed=True, flipped=True),
}


def orientation_of(frame: VideoFrame, still: Orientation = UPRIGHT) -> Orientation:
    """How a decoded frame is turned, to the next quarter turn, by its whole display matrix; `still` without one."""
    from av.sidedata.sidedata import SideDataContainer

    # Its stub does not know what it is made of.
    container: Any = SideDataContainer
    try:
        # Not `frame.side_data`: the frame keeps that, and that the frame, and neither is free until Python looks for
        # circles, which it seldom does among many objects.
        all_data = container(frame)
        matrix = next((bytes(data) for data in all_data if data.type.name == "DISPLAYMATRIX"), None)
    except ValueError:  # PyAV gives none of the side data where there is a kind that it does not know
        return _quarter_turns(frame.rotation) if still == UPRIGHT else still
    if matrix is None:
        return still
    # A point (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d = (int(number) for number in np.frombuffer(matrix, np.int32)[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)


def _quarter_turns(degrees: float) -> Orientation:
    """Of an angle against the clock."""
    turns = {1: Orientation(True, False, True), 2: Orientation(False, True, True), 3: Orientation(True, True, False)}
    return turns.get(round(degrees / 90) % 4, UPRIGHT)


def still_orientation(file: BinaryIO) -> Orientation:
    """How a file of one still picture says that it is turned, in its EXIF data; upright where it says nothing."""
    try:
        file.seek(0)
        with PIL.Image.open(file) as picture:
            return exif_orientation(picture)
    except Exception:  # of a hostile file, PIL may raise anything; FFmpeg has the last word
        return UPRIGHT


def exif_orientation(picture: PIL.Image.Image) -> Orientation:
    """How a picture is turned, by its EXIF data."""
    try:
        return _EXIF.get(int(picture.getexif().get(_EXIF_ORIENTATION, 1)), UPRIGHT)
    except Exception:  # damaged EXIF data
        return UPRIGHT


def to_rgb(frame: VideoFrame, still: Orientation = UPRIGHT) -> np.ndarray:
    """Turn a decoded frame to upright RGB.

    Args:
        frame (`VideoFrame`): A frame in any pixel format, range and matrix of colour, and orientation.
        still (`Orientation`): How it is turned if it says nothing of that itself.

    Returns:
        `np.ndarray`: `uint8` of shape (height, width, 3), transparency over white.
    """
    colors = _colors_of(frame)
    if frame.format.has_palette or any(component.is_alpha for component in frame.format.components):
        pixels = _over_white(_reformat(frame, "rgba", colors))
    else:
        pixels = _reformat(frame, "rgb24", colors)
    return orientation_of(frame, still).apply(pixels)


def _reformat(frame: VideoFrame, kind: str, colors: dict[str, Any]) -> np.ndarray:
    # With threads of its own, the scaler of a frame that is freed in a forked process waits for them for ever.
    options: dict[str, Any] = {"format": kind, **colors}
    try:
        return frame.reformat(**options, threads=1).to_ndarray()
    except TypeError:  # older versions of PyAV know no threads
        return frame.reformat(**options).to_ndarray()


def _colors_of(frame: VideoFrame) -> dict[str, Any]:
    """What the scaler is to be told of the colours of a frame; older versions of PyAV do not tell it by themselves."""
    kind = frame.format
    if kind.is_rgb or len(kind.components) < 3 or kind.name.startswith("xyz"):  # of others, it has luma and chroma
        return {}
    space = frame.colorspace if frame.colorspace in _COLORSPACES else _BT601
    is_full = frame.color_range == _FULL or kind.name.startswith("yuvj")
    # Some read the range only where the two matrices differ; that of RGB has no meaning.
    return {
        "src_colorspace": int(space),
        "dst_colorspace": _BT709 if space == _BT601 else _BT601,
        "src_color_range": _FULL if is_full else _LIMITED,
    }


def _over_white(rgba: np.ndarray) -> np.ndarray:
    out = np.empty((*rgba.shape[:2], 3), np.uint8)
    # By PIL, whose rounding that of pictures is; in strips, so that it takes little memory.
    rows = max(1, _STRIP // rgba.shape[1])
    for start in range(0, len(rgba), rows):
        strip = PIL.Image.fromarray(np.ascontiguousarray(rgba[start : start + rows]))
        out[start : start + rows] = picture_to_rgb(strip)
    return out


def picture_to_rgb(picture: PIL.Image.Image) -> np.ndarray:
    """The pixels of a picture, transparency over white, as they are stored."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = PIL.Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))
