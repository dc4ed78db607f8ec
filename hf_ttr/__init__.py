"""Temporal token reuse for Hugging Face video transformers: the same labels for a fraction of the compute."""

from typing import Any

from . import metrics
from .cache import TemporalReuseCache
from .configuration import TemporalReuseConfig
from .conversion import with_temporal_reuse
from .models import (
    TemporalReuseVideoMAEConfig,
    TemporalReuseVideoMAEForVideoClassification,
    TemporalReuseVideoMAEModel,
    TemporalReuseViTConfig,
    TemporalReuseViTForImageClassification,
    TemporalReuseViTForVideoClassification,
    TemporalReuseViTModel,
)
from .optimization import OptimizationReport, optimize
from .pipeline import TemporalReuseVideoClassificationPipeline
from .window_cache import TemporalReuseWindowCache


__version__ = "0.1.0"

__all__ = [
    "OptimizationReport",
    "TemporalReuseCache",
    "TemporalReuseConfig",
    "TemporalReuseImageProcessor",
    "TemporalReuseViTConfig",
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTModel",
    "TemporalReuseVideoClassificationPipeline",
    "TemporalReuseVideoMAEConfig",
    "TemporalReuseVideoMAEForVideoClassification",
    "TemporalReuseVideoMAEModel",
    "TemporalReuseVideoProcessor",
    "TemporalReuseWindowCache",
    "metrics",
    "optimize",
    "with_temporal_reuse",
]


def __getattr__(name: str) -> Any:
    # The processors need Pillow, which the models do not.
    if name in ("TemporalReuseImageProcessor", "TemporalReuseVideoProcessor"):
        from . import processing

        return getattr(processing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
