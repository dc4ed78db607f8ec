"""MetaCLIP 2 with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_metaclip_2 import TemporalReuseMetaClip2Config, TemporalReuseMetaClip2VisionConfig
from .modeling_temporal_reuse_metaclip_2 import (
    TemporalReuseMetaClip2ForImageClassification,
    TemporalReuseMetaClip2ForVideoClassification,
    TemporalReuseMetaClip2ForZeroShotVideoClassification,
    TemporalReuseMetaClip2VisionModel,
)


register_model(TemporalReuseMetaClip2VisionConfig, base=TemporalReuseMetaClip2VisionModel)
register_model(
    TemporalReuseMetaClip2Config,
    image_classifier=TemporalReuseMetaClip2ForImageClassification,
    video_classifier=TemporalReuseMetaClip2ForVideoClassification,
    zero_shot=TemporalReuseMetaClip2ForZeroShotVideoClassification,
)

__all__ = [
    "TemporalReuseMetaClip2Config",
    "TemporalReuseMetaClip2ForImageClassification",
    "TemporalReuseMetaClip2ForVideoClassification",
    "TemporalReuseMetaClip2ForZeroShotVideoClassification",
    "TemporalReuseMetaClip2VisionConfig",
    "TemporalReuseMetaClip2VisionModel",
]
