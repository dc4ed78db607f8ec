"""Evaluation on a data set: clips spread over processes, one row for each, and what they add up to."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names


if TYPE_CHECKING:
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

# A protocol needs no torch, and is wanted where there is none.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "data": ["DataError", "Video", "VideoDataset", "open_dataset"],
        "protocol": ["Protocol"],
        "rows": ["ClipRow", "RowFiles"],
        "runner": ["Evaluation", "describe", "evaluate"],
        "summary": ["summarise"],
    },
)
