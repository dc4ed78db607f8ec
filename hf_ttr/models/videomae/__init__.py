"""VideoMAE with temporal token reuse."""

from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification
from transformers.utils import is_vision_available

from .configuration_temporal_reuse_videomae import TemporalReuseVideoMAEConfig
from .modeling_temporal_reuse_videomae import (
    TemporalReuseVideoMAEForVideoClassification,
    TemporalReuseVideoMAEModel,
)


AutoConfig.register(TemporalReuseVideoMAEConfig.model_type, TemporalReuseVideoMAEConfig, exist_ok=True)
AutoModel.register(TemporalReuseVideoMAEConfig, TemporalReuseVideoMAEModel, exist_ok=True)
AutoModelForVideoClassification.register(
    TemporalReuseVideoMAEConfig, TemporalReuseVideoMAEForVideoClassification, exist_ok=True
)
if is_vision_available():
    from ...processing import register_processors

    register_processors(TemporalReuseVideoMAEConfig)

__all__ = [
    "TemporalReuseVideoMAEConfig",
    "TemporalReuseVideoMAEForVideoClassification",
    "TemporalReuseVideoMAEModel",
]
