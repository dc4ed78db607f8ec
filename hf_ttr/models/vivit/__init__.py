"""ViViT with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_vivit import TemporalReuseVivitConfig
from .modeling_temporal_reuse_vivit import TemporalReuseVivitForVideoClassification, TemporalReuseVivitModel


register_model(
    TemporalReuseVivitConfig,
    base=TemporalReuseVivitModel,
    video_classifier=TemporalReuseVivitForVideoClassification,
)

__all__ = ["TemporalReuseVivitConfig", "TemporalReuseVivitForVideoClassification", "TemporalReuseVivitModel"]
