"""Methods that make fewer tokens of many, alone or together with reuse."""

from .base import Reduction, as_reduction, register_reduction
from .pruning import Pruning
from .run_length import RunLength
from .tome import ToMe
from .vid_tldr import VidTLDR


__all__ = ["Pruning", "Reduction", "RunLength", "ToMe", "VidTLDR", "as_reduction", "register_reduction"]
