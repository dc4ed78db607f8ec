"""DINOv3 with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_dinov3_vit import TemporalReuseDINOv3ViTConfig
from .modeling_temporal_reuse_dinov3_vit import TemporalReuseDINOv3ViTModel


register_model(
    TemporalReuseDINOv3ViTConfig,
    base=TemporalReuseDINOv3ViTModel,
)

__all__ = [
    "TemporalReuseDINOv3ViTConfig",
    "TemporalReuseDINOv3ViTModel",
]
