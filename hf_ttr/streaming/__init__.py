"""Live streams: sources of frames, an engine that classifies many of them, and files of results."""

from .engine import StreamEngine
from .options import StreamOptions
from .result import Divergence, StreamResult
from .result_file import ResultFile, ResultFileError


__all__ = [
    "Divergence",
    "ResultFile",
    "ResultFileError",
    "StreamEngine",
    "StreamOptions",
    "StreamResult",
]
