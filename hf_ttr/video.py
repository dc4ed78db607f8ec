"""Read the frames of a video: of a file, a URL, bytes, arrays or pictures, always as RGB `uint8` arrays.

Files are decoded with PyAV, which is imported when the first one is read. `read_frames` learns the number of frames
without decoding, lets its caller choose among them, and then keeps only those: a long video is never held in memory.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, overload
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import PIL.Image
import torch


if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["VideoDecodingError", "VideoInfo", "read_frames"]

T = TypeVar("T")

# A file that holds less than this part of what its header promises was cut off.
COMPLETE_SHARE = 0.8

# The kinds of streams that have no picture, as PyAV sorts them.
STREAM_KINDS = ("audio", "subtitles", "data")

CHANNEL_COUNTS = (1, 3, 4)


class VideoDecodingError(ValueError):
    """A video cannot be read; the message is one sentence that names the video, the fault and the remedy."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video once its frames are read.

    Attributes:
        frames (`int`): Number of frames of the whole video. It is the number of decoded frames, or the number of
            packets of the file when the frames after the last chosen one were not decoded.
        fps (`float`, *optional*): Frames per second as the container states them, which may be wrong. `None` when it
            states nothing, and for arrays and pictures.
        width (`int`): Width of a frame in pixels, after rotation.
        height (`int`): Height of a frame in pixels, after rotation.
        unit_range (`bool`): Whether the video was given as float arrays in [0, 1]; its frames come out times 255.
    """

    frames: int
    fps: float | None
    width: int
    height: int
    unit_range: bool = False


@overload
def read_frames(
    source: Any,
    select: Callable[[int], Sequence[int]] | None = None,
    transform: None = None,
    *,
    input_data_format: str | None = None,
    convert_rgb: bool = True,
) -> tuple[list[np.ndarray], VideoInfo]: ...


@overload
def read_frames(
    source: Any,
    select: Callable[[int], Sequence[int]] | None,
    transform: Callable[[np.ndarray], T],
    *,
    input_data_format: str | None = None,
    convert_rgb: bool = True,
) -> tuple[list[T], VideoInfo]: ...


def read_frames(
    source: Any,
    select: Callable[[int], Sequence[int]] | None = None,
    transform: Callable[[np.ndarray], Any] | None = None,
    *,
    input_data_format: str | None = None,
    convert_rgb: bool = True,
) -> tuple[list[Any], VideoInfo]:
    """Read the chosen frames of one video.

    The frame of index `i` is the `i`-th frame that the decoder gives, whatever the timestamps say.

    Args:
        source: One of

            - a path (`str` or `os.PathLike`), an `http://`, `https://` or `file://` URL;
            - `bytes`, or a binary file, which is read from its start;
            - `{"path": ..., "bytes": ...}`, an undecoded video of the `datasets` library;
            - a `numpy.ndarray` or `torch.Tensor` of shape (frames, height, width, channels) or (frames, channels,
              height, width), with 1, 3 or 4 channels: integers in [0, 255], or floats in [0, 255] or in [0, 1];
            - a list of frames: pictures (`PIL.Image.Image`), or arrays of shape (height, width), (height, width,
              channels) or (channels, height, width). A single picture is a video of one frame.
        select (`Callable[[int], Sequence[int]]`, *optional*): Called with the number of frames, returns the indices
            of the frames to read, in any order and with any repetition. All the frames are read without it.
        transform (`Callable[[np.ndarray], Any]`, *optional*): Called once with each chosen frame, as soon as it is
            decoded; what it returns is kept in the place of the frame.
        input_data_format (`str`, *optional*): `"channels_first"` or `"channels_last"`, for arrays. Without it, the
            channels are the axis of length 3, else of length 1 or 4; the last axis if both are.
        convert_rgb (`bool`): Whether arrays and pictures with 1 or 4 channels are turned to RGB, transparency over
            white. Files always are.

    Returns:
        `tuple[list, VideoInfo]`: The frames in the order of `select`, each a `uint8` array of shape (height, width,
        3) in [0, 255] or what `transform` made of it, and the facts about the video.

    Raises:
        VideoDecodingError: The video does not exist, is empty, cut off or damaged, holds no picture, or the arrays
            are no frames of one video.
    """
    select = range if select is None else select
    transform = _unchanged if transform is None else transform
    if isinstance(source, Mapping):
        source = source.get("bytes") or source.get("path")
    if isinstance(source, (np.ndarray, torch.Tensor, PIL.Image.Image, list, tuple)):
        clip = Clip(source, input_data_format, convert_rgb)
        indices = _checked(select(clip.info.frames), clip.info.frames)
        kept = {index: transform(clip.frame(index)) for index in dict.fromkeys(indices)}
        return [kept[index] for index in indices], clip.info
    with _binary_file(source) as (file, name):
        return _read_file(file, name, select, transform)


def _unchanged(frame: np.ndarray) -> np.ndarray:
    return frame


def _checked(indices: Sequence[int], frames: int) -> list[int]:
    indices = [int(index) for index in indices]
    if outside := [index for index in indices if not 0 <= index < frames]:
        raise IndexError(f"`select` chose frame {outside[0]} of a video of {frames} frames.")
    return indices


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


class NamelessFile:
    """A file without its name: FFmpeg goes by the content alone, and takes no name for a protocol or a pattern.

    Args:
        file (`BinaryIO`): The file; only one that says it cannot seek is read from front to back.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        if is_seekable(file):
            self.seek, self.tell = file.seek, file.tell


def is_seekable(file: Any) -> bool:
    """Whether a file object can be read from any place."""
    return hasattr(file, "seek") and (not hasattr(file, "seekable") or bool(file.seekable()))


@contextmanager
def _binary_file(source: Any) -> Iterator[tuple[BinaryIO, str]]:
    """Give the source as a seekable binary file that is not empty, and the name it has in messages."""
    if isinstance(source, (str, os.PathLike)):
        text = os.fsdecode(source)
        name = f"The video '{text if len(text) <= 300 else text[:300] + '...'}'"
        is_url = isinstance(source, str) and text.lower().startswith(("http://", "https://"))
        with io.BytesIO(_download(text, name)) if is_url else open_path(text, name) as file:
            yield not_empty(file, name), name
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield not_empty(io.BytesIO(source), "The video given as bytes"), "The video given as bytes"
    elif callable(getattr(source, "read", None)):
        name = f"The video of the file object {getattr(source, 'name', type(source).__name__)!r}"
        check_binary(source, name)
        file = source if is_seekable(source) else io.BytesIO(source.read())
        yield not_empty(file, name), name
    else:
        raise VideoDecodingError(
            f"A video cannot be read from an object of type '{type(source).__name__}'; pass a path, a URL, bytes, a "
            "binary file, an array of shape (frames, height, width, channels) or a list of frames."
        )


def check_binary(file: Any, name: str) -> None:
    """Refuse a file object that gives text."""
    if not isinstance(file.read(0), bytes):
        raise VideoDecodingError(f"{name} is opened as text; open the file with mode 'rb'.")


def open_path(text: str, name: str) -> BinaryIO:
    """Open the file of a path or a `file://` URL, and refuse folders and what does not exist."""
    path = url2pathname(urlsplit(text).path) if text.lower().startswith("file://") else text
    if os.path.isdir(path):
        raise VideoDecodingError(f"{name} is a folder; pass the path of one file in it.")
    if not os.path.isfile(path):
        # Two letters at least, so that a drive such as C: remains a path.
        if re.match(r"[a-z][\w+.,-]+:", text, re.IGNORECASE) and path == text:
            raise VideoDecodingError(f"{name} uses a protocol that is not read; pass a file or an http(s) URL.")
        raise VideoDecodingError(f"{name} does not exist; check the path.")
    try:
        return open(path, "rb")
    except OSError as error:
        raise VideoDecodingError(f"{name} cannot be opened ({error.strerror}); check its permissions.") from error


def _download(url: str, name: str) -> bytes:
    try:  # the client that transformers downloads videos with, under the name that the installed version has for it
        from huggingface_hub.utils import httpx
    except ImportError:
        import httpx  # type: ignore[no-redef]
    try:
        response = httpx.get(url, follow_redirects=True, timeout=30.0)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).rstrip(".")
        raise VideoDecodingError(f"{name} could not be downloaded ({reason}); check the URL and network.") from error
    if response.status_code != 200:
        raise VideoDecodingError(
            f"{name} could not be downloaded (HTTP status {response.status_code}); check the URL."
        )
    return response.content


def not_empty(file: BinaryIO, name: str) -> BinaryIO:
    """Give the file back, which can seek, or refuse it if it holds nothing."""
    file.seek(0, os.SEEK_END)
    if file.tell() == 0:
        raise VideoDecodingError(f"{name} is empty (0 bytes); replace it by a complete copy.")
    return file


def _read_file(
    file: BinaryIO, name: str, select: Callable[[int], Sequence[int]], transform: Callable[[np.ndarray], Any]
) -> tuple[list[Any], VideoInfo]:
    with _video_stream(file, name) as (container, stream):
        total = _count_packets(container, stream, name)
    indices = _checked(select(total), total)
    kept, info = _decode(file, name, total, set(indices), transform)
    if info.frames != total:
        # Packets are not always frames (some are hidden or damaged): choose again among those that were decoded.
        again = _checked(select(info.frames), info.frames)
        if again != indices:
            indices = again
            kept, info = _decode(file, name, info.frames, set(indices), transform)
    return [kept[index] for index in indices], info


@contextmanager
def _video_stream(file: BinaryIO, name: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    container = open_container(file, name)
    with container:
        yield container, choose_stream(container, name)


def open_container(file: BinaryIO, name: str) -> InputContainer:
    """Let FFmpeg open a file object, from its start if it can seek, with no other file or address in its reach."""
    import av

    if is_seekable(file):
        file.seek(0)
    try:
        # A playlist names other files and URLs: no protocol is allowed to open them.
        return av.open(NamelessFile(file), mode="r", options={"protocol_whitelist": "none"}, metadata_errors="replace")
    except av.FFmpegError as error:
        if is_seekable(file) and _is_mp4(file):
            fault, remedy = "is an MP4 file cut off before its index", "replace it by a complete copy"
        else:
            fault, remedy = "is not a video in a format that FFmpeg reads", "check that it is a complete video file"
        raise VideoDecodingError(f"{name} {fault} ({error.strerror}); {remedy}.") from error


def _is_mp4(file: BinaryIO) -> bool:
    file.seek(4)
    return file.read(4) == b"ftyp"


def choose_stream(container: InputContainer, name: str) -> VideoStream:
    """Give the first video stream that is not a cover, and refuse a container without one that can be decoded."""
    import av

    # The cover of a sound file is a video stream too.
    cover = av.stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        # `stream.type` of an unknown kind ends the process in some versions of PyAV.
        kinds = ", ".join(kind for kind in STREAM_KINDS if getattr(container.streams, kind)) or "nothing"
        raise VideoDecodingError(f"{name} has no video stream (it holds: {kinds}); pass a complete video file.")
    if streams[0].codec_context is None:
        raise VideoDecodingError(
            f"{name} has a video stream that FFmpeg cannot decode; check that the file is complete, or convert it."
        )
    return streams[0]


class PacketTally:
    """Counts the packets of a file as they are demuxed, and compares them with what its header promises.

    Args:
        container (`InputContainer`): The opened file.
        stream (`VideoStream`): The stream whose packets hold the frames.

    Attributes:
        packets (`int`): Number of packets so far that hold a frame.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.container, self.stream = container, stream
        self.packets = 0
        self.end = Fraction(0)

    def add(self, packet: Packet) -> None:
        """Count a packet of any stream."""
        # An edit list discards packets that are only needed to decode others.
        self.packets += packet.stream_index == self.stream.index and packet.size > 0 and not packet.is_discard
        if packet.pts is not None and packet.time_base is not None:
            self.end = max(self.end, (packet.pts + (packet.duration or 0)) * packet.time_base)

    def promised_if_cut_off(self) -> int | None:
        """Give the number of frames that the header promises if much less was there at the end of the file."""
        import av

        # Each promise is wrong in some good files (a trimmed video, a variable rate, a longer sound): both must be
        # broken.
        container, stream = self.container, self.stream
        seconds = Fraction(container.duration or 0, av.time_base)
        start = Fraction(container.start_time or 0, av.time_base)
        rate = stream.average_rate or Fraction(0)
        if container.format.name == "avi" and rate:  # whose duration FFmpeg shortens to what is left of the file
            seconds = stream.frames / rate
        if "matroska" in container.format.name:  # whose duration counts from 0, wherever the first frame is
            start = Fraction(0)
        promised = stream.frames or int(seconds * rate)
        too_short = not seconds or self.end - start < COMPLETE_SHARE * seconds
        return promised if self.packets < COMPLETE_SHARE * promised and too_short else None


def _count_packets(container: InputContainer, stream: VideoStream, name: str) -> int:
    """Count the packets that hold a frame, without decoding, and refuse a file that was cut off."""
    import av

    tally = PacketTally(container, stream)
    try:
        for packet in container.demux():
            tally.add(packet)
    except av.FFmpegError as error:
        raise _damaged(name, tally.packets, stream.frames, error) from error
    if tally.packets == 0:
        raise VideoDecodingError(f"{name} holds no frame; replace it by a complete copy.")
    if promised := tally.promised_if_cut_off():
        raise VideoDecodingError(
            f"{name} is cut off: it holds {tally.packets} of the {promised} frames that its header promises; replace "
            "it by a complete copy."
        )
    return tally.packets


def _decode(
    file: BinaryIO, name: str, total: int, wanted: set[int], transform: Callable[[np.ndarray], Any]
) -> tuple[dict[int, Any], VideoInfo]:
    """Decode up to the last wanted frame, or to the end if that frame is not there, and keep the wanted ones."""
    import av

    kept: dict[int, Any] = {}
    last = max(wanted, default=0)
    info = VideoInfo(0, None, 0, 0)
    with _video_stream(file, name) as (container, stream):
        stream.thread_type = "AUTO"
        decoded = 0
        try:
            for frame in _frames(container, stream):
                if decoded == 0:
                    fps = float(stream.average_rate) if stream.average_rate else None
                    width, height = frame.width, frame.height
                    if round(frame.rotation / 90) % 2:
                        width, height = height, width
                    info = VideoInfo(total, fps, width, height)
                if decoded in wanted:
                    kept[decoded] = transform(to_rgb(frame))
                decoded += 1
                # The last frame of the file is looked past, to know whether more follow.
                if decoded > last and decoded < total:
                    return kept, info
        except av.FFmpegError as error:
            raise _damaged(name, decoded, total, error) from error
    if decoded == 0:
        raise VideoDecodingError(f"{name} holds no frame that can be decoded; replace it by a complete copy.")
    return kept, replace(info, frames=decoded)


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    import av

    started = False
    for packet in container.demux(stream):
        if packet.size == 0:  # the mark of the end, or a frame left out: neither holds a picture
            continue
        try:
            frames = stream.decode(packet)
        except av.error.InvalidDataError:
            # A recording that was cut out of a stream starts in the middle of a group of pictures.
            if started:
                raise
            continue
        started = started or bool(frames)
        yield from frames
    yield from stream.decode(None)


def _damaged(name: str, frames: int, total: int, error: Any) -> VideoDecodingError:
    where = f"after {frames} of {total} frames" if total else f"after {frames} frames"
    return VideoDecodingError(
        f"{name} is damaged or cut off: reading failed {where} ({error.strerror}); replace it by a complete copy."
    )


def to_rgb(frame: VideoFrame) -> np.ndarray:
    """Turn a decoded frame to upright RGB.

    Args:
        frame (`VideoFrame`): A frame in any pixel format and rotation.

    Returns:
        `np.ndarray`: `uint8` of shape (height, width, 3), transparency over white.
    """
    if frame.format.has_palette or any(component.is_alpha for component in frame.format.components):
        pixels = _picture_to_rgb(PIL.Image.fromarray(frame.to_ndarray(format="rgba")))
    else:
        pixels = frame.to_ndarray(format="rgb24")
    # The rotation is counter-clockwise, in degrees; telephones write quarter turns only.
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


# ---------------------------------------------------------------------------------------------------------------------
# Arrays and pictures
# ---------------------------------------------------------------------------------------------------------------------


class Clip:
    """Frames in memory, checked when the object is made and turned to RGB one by one."""

    def __init__(self, source: Any, input_data_format: str | None, convert_rgb: bool) -> None:
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
            shapes = [(frame.height, frame.width) for frame in source]
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
        if isinstance(source, (np.ndarray, torch.Tensor)):
            array = _to_numpy(source)
            if array.ndim != 4:
                raise VideoDecodingError(
                    f"The array of shape {array.shape} is not a video; pass 4 axes, (frames, height, width, channels) "
                    "or (frames, channels, height, width)."
                )
            return array
        arrays = [_to_numpy(frame) for frame in source if isinstance(frame, (np.ndarray, torch.Tensor))]
        if len(arrays) < len(source) or any(array.ndim not in (2, 3) for array in arrays):
            raise VideoDecodingError(
                "The list is not one video; pass only pictures, or only arrays of shape (height, width) or (height, "
                "width, channels)."
            )
        return arrays

    def frame(self, index: int) -> np.ndarray:
        frame = self.frames[index]
        if isinstance(frame, PIL.Image.Image):
            pixels = _picture_to_rgb(frame) if self.convert_rgb else np.array(frame)
            return pixels if pixels.ndim == 3 else pixels[..., None]
        if frame.ndim == 2:
            frame = frame[..., None]
        elif self.channels_first:
            frame = np.moveaxis(frame, 0, -1)
        if self.scale is not None:
            frame = np.rint(frame * self.scale).astype(np.uint8)
        if self.convert_rgb and frame.shape[-1] == 1:
            frame = np.repeat(frame, 3, axis=-1)
        elif self.convert_rgb and frame.shape[-1] == 4:
            frame = _picture_to_rgb(PIL.Image.fromarray(np.ascontiguousarray(frame)))
        return frame


def _to_numpy(array: np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()  # numpy has no bfloat16
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


def _picture_to_rgb(picture: PIL.Image.Image) -> np.ndarray:
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = PIL.Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))
