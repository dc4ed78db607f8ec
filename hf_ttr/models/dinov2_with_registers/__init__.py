"""DINOv2 with registers with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_dinov2_with_registers import TemporalReuseDinov2WithRegistersConfig
from .modeling_temporal_reuse_dinov2_with_registers import (
    TemporalReuseDinov2WithRegistersForImageClassification,
    TemporalReuseDinov2WithRegistersForVideoClassification,
    TemporalReuseDinov2WithRegistersModel,
)


register_model(
    TemporalReuseDinov2WithRegistersConfig,
    base=TemporalReuseDinov2WithRegistersModel,
    image_classifier=TemporalReuseDinov2WithRegistersForImageClassification,
    video_classifier=TemporalReuseDinov2WithRegistersForVideoClassification,
)

__all__ = [
    "TemporalReuseDinov2WithRegistersConfig",
    "TemporalReuseDinov2WithRegistersForImageClassification",
    "TemporalReuseDinov2WithRegistersForVideoClassification",
    "TemporalReuseDinov2WithRegistersModel",
]
