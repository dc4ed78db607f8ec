"""DINOv2 with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_dinov2 import TemporalReuseDinov2Config
from .modeling_temporal_reuse_dinov2 import (
    TemporalReuseDinov2ForImageClassification,
    TemporalReuseDinov2ForVideoClassification,
    TemporalReuseDinov2Model,
)


register_model(
    TemporalReuseDinov2Config,
    base=TemporalReuseDinov2Model,
    image_classifier=TemporalReuseDinov2ForImageClassification,
    video_classifier=TemporalReuseDinov2ForVideoClassification,
)

__all__ = [
    "TemporalReuseDinov2Config",
    "TemporalReuseDinov2ForImageClassification",
    "TemporalReuseDinov2ForVideoClassification",
    "TemporalReuseDinov2Model",
]
