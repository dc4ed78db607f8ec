"""Temporal token reuse for Hugging Face video transformers."""

from .cache import TemporalReuseCache
from .configuration import TemporalReuseConfig
from .models import (
    TemporalReuseViTConfig,
    TemporalReuseViTForImageClassification,
    TemporalReuseViTForVideoClassification,
    TemporalReuseViTModel,
)


__version__ = "0.1.0"

__all__ = [
    "TemporalReuseCache",
    "TemporalReuseConfig",
    "TemporalReuseViTConfig",
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTModel",
]
