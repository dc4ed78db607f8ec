"""Methods that make fewer tokens of many, alone or together with reuse."""

from .base import (
    FrameMerge,
    FrameReduction,
    LayerReduction,
    ModelShape,
    Observed,
    Reduction,
    WindowReduction,
    as_reduction,
    register_reduction,
)
from .pruning import Pruning
from .rows import RowChange, RowSets
from .run_length import RunLength
from .tome import ToMe
from .vid_tldr import VidTLDR
from .vidtome import VidToMe


__all__ = [
    "FrameMerge",
    "FrameReduction",
    "LayerReduction",
    "ModelShape",
    "Observed",
    "Pruning",
    "Reduction",
    "RowChange",
    "RowSets",
    "RunLength",
    "ToMe",
    "VidTLDR",
    "VidToMe",
    "WindowReduction",
    "as_reduction",
    "register_reduction",
]
