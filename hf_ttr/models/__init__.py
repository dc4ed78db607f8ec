"""Models with temporal token reuse; importing this package registers them with the Auto classes."""

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
]
