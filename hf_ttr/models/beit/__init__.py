"""BEiT with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_beit import TemporalReuseBeitConfig
from .modeling_temporal_reuse_beit import (
    TemporalReuseBeitForImageClassification,
    TemporalReuseBeitForVideoClassification,
    TemporalReuseBeitModel,
)


register_model(
    TemporalReuseBeitConfig,
    base=TemporalReuseBeitModel,
    image_classifier=TemporalReuseBeitForImageClassification,
    video_classifier=TemporalReuseBeitForVideoClassification,
)

__all__ = [
    "TemporalReuseBeitConfig",
    "TemporalReuseBeitForImageClassification",
    "TemporalReuseBeitForVideoClassification",
    "TemporalReuseBeitModel",
]
