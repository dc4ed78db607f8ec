"""Open any source of frames: files, URLs, cameras, bytes, arrays and iterators."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import PIL.Image

from ..display import shown
from ..video import VIDEO_ENDINGS, ConfinedVideo, VideoLimits
from ..video.limits import DEFAULT_LIMITS
from ..video.reach import EVERYWHERE, Reach
from .address import PROTOCOLS, read_address
from .arrays import ArraySource
from .base import FrameSource, SourceError
from .container import open_address, open_binary, open_file
from .decoding import DEFAULT_FPS, DecodedSource
from .names import said_kind
from .options import check_source_options
from .reconnection import ReconnectingSource


__all__ = ["FrameSource", "SourceError", "open_source"]


def open_source(
    source: Any,
    *,
    name: str | None = None,
    protocols: Sequence[str] = PROTOCOLS,
    live: bool | None = None,
    timeout: float = 10.0,
    reconnect: float | None = None,
    fps: float = DEFAULT_FPS,
    max_fps: float | None = None,
    limits: VideoLimits = DEFAULT_LIMITS,
) -> FrameSource:
    """Open a source of frames.

    A local file is given to FFmpeg as content without a name, and an address with the protocols that it needs, so
    that neither a playlist nor a redirection leads to a file or to a protocol that is not allowed.

    Args:
        source: One of

            - a path (`str` or `os.PathLike`) or a `file://` URL; a pipe is read as it comes;
            - an `http://` or `https://` URL, or an `rtsp://` one, which is live;
            - a camera, which is live: `/dev/video0`, `camera:0` or, on Windows, `camera:NAME`;
            - any of these with `live:` in front, or an address with `file:` in front, which says what it is;
            - `bytes`, or a binary file: from its start, or as it comes if it cannot seek;
            - `{"path": ..., "bytes": ...}`, an undecoded video of the `datasets` library; a `ConfinedVideo` is
              one whose path is read only where its `reach` allows it;
            - an array of shape (frames, height, width, channels) or (frames, channels, height, width), a picture
              (`PIL.Image.Image`), or an iterable of arrays of shape (height, width) or (height, width, channels),
              pictures, `Frame`s or pairs `(time, frame)` with the time in seconds;
            - a `FrameSource`, which is given back.
        name (`str`, *optional*): What the stream is called in messages; the address, without its password, by
            default.
        protocols (`Sequence[str]`): The protocols that may be used, of `"file"`, which includes the cameras,
            `"http"`, `"https"`, `"rtsp"` and `"rtsps"`.
        live (`bool`, *optional*): Whether frames come in their own time and are dropped by a reader that is too slow.
            Cameras and RTSP are live by default, and of what comes over HTTP what has neither timestamps nor a
            length, as pictures that are pushed (`multipart/x-mixed-replace`), and playlists that grow. Live frames
            without timestamps of their own have the time of their arrival. What stands in front of a source goes
            before this.
        timeout (`float`): Seconds without an answer of the network after which opening or reading fails.
        reconnect (`float`, *optional*): Seconds for which a live URL or camera that is not there, or has vanished, is
            opened again and again before it is given up; by default for ever. 0 does not open it again.
        fps (`float`): Frames per second, for frames of an iterable that is not live and has no times.
        max_fps (`float`, *optional*): Frames that are given of each second at most: the first in each of so many
            equal parts of it. The others are not converted, nor decoded where no other frame needs them. A source
            whose rate is known to be about as low, or lower, is given whole.
        limits (`VideoLimits`): How large the frames may be, and how many tracks and redirections there may be.

    Returns:
        `FrameSource`: The opened source; close it, or read it to its end.

    Raises:
        SourceError: The source does not exist, is not allowed, or is no video.
        ValueError: `timeout`, `fps` or `max_fps` is not positive, or `reconnect` is negative.
    """
    check_source_options(timeout=timeout, fps=fps, reconnect=reconnect, max_fps=max_fps)
    patience = math.inf if reconnect is None else reconnect
    if isinstance(source, FrameSource):
        return _thinned(source, max_fps)
    reach = EVERYWHERE
    if isinstance(source, Mapping):
        reach = source.reach if isinstance(source, ConfinedVideo) else reach
        source = source.get("bytes") or source.get("path")
    if isinstance(source, (str, os.PathLike)):
        return _open_text(source, name, protocols, live, timeout, patience, max_fps, limits, reach)
    if isinstance(source, (bytes, bytearray, memoryview)):
        name = name or "bytes"
        return _thinned(DecodedSource(open_binary(source, name, limits), name, bool(live), limits), max_fps)
    if callable(getattr(source, "read", None)) and not isinstance(source, io.TextIOBase):
        name = name or shown(getattr(source, "name", None) or type(source).__name__)
        return _thinned(DecodedSource(open_binary(source, name, limits), name, bool(live), limits), max_fps)
    if isinstance(source, (Iterable, PIL.Image.Image)):
        return _thinned(ArraySource(source, name or type(source).__name__, bool(live), fps, limits), max_fps)
    raise SourceError(
        f"A stream cannot be read from an object of type '{type(source).__name__}'; pass a path, a URL, a camera, "
        "bytes, a binary file, an array of shape (frames, height, width, channels) or an iterable of frames."
    )


def _thinned(source: FrameSource, max_fps: float | None) -> FrameSource:
    if max_fps is not None:
        source.thin(max_fps)
    return source


def _open_text(
    source: str | os.PathLike[str],
    name: str | None,
    protocols: Sequence[str],
    live: bool | None,
    timeout: float,
    patience: float,
    max_fps: float | None,
    limits: VideoLimits,
    reach: Reach,
) -> FrameSource:
    text, said = said_kind(os.fsdecode(source))
    live = live if said is None else said
    address = read_address(text, protocols, name=name)
    if address is None:
        name = name or shown(text)
        return _thinned(DecodedSource(open_file(text, name, limits, reach), name, bool(live), limits), max_fps)
    name = address.name
    is_live = address.is_live if live is None else live
    if reach != EVERYWHERE:
        # FFmpeg follows redirections by itself: what data name is not left to it.
        raise SourceError(f"The stream '{shown(name)}' is an address that data name; download it first.")

    def reopen(seconds: float) -> FrameSource:
        video = open_address(address, name, timeout, is_live, limits, opening=seconds)
        # Pictures that are pushed one by one are live, whatever the address looks like.
        is_pushed = live is None and video.is_endless
        return _thinned(DecodedSource(video, name, is_live or is_pushed, limits), max_fps)

    if is_live and patience > 0:
        return ReconnectingSource(reopen, name, timeout, patience)
    try:
        opened = reopen(timeout)
    except SourceError as fault:
        # A camera that is off, perhaps: nobody knows before it was there. What is called like a file is one.
        if live is None and not re.split("[?#]", text)[0].lower().endswith(VIDEO_ENDINGS):
            fault.retry_seconds = patience
        raise
    if opened.is_live and patience > 0:
        return ReconnectingSource(reopen, name, timeout, patience, opened)
    return opened
