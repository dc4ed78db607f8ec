"""Model cards: what a checkpoint is, how to use it, and what was measured of it."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names


if TYPE_CHECKING:
    from .model_card import ReuseModelCardData, save_model_card


__all__ = [
    "ReuseModelCardData",
    "save_model_card",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "model_card": ["ReuseModelCardData", "save_model_card"],
    },
)
