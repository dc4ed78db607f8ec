"""Live streams: frames read ahead in the background, an engine that classifies many of them, and files of results."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .base import FrameSource as FrameSource
    from .base import SourceError as SourceError
    from .engine import StreamEngine as StreamEngine
    from .frame import Frame as Frame
    from .options import StreamOptions as StreamOptions
    from .reader import FrameReader as FrameReader
    from .reader import wait_for_any as wait_for_any
    from .result import Divergence as Divergence
    from .result import StreamResult as StreamResult
    from .result_choice import ResultChoice as ResultChoice
    from .result_file import ResultFile as ResultFile
    from .result_file import ResultFileError as ResultFileError
    from .source import open_source as open_source
    from .streams import StreamStatistics as StreamStatistics
    from .streams import VideoStreams as VideoStreams

# Each is loaded when it is asked for: what reads options and files of results needs no torch.
_HOMES = {
    "Divergence": "result",
    "Frame": "frame",
    "FrameReader": "reader",
    "FrameSource": "base",
    "ResultChoice": "result_choice",
    "ResultFile": "result_file",
    "ResultFileError": "result_file",
    "SourceError": "base",
    "StreamEngine": "engine",
    "StreamOptions": "options",
    "StreamResult": "result",
    "StreamStatistics": "streams",
    "VideoStreams": "streams",
    "open_source": "source",
    "wait_for_any": "reader",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
