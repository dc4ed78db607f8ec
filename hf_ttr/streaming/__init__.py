"""Live streams: frames read ahead in the background, an engine that classifies many of them, and files of results."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names


if TYPE_CHECKING:
    from .base import FrameSource, SourceError
    from .engine import StreamEngine
    from .frame import Frame
    from .options import StreamOptions
    from .reader import FrameReader, wait_for_any
    from .result import Divergence, StreamResult
    from .result_choice import ResultChoice
    from .result_file import ResultFile, ResultFileError
    from .source import open_source
    from .streams import StreamStatistics, VideoStreams


__all__ = [
    "Divergence",
    "Frame",
    "FrameReader",
    "FrameSource",
    "ResultChoice",
    "ResultFile",
    "ResultFileError",
    "SourceError",
    "StreamEngine",
    "StreamOptions",
    "StreamResult",
    "StreamStatistics",
    "VideoStreams",
    "open_source",
    "wait_for_any",
]

# What reads options and files of results needs no torch.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "base": ["FrameSource", "SourceError"],
        "engine": ["StreamEngine"],
        "frame": ["Frame"],
        "options": ["StreamOptions"],
        "reader": ["FrameReader", "wait_for_any"],
        "result": ["Divergence", "StreamResult"],
        "result_choice": ["ResultChoice"],
        "result_file": ["ResultFile", "ResultFileError"],
        "source": ["open_source"],
        "streams": ["StreamStatistics", "VideoStreams"],
    },
)
