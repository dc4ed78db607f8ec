"""Live streams: frames from files, the network, cameras and iterators, read ahead in the background."""

from .base import FrameSource, SourceError
from .frame import Frame
from .reader import FrameReader, wait_for_any
from .source import open_source


__all__ = ["Frame", "FrameReader", "FrameSource", "SourceError", "open_source", "wait_for_any"]
