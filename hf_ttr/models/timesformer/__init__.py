"""TimeSformer with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_timesformer import TemporalReuseTimesformerConfig
from .modeling_temporal_reuse_timesformer import (
    TemporalReuseTimesformerForVideoClassification,
    TemporalReuseTimesformerModel,
)


register_model(
    TemporalReuseTimesformerConfig,
    base=TemporalReuseTimesformerModel,
    video_classifier=TemporalReuseTimesformerForVideoClassification,
)

__all__ = [
    "TemporalReuseTimesformerConfig",
    "TemporalReuseTimesformerForVideoClassification",
    "TemporalReuseTimesformerModel",
]
