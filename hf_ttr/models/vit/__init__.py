"""ViT with temporal token reuse."""

from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, AutoModelForVideoClassification

from .configuration_temporal_reuse_vit import TemporalReuseViTConfig
from .modeling_temporal_reuse_vit import (
    TemporalReuseViTForImageClassification,
    TemporalReuseViTForVideoClassification,
    TemporalReuseViTModel,
)


AutoConfig.register(TemporalReuseViTConfig.model_type, TemporalReuseViTConfig, exist_ok=True)
AutoModel.register(TemporalReuseViTConfig, TemporalReuseViTModel, exist_ok=True)
AutoModelForImageClassification.register(
    TemporalReuseViTConfig, TemporalReuseViTForImageClassification, exist_ok=True
)
AutoModelForVideoClassification.register(
    TemporalReuseViTConfig, TemporalReuseViTForVideoClassification, exist_ok=True
)

__all__ = [
    "TemporalReuseViTConfig",
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTModel",
]
