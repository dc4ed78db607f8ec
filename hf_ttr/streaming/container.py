"""Open what FFmpeg decodes: a local file, bytes, or an address, each with no more in its reach than it needs."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ..video import VideoDecodingError, check_binary, choose_stream, is_seekable, not_empty, open_container, open_path
from .address import Address
from .base import SourceError, label, one_line


if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream


class GuardedFile:
    """A file that seems to be at its end where reading it fails, so that what comes before can be decoded.

    Args:
        file (`BinaryIO`): The file.

    Attributes:
        error (`Exception`, *optional*): Why it could not be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.error: Exception | None = None
        self._file = file
        if is_seekable(file):
            self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        try:
            data = self._file.read(size)
            if not isinstance(data, bytes) or len(data) > size >= 0:
                raise TypeError(f"`read({size})` gave no bytes, or too many")
            return data
        except Exception as error:
            self.error = error
            return b""


@dataclass(frozen=True)
class OpenVideo:
    """An opened video and what is to be closed with it.

    Attributes:
        container (`InputContainer`): The container.
        stream (`VideoStream`): Its video stream.
        file (`BinaryIO`, *optional*): The file to close after the container.
        guard (`GuardedFile`, *optional*): The file that FFmpeg reads.
        timeout (`float`, *optional*): Seconds without data after which reading fails, on the network.
    """

    container: InputContainer
    stream: VideoStream
    file: BinaryIO | None = None
    guard: GuardedFile | None = None
    timeout: float | None = None

    def close(self) -> None:
        """Free the container and the file."""
        self.container.close()
        if self.file is not None:
            self.file.close()


def open_file(text: str, name: str) -> OpenVideo:
    """Open a local file by its path or `file://` URL; raises `SourceError` if it is no video."""
    try:
        file = open_path(text, label(name))
    except VideoDecodingError as error:
        raise SourceError(str(error)) from error
    try:
        return _open(file, name, own=file)
    except BaseException:
        file.close()
        raise


def open_binary(source: Any, name: str) -> OpenVideo:
    """Open bytes or a binary file, which is not closed later; raises `SourceError` if they hold no video."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = io.BytesIO(source)
    return _open(source, name)


def _open(file: BinaryIO, name: str, own: BinaryIO | None = None) -> OpenVideo:
    guard = GuardedFile(file)
    try:
        check_binary(file, label(name))
        if is_seekable(file):
            not_empty(file, label(name))
        container = open_container(cast(BinaryIO, guard), label(name))
        try:
            return OpenVideo(container, choose_stream(container, label(name)), own, guard)
        except BaseException:
            container.close()
            raise
    except Exception as caught:
        error = guard.error or caught
        if isinstance(error, VideoDecodingError):
            raise SourceError(str(error)) from error
        raise SourceError(f"{label(name)} cannot be read ({one_line(error)}); check the file object.") from error


def open_address(
    address: Address, name: str, timeout: float, is_live: bool, opening: float | None = None
) -> OpenVideo:
    """Let FFmpeg open an address.

    Args:
        address (`Address`): The address.
        name (`str`): The name of the stream.
        timeout (`float`): Seconds without an answer after which opening or reading fails.
        is_live (`bool`): Whether the data come no faster than they are filmed, so that looking at the first seconds
            takes seconds.
        opening (`float`, *optional*): Another limit for opening.

    Returns:
        `OpenVideo`: The opened video.

    Raises:
        SourceError: There is no answer, or no video.
    """
    import av

    opening = timeout if opening is None else opening
    options = {"protocol_whitelist": ",".join(address.whitelist), **address.options}
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
            fault = f"is not a video in a format that FFmpeg reads ({error.strerror})"
            remedy = "check what the address gives"
        else:
            reason = error.strerror if isinstance(error, av.FFmpegError) else one_line(error)
            fault, remedy = f"cannot be opened ({reason})", "check the address and what it may lead to"
        raise SourceError(f"{label(name)} {fault}; {remedy}.") from error
    try:
        stream = choose_stream(container, label(name))
    except VideoDecodingError as error:
        container.close()
        raise SourceError(str(error)) from error
    if is_live:
        # Many cameras at once fill the cores by themselves.
        stream.thread_count = 1
    return OpenVideo(container, stream, timeout=timeout)
