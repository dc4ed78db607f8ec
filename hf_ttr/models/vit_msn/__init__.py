"""ViT-MSN with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_vit_msn import TemporalReuseViTMSNConfig
from .modeling_temporal_reuse_vit_msn import (
    TemporalReuseViTMSNForImageClassification,
    TemporalReuseViTMSNForVideoClassification,
    TemporalReuseViTMSNModel,
)


register_model(
    TemporalReuseViTMSNConfig,
    base=TemporalReuseViTMSNModel,
    image_classifier=TemporalReuseViTMSNForImageClassification,
    video_classifier=TemporalReuseViTMSNForVideoClassification,
)

__all__ = [
    "TemporalReuseViTMSNConfig",
    "TemporalReuseViTMSNForImageClassification",
    "TemporalReuseViTMSNForVideoClassification",
    "TemporalReuseViTMSNModel",
]
