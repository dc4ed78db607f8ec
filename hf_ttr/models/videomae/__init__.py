"""VideoMAE with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_videomae import TemporalReuseVideoMAEConfig
from .modeling_temporal_reuse_videomae import (
    TemporalReuseVideoMAEForVideoClassification,
    TemporalReuseVideoMAEModel,
)


register_model(
    TemporalReuseVideoMAEConfig,
    base=TemporalReuseVideoMAEModel,
    video_classifier=TemporalReuseVideoMAEForVideoClassification,
)

__all__ = [
    "TemporalReuseVideoMAEConfig",
    "TemporalReuseVideoMAEForVideoClassification",
    "TemporalReuseVideoMAEModel",
]
