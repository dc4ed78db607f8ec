"""Evaluation on a data set: clips spread over processes, one row for each, and what they add up to."""

from .data import DataError, Video, VideoDataset, open_dataset
from .protocol import Protocol
from .rows import ClipRow, RowFiles
from .runner import Evaluation, describe, evaluate
from .summary import summarise


__all__ = [
    "ClipRow",
    "DataError",
    "Evaluation",
    "Protocol",
    "RowFiles",
    "Video",
    "VideoDataset",
    "describe",
    "evaluate",
    "open_dataset",
    "summarise",
]
