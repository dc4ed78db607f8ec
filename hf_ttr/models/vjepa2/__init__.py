"""V-JEPA 2 with temporal token reuse."""

from ..register import register_model
from .configuration_temporal_reuse_vjepa2 import TemporalReuseVJEPA2Config
from .modeling_temporal_reuse_vjepa2 import TemporalReuseVJEPA2ForVideoClassification, TemporalReuseVJEPA2Model


register_model(
    TemporalReuseVJEPA2Config,
    base=TemporalReuseVJEPA2Model,
    video_classifier=TemporalReuseVJEPA2ForVideoClassification,
)

__all__ = ["TemporalReuseVJEPA2Config", "TemporalReuseVJEPA2ForVideoClassification", "TemporalReuseVJEPA2Model"]
