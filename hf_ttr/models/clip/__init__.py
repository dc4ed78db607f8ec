"""CLIP with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_clip import TemporalReuseCLIPConfig, TemporalReuseCLIPVisionConfig
from .modeling_temporal_reuse_clip import (
    TemporalReuseCLIPForImageClassification,
    TemporalReuseCLIPForVideoClassification,
    TemporalReuseCLIPForZeroShotVideoClassification,
    TemporalReuseCLIPVisionModel,
)


register_model(TemporalReuseCLIPVisionConfig, base=TemporalReuseCLIPVisionModel)
register_model(
    TemporalReuseCLIPConfig,
    image_classifier=TemporalReuseCLIPForImageClassification,
    video_classifier=TemporalReuseCLIPForVideoClassification,
    zero_shot=TemporalReuseCLIPForZeroShotVideoClassification,
)

__all__ = [
    "TemporalReuseCLIPConfig",
    "TemporalReuseCLIPForImageClassification",
    "TemporalReuseCLIPForVideoClassification",
    "TemporalReuseCLIPForZeroShotVideoClassification",
    "TemporalReuseCLIPVisionConfig",
    "TemporalReuseCLIPVisionModel",
]
