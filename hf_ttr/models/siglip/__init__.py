"""SigLIP with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_siglip import TemporalReuseSiglipConfig, TemporalReuseSiglipVisionConfig
from .modeling_temporal_reuse_siglip import (
    TemporalReuseSiglipForImageClassification,
    TemporalReuseSiglipForVideoClassification,
    TemporalReuseSiglipForZeroShotVideoClassification,
    TemporalReuseSiglipVisionModel,
)


register_model(TemporalReuseSiglipVisionConfig, base=TemporalReuseSiglipVisionModel)
register_model(
    TemporalReuseSiglipConfig,
    image_classifier=TemporalReuseSiglipForImageClassification,
    video_classifier=TemporalReuseSiglipForVideoClassification,
    zero_shot=TemporalReuseSiglipForZeroShotVideoClassification,
)

__all__ = [
    "TemporalReuseSiglipConfig",
    "TemporalReuseSiglipForImageClassification",
    "TemporalReuseSiglipForVideoClassification",
    "TemporalReuseSiglipForZeroShotVideoClassification",
    "TemporalReuseSiglipVisionConfig",
    "TemporalReuseSiglipVisionModel",
]
