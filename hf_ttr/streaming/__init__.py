"""Live streams: frames read ahead in the background, an engine that classifies many of them, and files of results."""

from .base import FrameSource, SourceError
from .engine import StreamEngine
from .frame import Frame
from .options import StreamOptions
from .reader import FrameReader, wait_for_any
from .result import Divergence, StreamResult
from .result_file import ResultFile, ResultFileError
from .source import open_source
from .streams import StreamStatistics, VideoStreams


__all__ = [
    "Divergence",
    "Frame",
    "FrameReader",
    "FrameSource",
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
