"""ViT with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_vit import TemporalReuseViTConfig
from .modeling_temporal_reuse_vit import (
    TemporalReuseViTForImageClassification,
    TemporalReuseViTForVideoClassification,
    TemporalReuseViTModel,
)


register_model(
    TemporalReuseViTConfig,
    base=TemporalReuseViTModel,
    image_classifier=TemporalReuseViTForImageClassification,
    video_classifier=TemporalReuseViTForVideoClassification,
)

__all__ = [
    "TemporalReuseViTConfig",
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTModel",
]
