"""DeiT with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_deit import TemporalReuseDeiTConfig
from .modeling_temporal_reuse_deit import (
    TemporalReuseDeiTForImageClassification,
    TemporalReuseDeiTForImageClassificationWithTeacher,
    TemporalReuseDeiTForVideoClassification,
    TemporalReuseDeiTForVideoClassificationWithTeacher,
    TemporalReuseDeiTModel,
)


register_model(
    TemporalReuseDeiTConfig,
    base=TemporalReuseDeiTModel,
    image_classifier=TemporalReuseDeiTForImageClassification,
    video_classifier=TemporalReuseDeiTForVideoClassification,
    others=(TemporalReuseDeiTForVideoClassificationWithTeacher, TemporalReuseDeiTForImageClassificationWithTeacher),
)

__all__ = [
    "TemporalReuseDeiTConfig",
    "TemporalReuseDeiTForImageClassification",
    "TemporalReuseDeiTForImageClassificationWithTeacher",
    "TemporalReuseDeiTForVideoClassification",
    "TemporalReuseDeiTForVideoClassificationWithTeacher",
    "TemporalReuseDeiTModel",
]
