"""Read the frames of a video: the chosen ones at once, or one after the other.

Files are decoded with PyAV, which is imported when the first one is read. `read_frames` learns the number of frames
without decoding, lets its caller choose among them, and then keeps only those; `iterate_frames` gives one after the
other, and keeps none: a long video is never held in memory.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, overload

import numpy as np
import PIL.Image

from ..checks import is_whole
from ..display import scrub
from .clip import Clip, is_tensor
from .container import (
    LARGE_FRAME,
    GuardedFile,
    PacketTally,
    check_decoder,
    check_size,
    choose_stream,
    not_read,
    open_container,
    orientation_of_file,
)
from .errors import VideoDecodingError, one_line, reason
from .info import VideoInfo
from .inputs import binary_file
from .limits import DEFAULT_LIMITS, VideoLimits
from .picture import Orientation, orientation_of, to_rgb
from .reach import EVERYWHERE, ConfinedVideo, Reach


if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

T = TypeVar("T")


@overload
def read_frames(
    source: Any,
    select: Callable[[int], Sequence[int]] | None = None,
    transform: None = None,
    *,
    input_data_format: str | None = None,
    convert_rgb: bool = True,
    limits: VideoLimits = DEFAULT_LIMITS,
) -> tuple[list[np.ndarray], VideoInfo]: ...


@overload
def read_frames(
    source: Any,
    select: Callable[[int], Sequence[int]] | None,
    transform: Callable[[np.ndarray], T],
    *,
    input_data_format: str | None = None,
    convert_rgb: bool = True,
    limits: VideoLimits = DEFAULT_LIMITS,
) -> tuple[list[T], VideoInfo]: ...


def read_frames(
    source: Any,
    select: Callable[[int], Sequence[int]] | None = None,
    transform: Callable[[np.ndarray], Any] | None = None,
    *,
    input_data_format: str | None = None,
    convert_rgb: bool = True,
    limits: VideoLimits = DEFAULT_LIMITS,
) -> tuple[list[Any], VideoInfo]:
    """Read the chosen frames of one video.

    The frame of index `i` is the `i`-th frame that the decoder gives, whatever the timestamps say. It is shown as
    players show it: turned and mirrored, in its range and matrix of colour, without the margins that its codec crops.
    Pixels that are not square stay as they are stored, and interlaced frames stay interlaced.

    Args:
        source: One of

            - a path (`str` or `os.PathLike`), an `http://`, `https://` or `file://` URL;
            - a pipe such as `/dev/stdin`, which is read to its end first;
            - `bytes`, or a binary file, which is read from its start;
            - `{"path": ..., "bytes": ...}`, an undecoded video of the `datasets` library; a `ConfinedVideo` is
              one whose path or URL is read only where its `reach` allows it;
            - a `numpy.ndarray` or `torch.Tensor` of shape (frames, height, width, channels) or (frames, channels,
              height, width), with 1, 3 or 4 channels: integers in [0, 255], or floats in [0, 255] or in [0, 1];
            - a list of frames: pictures (`PIL.Image.Image`), or arrays of shape (height, width), (height, width,
              channels) or (channels, height, width). A single picture is a video of one frame. Pictures are turned
              as their EXIF data say.
        select (`Callable[[int], Sequence[int]]`, *optional*): Called with the number of frames, returns the indices
            of the frames to read, in any order and with any repetition. All the frames are read without it.
        transform (`Callable[[np.ndarray], Any]`, *optional*): Called once with each chosen frame, as soon as it is
            decoded; what it returns is kept in the place of the frame.
        input_data_format (`str`, *optional*): `"channels_first"` or `"channels_last"`, for arrays. Without it, the
            channels are the axis of length 3, else of length 1 or 4; the last axis if both are.
        convert_rgb (`bool`): Whether arrays and pictures with 1 or 4 channels are turned to RGB, transparency over
            white. Files always are.
        limits (`VideoLimits`): How large a video may be.

    Returns:
        `tuple[list, VideoInfo]`: The frames in the order of `select`, each a `uint8` array of shape (height, width,
        3) in [0, 255] or what `transform` made of it, and the facts about the video.

    Raises:
        VideoDecodingError: The video does not exist, is empty, cut off or damaged, holds no picture, cannot be read
            for any other reason, or is larger than `limits`; or the arrays are no frames of one video. What `select`
            and `transform` raise comes through as it is.
    """
    select = range if select is None else select
    transform = _unchanged if transform is None else transform
    source, reach = _with_reach(source)
    if _is_in_memory(source):
        clip = Clip(source, input_data_format, convert_rgb, limits)
        indices = _checked(select(clip.info.frames), clip.info.frames)
        kept = {index: transform(clip.frame(index)) for index in dict.fromkeys(indices)}
        return [kept[index] for index in indices], clip.info
    with binary_file(source, limits, reach) as (file, name):
        return _read_file(file, name, limits, select, transform)


def iterate_frames(
    source: Any, step: int = 1, limits: VideoLimits = DEFAULT_LIMITS
) -> Generator[np.ndarray, None, VideoInfo]:
    """Read the frames of one video one after the other, of which none is kept: also one of hours takes little memory.

    The frames are those of `read_frames`. A file is looked through before its first frame is decoded, so that one that
    was cut off is refused at once.

    Args:
        source: What `read_frames` takes.
        step (`int`): Give the frames 0, `step`, 2 * `step` and so on; the others are decoded and left out.
        limits (`VideoLimits`): How large a video may be.

    Yields:
        `np.ndarray`: A frame, `uint8` of shape (height, width, 3).

    Returns:
        `VideoInfo`: The facts about the video, whose number of frames is that of all that were decoded: what
        `yield from` gives, or the `value` of the `StopIteration`.

    Raises:
        VideoDecodingError: As in `read_frames`, when the frame that cannot be read is asked for.
        ValueError: `step` is no positive whole number.

    Example:

    ```python
    >>> import hf_ttr
    >>> from hf_ttr.video import iterate_frames

    >>> sum(1 for frame in iterate_frames(hf_ttr.example("demo.mp4"), step=8))
    8
    ```
    """
    if not (is_whole(step) and step >= 1):
        raise ValueError(f"`step` must be a positive integer, not {step!r}.")
    source, reach = _with_reach(source)
    if _is_in_memory(source):
        clip = Clip(source, None, True, limits)
        for index in range(0, clip.info.frames, step):
            yield clip.frame(index)
        return clip.info
    with binary_file(source, limits, reach) as (file, name):
        total = _count_packets(file, name, limits)
        info: VideoInfo | None = None
        with closing(_pictures(file, name, limits, total, range(0, sys.maxsize, step))) as pictures:
            for pixels, known in pictures:
                info = replace(known, frames=(info.frames if info else 0) + 1)
                if pixels is not None:
                    yield pixels
        if info is None:
            raise _without_frames(name)
        return info


def _with_reach(source: Any) -> tuple[Any, Reach]:
    """What an undecoded video of a data set holds or names, and where it may lie; others are as they are."""
    if not isinstance(source, Mapping):
        return source, EVERYWHERE
    reach = source.reach if isinstance(source, ConfinedVideo) else EVERYWHERE
    return source.get("bytes") or source.get("path"), reach


def _is_in_memory(source: Any) -> bool:
    return isinstance(source, (np.ndarray, PIL.Image.Image, list, tuple)) or is_tensor(source)


def _unchanged(frame: np.ndarray) -> np.ndarray:
    return frame


def _checked(indices: Sequence[int], frames: int) -> list[int]:
    indices = [int(index) for index in indices]
    if outside := [index for index in indices if not 0 <= index < frames]:
        raise IndexError(f"`select` chose frame {outside[0]} of a video of {frames} frames.")
    return indices


def _read_file(
    file: BinaryIO,
    name: str,
    limits: VideoLimits,
    select: Callable[[int], Sequence[int]],
    transform: Callable[[np.ndarray], Any],
) -> tuple[list[Any], VideoInfo]:
    total = _count_packets(file, name, limits)
    indices = _checked(select(total), total)
    kept, info = _decode(file, name, limits, total, set(indices), transform)
    if info.frames != total:
        # Packets are not always frames (some are hidden or damaged): choose again among those that were decoded.
        again = _checked(select(info.frames), info.frames)
        if again != indices:
            indices = again
            kept, info = _decode(file, name, limits, info.frames, set(indices), transform)
    return [kept[index] for index in indices], info


@contextmanager
def _opened(
    file: BinaryIO, name: str, limits: VideoLimits
) -> Iterator[tuple[InputContainer, VideoStream, Orientation]]:
    """The container of a file; what is wrong with the file itself becomes an error of the video."""
    guard = GuardedFile(file)
    try:
        with open_container(guard, name, limits) as container:
            stream = choose_stream(container, name, limits)
            yield container, stream, orientation_of_file(container, guard)
    except Exception as error:
        if guard.error is not None:
            raise not_read(name, guard.error) from scrub(guard.error)
        if isinstance(error, VideoDecodingError):
            raise
        raise VideoDecodingError(
            f"{name} is damaged or cannot be decoded ({one_line(error)}); replace it by a complete copy, or convert "
            "it."
        ) from scrub(error)
    # A file that cannot be read on seems to be at its end.
    if guard.error is not None:
        raise not_read(name, guard.error) from scrub(guard.error)


def _count_packets(file: BinaryIO, name: str, limits: VideoLimits) -> int:
    """Count the packets that hold a frame, without decoding, and refuse a file that was cut off."""
    import av

    with _opened(file, name, limits) as (container, stream, _):
        tally = PacketTally(container, stream)
        try:
            for number, packet in enumerate(container.demux()):
                tally.add(packet)
                # Packets of other kinds count too: those of a sound are more, but not without end.
                if tally.packets > limits.frames or number > 100 * limits.frames:
                    raise VideoDecodingError(
                        f"{name} has more than {limits.frames:,} frames; cut it into pieces, or raise `frames` of the "
                        "limits."
                    )
        except av.FFmpegError as error:
            raise _damaged(name, tally.packets, stream.frames, error) from scrub(error)
        promised = tally.promised_if_cut_off()
    if tally.packets == 0:
        raise VideoDecodingError(f"{name} holds no frame; replace it by a complete copy.")
    if promised:
        raise VideoDecodingError(
            f"{name} is cut off: it holds {tally.packets} of the {promised} frames that its header promises; replace "
            "it by a complete copy."
        )
    return tally.packets


def _decode(
    file: BinaryIO,
    name: str,
    limits: VideoLimits,
    total: int,
    wanted: set[int],
    transform: Callable[[np.ndarray], Any],
) -> tuple[dict[int, Any], VideoInfo]:
    """Decode up to the last wanted frame, or to the end if that frame is not there, and keep the wanted ones."""
    kept: dict[int, Any] = {}
    last = max(wanted, default=0)
    info = VideoInfo(0, None, 0, 0)
    decoded = 0
    with closing(_pictures(file, name, limits, total, wanted)) as pictures:
        for decoded, (pixels, info) in enumerate(pictures, start=1):
            if pixels is not None:
                kept[decoded - 1] = transform(pixels)
            # The last frame of the file is looked past, to know whether more follow.
            if last < decoded < total:
                return kept, info
    if decoded == 0:
        raise _without_frames(name)
    return kept, replace(info, frames=decoded)


def _pictures(
    file: BinaryIO, name: str, limits: VideoLimits, total: int, wanted: Container[int]
) -> Generator[tuple[np.ndarray | None, VideoInfo], None, None]:
    """The frames one by one, the wanted ones as RGB; apart from the caller's code, whose errors are its own."""
    import av

    number = 0
    info: VideoInfo | None = None
    with _opened(file, name, limits) as (container, stream, still):
        # Threads that decode many large frames at once hold as many in memory.
        stream.thread_type = "SLICE" if stream.width * stream.height > LARGE_FRAME else "AUTO"
        if limits.threads is not None:
            stream.thread_count = limits.threads
        try:
            for frame in _frames(container, stream, partial(check_decoder, stream, name, limits)):
                check_size(frame.width, frame.height, name, limits)
                if info is None:
                    fps = float(stream.average_rate) if stream.average_rate else None
                    width, height = orientation_of(frame, still).size(frame.width, frame.height)
                    info = VideoInfo(total, fps, width, height, duration=_stated_duration(container, stream))
                pixels = to_rgb(frame, still) if number in wanted else None
                number += 1
                yield pixels, info
        except av.FFmpegError as error:
            if error.errno == errno.EINVAL:  # what FFmpeg says of sizes that it may not decode
                raise VideoDecodingError(
                    f"{name} is damaged, or has frames of more than {limits.pixels:,} pixels: reading failed after "
                    f"{number} of {total} frames ({reason(error)}); replace it by a complete copy, or raise `pixels` "
                    "of the limits."
                ) from scrub(error)
            raise _damaged(name, number, total, error) from scrub(error)


def _frames(container: InputContainer, stream: VideoStream, check: Callable[[], None]) -> Iterator[VideoFrame]:
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
        check()  # a decoder may have found frames of another kind
        started = started or bool(frames)
        yield from frames
    yield from stream.decode(None)


def _stated_duration(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds of a stream, or of its container where that alone says how long it is."""
    import av

    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = (container.duration or 0) / av.time_base
    return seconds if seconds > 0 else None


def _without_frames(name: str) -> VideoDecodingError:
    return VideoDecodingError(f"{name} holds no frame that can be decoded; replace it by a complete copy.")


def _damaged(name: str, frames: int, total: int, error: Any) -> VideoDecodingError:
    where = f"after {frames} of {total} frames" if total else f"after {frames} frames"
    return VideoDecodingError(
        f"{name} is damaged or cut off: reading failed {where} ({reason(error)}); replace it by a complete copy."
    )
