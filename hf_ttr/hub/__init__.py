"""Checkpoints: what is in them, how they get reuse, and how they go to the Hub."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names


if TYPE_CHECKING:
    from .checkpoints import CheckpointError
    from .publishing import ConvertedCheckpoint, convert, push_to_hub


__all__ = [
    "CheckpointError",
    "ConvertedCheckpoint",
    "convert",
    "push_to_hub",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "checkpoints": ["CheckpointError"],
        "publishing": ["ConvertedCheckpoint", "convert", "push_to_hub"],
    },
)
