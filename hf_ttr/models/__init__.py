"""Models with temporal token reuse; importing this package registers them with the Auto classes."""

from .videomae import (
    TemporalReuseVideoMAEConfig,
    TemporalReuseVideoMAEForVideoClassification,
    TemporalReuseVideoMAEModel,
)
from .vit import (
    TemporalReuseViTConfig,
    TemporalReuseViTForImageClassification,
    TemporalReuseViTForVideoClassification,
    TemporalReuseViTModel,
)


__all__ = [
    "TemporalReuseViTConfig",
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTModel",
    "TemporalReuseVideoMAEConfig",
    "TemporalReuseVideoMAEForVideoClassification",
    "TemporalReuseVideoMAEModel",
]
