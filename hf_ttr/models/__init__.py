"""Models with temporal token reuse; importing this package registers them with the Auto classes."""

from .videomae import (
    TemporalReuseVideoMAEConfig,
    TemporalReuseVideoMAEForVideoClassification,
    TemporalReuseVideoMAEModel,
)
from .vit import (
    TemporalReuseViTConfig,
    TemporalReuseViTForImageClassification,
    TemporalReuseViTForVideoClassification,
    TemporalReuseViTModel,
)
from .vivit import TemporalReuseVivitConfig, TemporalReuseVivitForVideoClassification, TemporalReuseVivitModel
from .vjepa2 import TemporalReuseVJEPA2Config, TemporalReuseVJEPA2ForVideoClassification, TemporalReuseVJEPA2Model


__all__ = [
    "TemporalReuseVJEPA2Config",
    "TemporalReuseVJEPA2ForVideoClassification",
    "TemporalReuseVJEPA2Model",
    "TemporalReuseViTConfig",
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTModel",
    "TemporalReuseVideoMAEConfig",
    "TemporalReuseVideoMAEForVideoClassification",
    "TemporalReuseVideoMAEModel",
    "TemporalReuseVivitConfig",
    "TemporalReuseVivitForVideoClassification",
    "TemporalReuseVivitModel",
]
