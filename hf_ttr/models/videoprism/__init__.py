"""VideoPrism with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_videoprism import TemporalReuseVideoPrismVisionConfig
from .modeling_temporal_reuse_videoprism import (
    TemporalReuseVideoPrismForVideoClassification,
    TemporalReuseVideoPrismVisionModel,
)


register_model(
    TemporalReuseVideoPrismVisionConfig,
    base=TemporalReuseVideoPrismVisionModel,
    video_classifier=TemporalReuseVideoPrismForVideoClassification,
)

__all__ = [
    "TemporalReuseVideoPrismForVideoClassification",
    "TemporalReuseVideoPrismVisionConfig",
    "TemporalReuseVideoPrismVisionModel",
]
