"""SigLIP 2 with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_siglip2 import TemporalReuseSiglip2Config, TemporalReuseSiglip2VisionConfig
from .modeling_temporal_reuse_siglip2 import (
    TemporalReuseSiglip2ForImageClassification,
    TemporalReuseSiglip2ForVideoClassification,
    TemporalReuseSiglip2ForZeroShotVideoClassification,
    TemporalReuseSiglip2VisionModel,
)


register_model(TemporalReuseSiglip2VisionConfig, base=TemporalReuseSiglip2VisionModel)
register_model(
    TemporalReuseSiglip2Config,
    image_classifier=TemporalReuseSiglip2ForImageClassification,
    video_classifier=TemporalReuseSiglip2ForVideoClassification,
    zero_shot=TemporalReuseSiglip2ForZeroShotVideoClassification,
)

__all__ = [
    "TemporalReuseSiglip2Config",
    "TemporalReuseSiglip2ForImageClassification",
    "TemporalReuseSiglip2ForVideoClassification",
    "TemporalReuseSiglip2ForZeroShotVideoClassification",
    "TemporalReuseSiglip2VisionConfig",
    "TemporalReuseSiglip2VisionModel",
]
