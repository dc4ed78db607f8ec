"""Open what FFmpeg decodes: a local file, bytes, or an address, each with no more in its reach than it needs."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from ..display import scrub
from ..video import VideoDecodingError, VideoLimits
from ..video.container import GuardedFile, choose_stream, limits_for_ffmpeg, open_container, orientation_of_file
from ..video.errors import reason
from ..video.inputs import check_binary, is_seekable, not_empty, open_path
from ..video.picture import UPRIGHT, Orientation
from ..video.reach import Reach
from .address import Address
from .base import SourceError, label, one_line


if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream


# FFmpeg's AVFMT_NOTIMESTAMPS: raw streams of a codec, and JPEGs that are pushed over HTTP.
_NO_TIMESTAMPS = 0x80


@dataclass(frozen=True)
class OpenVideo:
    """An opened video and what is to be closed with it.

    Attributes:
        container (`InputContainer`): The container.
        stream (`VideoStream`): Its video stream.
        file (`BinaryIO`, *optional*): The file to close after the container.
        guard (`GuardedFile`, *optional*): The file that FFmpeg reads.
        timeout (`float`, *optional*): Seconds without data after which reading fails, on the network.
        still (`Orientation`): How its frames are turned where they say nothing of it themselves.
    """

    container: InputContainer
    stream: VideoStream
    file: BinaryIO | None = None
    guard: GuardedFile | None = None
    timeout: float | None = None
    still: Orientation = UPRIGHT

    @property
    def has_timestamps(self) -> bool:
        """Whether the times of the packets come from the source, and were not made up from a guessed rate."""
        form = self.container.format
        return not (form.flags & _NO_TIMESTAMPS or form.name.endswith("_pipe") or form.name == "image2pipe")

    @property
    def is_endless(self) -> bool:
        """Whether it has neither timestamps nor a length, as pictures that are pushed, or is a playlist that grows."""
        if "hls" in self.container.format.name:
            return self.container.duration is None
        return self.container.size <= 0 and not self.has_timestamps

    def close(self) -> None:
        """Free the container and the file."""
        self.container.close()
        if self.file is not None:
            self.file.close()


def open_file(text: str, name: str, limits: VideoLimits, reach: Reach) -> OpenVideo:
    """Open a local file or pipe by its path or `file://` URL; raises `SourceError` if it is no video."""
    try:
        file = open_path(text, label(name), reach)
    except VideoDecodingError as error:
        raise SourceError(str(error)) from scrub(error)
    try:
        return _open(file, name, limits, own=file)
    except BaseException:
        file.close()
        raise


def open_binary(source: Any, name: str, limits: VideoLimits) -> OpenVideo:
    """Open bytes or a binary file, which is not closed later; raises `SourceError` if they hold no video."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = io.BytesIO(source)
    return _open(source, name, limits)


def _open(file: BinaryIO, name: str, limits: VideoLimits, own: BinaryIO | None = None) -> OpenVideo:
    try:
        guard = GuardedFile(file)
        check_binary(file, label(name))
        if is_seekable(file):
            not_empty(file, label(name))
        container = open_container(guard, label(name), limits)
        try:
            stream = choose_stream(container, label(name), limits)
            return OpenVideo(container, stream, own, guard, still=orientation_of_file(container, guard))
        except BaseException:
            container.close()
            raise
    except VideoDecodingError as error:
        raise SourceError(str(error)) from scrub(error)
    except Exception as error:
        raise SourceError(f"{label(name)} cannot be read ({one_line(error)}); check the file object.") from scrub(
            error
        )


def open_address(
    address: Address, name: str, timeout: float, is_live: bool, limits: VideoLimits, opening: float | None = None
) -> OpenVideo:
    """Let FFmpeg open an address.

    Args:
        address (`Address`): The address.
        name (`str`): The name of the stream.
        timeout (`float`): Seconds without an answer after which opening or reading fails.
        is_live (`bool`): Whether the data come no faster than they are filmed, so that looking at the first seconds
            takes seconds.
        limits (`VideoLimits`): Of pixels, tracks and redirections.
        opening (`float`, *optional*): Another limit for opening.

    Returns:
        `OpenVideo`: The opened video.

    Raises:
        SourceError: There is no answer, or no video.
    """
    import av

    opening = timeout if opening is None else opening
    options = {"protocol_whitelist": ",".join(address.whitelist), **limits_for_ffmpeg(limits), **address.options}
    options["max_redirects"] = str(limits.redirects)
    if is_live:
        options["analyzeduration"] = str(int(min(5.0, opening / 2) * 1e6))
    began = time.monotonic()
    try:
        container = av.open(
            address.url,
            mode="r",
            format=address.format,
            options=options,
            timeout=(opening, timeout),
            metadata_errors="replace",
        )
    except Exception as error:
        # RTSP tells of its end by another error.
        if isinstance(error, av.error.ExitError) or time.monotonic() - began >= opening:
            fault, remedy = f"gave no video within {opening:g} s", "check the sender, or raise `timeout`"
        elif isinstance(error, av.error.InvalidDataError):
            fault = f"is not a video in a format that FFmpeg reads ({reason(error)})"
            remedy = "check what the address gives"
        else:
            fault, remedy = f"cannot be opened ({reason(error)})", "check the address and what it may lead to"
        raise SourceError(f"{label(name)} {fault}; {remedy}.") from scrub(error)
    try:
        stream = choose_stream(container, label(name), limits)
    except VideoDecodingError as error:
        container.close()
        raise SourceError(str(error)) from scrub(error)
    if is_live:
        # Many cameras at once fill the cores by themselves.
        stream.thread_count = 1
    return OpenVideo(container, stream, timeout=timeout)
