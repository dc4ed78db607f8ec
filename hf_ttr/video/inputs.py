"""From whatever names or holds a video to a binary file, and the name it has in messages."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..display import scrub, shown
from .download import download, spooled
from .errors import VideoDecodingError, one_line, reason
from .limits import VideoLimits
from .reach import Reach


class NamedFile:
    """A binary file that was opened elsewhere, with the address by which messages name its video.

    Args:
        file (`BinaryIO`): The file.
        address (`str`): What was opened.
    """

    def __init__(self, file: Any, address: str) -> None:
        self.file, self.address = file, address

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@contextmanager
def binary_file(source: Any, limits: VideoLimits, reach: Reach) -> Iterator[tuple[BinaryIO, str]]:
    """Give the source as a seekable binary file that is not empty, and the name it has in messages."""
    name = name_of(source)
    try:
        file, is_own = _open(source, name, limits, reach)
    except VideoDecodingError:
        raise
    except Exception as error:
        raise VideoDecodingError(f"{name} cannot be read ({one_line(error)}); check it.") from scrub(error)
    try:
        not_empty(file, name)
        yield file, name
    finally:
        if is_own:
            file.close()


def name_of(source: Any) -> str:
    """What a video is called at the start of a sentence."""
    if isinstance(source, (str, os.PathLike)):
        return f"The video '{shown(os.fsdecode(source))}'"
    if isinstance(source, NamedFile):
        return f"The video '{shown(source.address)}'"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "The video given as bytes"
    return f"The video of the file object '{shown(getattr(source, 'name', None) or type(source).__name__)}'"


def _open(source: Any, name: str, limits: VideoLimits, reach: Reach) -> tuple[BinaryIO, bool]:
    """The file, and whether it is to be closed by us."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source), True
    if isinstance(source, (str, os.PathLike)):
        text = os.fsdecode(source)
        if isinstance(source, str) and text.lower().startswith(("http://", "https://")):
            return download(text, name, limits, reach), True
        if isinstance(source, str) and text.startswith("hf://"):
            from huggingface_hub import HfFileSystem

            reach.check_path(text, name)
            with HfFileSystem().open(text, "rb") as remote:
                return _read_through(remote, name, limits), True
        file = open_path(text, name, reach)
        if is_seekable(file):
            return file, True
        with file:
            return _read_through(file, name, limits), True
    if callable(getattr(source, "read", None)):
        check_binary(source, name)
        return (source, False) if is_seekable(source) else (_read_through(source, name, limits), True)
    raise VideoDecodingError(
        f"A video cannot be read from an object of type '{type(source).__name__}'; pass a path, a URL, bytes, a "
        "binary file, an array of shape (frames, height, width, channels) or a list of frames."
    )


def _read_through(file: Any, name: str, limits: VideoLimits) -> BinaryIO:
    return spooled(iter(partial(file.read, 2**16), b""), name, limits)


def is_seekable(file: Any) -> bool:
    """Whether a file object can be read from any place."""
    return hasattr(file, "seek") and (not hasattr(file, "seekable") or bool(file.seekable()))


def check_binary(file: Any, name: str) -> None:
    """Refuse a file object that gives text."""
    if not isinstance(file.read(0), bytes):
        raise VideoDecodingError(f"{name} is opened as text; open the file with mode 'rb'.")


def not_empty(file: BinaryIO, name: str) -> BinaryIO:
    """Give the file back, which can seek, or refuse it if it holds nothing."""
    try:
        file.seek(0, os.SEEK_END)
        size = file.tell()
    except Exception:
        return file  # such as of the system, without an end; reading tells what is wrong with it
    if size == 0:
        raise VideoDecodingError(f"{name} is empty (0 bytes); replace it by a complete copy.")
    return file


def open_path(text: str, name: str, reach: Reach) -> BinaryIO:
    """Open the file or pipe of a path or a `file://` URL, and refuse folders, devices and what does not exist."""
    path = text
    if text.lower().startswith("file://"):
        try:
            path = url2pathname(urlsplit(text).path)
        except ValueError as error:
            raise VideoDecodingError(f"{name} is no file URL; check the path.") from scrub(error)
    reach.check_path(path, name)
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        # Two letters at least, so that a drive such as C: remains a path.
        if re.match(r"[a-z][\w+.,-]+:", text, re.IGNORECASE) and path == text:
            raise VideoDecodingError(
                f"{name} uses a protocol that is not read; pass a file or an http(s) URL."
            ) from scrub(error)
        if isinstance(error, PermissionError):
            raise _not_opened(name, error) from scrub(error)
        if os.path.islink(path) if "\0" not in path else False:
            raise VideoDecodingError(f"{name} is a link to what does not exist; check what it leads to.") from error
        raise VideoDecodingError(f"{name} does not exist; check the path.") from error
    if stat.S_ISDIR(mode):
        raise VideoDecodingError(f"{name} is a folder; pass the path of one file in it.")
    if not stat.S_ISREG(mode) and not stat.S_ISFIFO(mode):
        raise VideoDecodingError(f"{name} is a device or a socket, and no file; pass a file or a pipe.")
    try:
        return open(path, "rb")
    except OSError as error:
        raise _not_opened(name, error) from scrub(error)


def _not_opened(name: str, error: OSError) -> VideoDecodingError:
    return VideoDecodingError(f"{name} cannot be opened ({reason(error)}); check its permissions.")
