"""ViT with temporal token reuse."""

from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, AutoModelForVideoClassification
from transformers.utils import is_vision_available

from .configuration_temporal_reuse_vit import TemporalReuseViTConfig
from .modeling_temporal_reuse_vit import (
    TemporalReuseViTForImageClassification,
    TemporalReuseViTForVideoClassification,
    TemporalReuseViTModel,
)


AutoConfig.register(TemporalReuseViTConfig.model_type, TemporalReuseViTConfig, exist_ok=True)
AutoModel.register(TemporalReuseViTConfig, TemporalReuseViTModel, exist_ok=True)
AutoModelForImageClassification.register(TemporalReuseViTConfig, TemporalReuseViTForImageClassification, exist_ok=True)
AutoModelForVideoClassification.register(TemporalReuseViTConfig, TemporalReuseViTForVideoClassification, exist_ok=True)
if is_vision_available():
    from ...processing import register_processors

    register_processors(TemporalReuseViTConfig)

__all__ = [
    "TemporalReuseViTConfig",
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTModel",
]
