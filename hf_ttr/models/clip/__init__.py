"""CLIP with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_clip import TemporalReuseCLIPConfig, TemporalReuseCLIPVisionConfig
from .modeling_temporal_reuse_clip import (
    TemporalReuseCLIPForImageClassification,
    TemporalReuseCLIPForVideoClassification,
    TemporalReuseCLIPVisionModel,
)


register_model(TemporalReuseCLIPVisionConfig, base=TemporalReuseCLIPVisionModel)
register_model(
    TemporalReuseCLIPConfig,
    image_classifier=TemporalReuseCLIPForImageClassification,
    video_classifier=TemporalReuseCLIPForVideoClassification,
)

__all__ = [
    "TemporalReuseCLIPConfig",
    "TemporalReuseCLIPForImageClassification",
    "TemporalReuseCLIPForVideoClassification",
    "TemporalReuseCLIPVisionConfig",
    "TemporalReuseCLIPVisionModel",
]
