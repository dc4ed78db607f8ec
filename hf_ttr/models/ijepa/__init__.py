"""I-JEPA with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_ijepa import TemporalReuseIJepaConfig
from .modeling_temporal_reuse_ijepa import (
    TemporalReuseIJepaForImageClassification,
    TemporalReuseIJepaForVideoClassification,
    TemporalReuseIJepaModel,
)


register_model(
    TemporalReuseIJepaConfig,
    base=TemporalReuseIJepaModel,
    image_classifier=TemporalReuseIJepaForImageClassification,
    video_classifier=TemporalReuseIJepaForVideoClassification,
)

__all__ = [
    "TemporalReuseIJepaConfig",
    "TemporalReuseIJepaForImageClassification",
    "TemporalReuseIJepaForVideoClassification",
    "TemporalReuseIJepaModel",
]
