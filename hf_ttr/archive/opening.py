"""Open a video of an archive wherever it lies: on a disk, behind an http(s) address, or in a bucket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..display import scrub, shown
from ..video import VideoDecodingError, VideoLimits
from ..video.download import spooled
from ..video.errors import one_line
from ..video.inputs import NamedFile, name_of
from ..video.limits import DEFAULT_LIMITS


READ_ELSEWHERE = ("http", "https", "file")
"""The schemes of addresses that `hf_ttr.video` reads by itself."""

_SCHEME = re.compile(r"([a-z][\w+.-]+)://", re.IGNORECASE)


def is_for_fsspec(source: Any) -> bool:
    """Whether a source is an address for fsspec, such as `"s3://bucket/clip.mp4"`, which may have a driver for it."""
    scheme = _SCHEME.match(source) if isinstance(source, str) else None
    return scheme is not None and scheme[1].lower() not in READ_ELSEWHERE


@contextmanager
def opened(source: Any, limits: VideoLimits = DEFAULT_LIMITS) -> Iterator[Any]:
    """
    Gives what `hf_ttr.video` reads, which for an address of fsspec is a binary file.

    A file is read twice: looked through, then decoded. So one that lies elsewhere is fetched to a temporary file
    first, unless it is larger than `limits.bytes`; then it is read where it lies.

    Args:
        source: a path, an address, or bytes.
        limits: of the video.

    Raises:
        VideoDecodingError: if it cannot be opened; one sentence.
    """
    if not is_for_fsspec(source):
        yield source
        return
    with _remote(source) as remote:
        size = getattr(remote, "size", None)
        if size is None or size > limits.bytes:
            yield NamedFile(remote, source)
            return
        try:
            file = spooled(iter(partial(remote.read, 2**20), b""), name_of(source), limits)
        except VideoDecodingError:
            raise
        # Drivers raise what the libraries behind them do.
        except Exception as error:
            raise _not_read(source, error) from scrub(error)
    with file:
        yield NamedFile(file, source)


@contextmanager
def _remote(address: str) -> Iterator[Any]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
        file = system.open(path, "rb")
    except ImportError as error:  # whose text says what to install
        raise VideoDecodingError(
            f"{name_of(address)} needs a driver of fsspec that is not installed ({one_line(error)}); install it."
        ) from scrub(error)
    except FileNotFoundError as error:
        raise VideoDecodingError(f"{name_of(address)} does not exist; check the address.") from scrub(error)
    except Exception as error:
        scheme = address.partition(":")[0].lower()
        if isinstance(error, ValueError) and scheme not in fsspec.available_protocols():
            raise VideoDecodingError(
                f"{name_of(address)} uses the protocol '{shown(scheme)}', which fsspec does not know; pass a file, an "
                "http(s) URL, or an address that it knows."
            ) from scrub(error)
        raise _not_read(address, error) from scrub(error)
    with file:
        yield file


def _not_read(address: str, error: Exception) -> VideoDecodingError:
    return VideoDecodingError(
        f"{name_of(address)} cannot be read ({one_line(error)}); check the address, and that it may be read."
    )
