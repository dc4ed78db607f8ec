"""
Temporal token reuse for Hugging Face video transformers: the same weights, a fraction of the compute.

Importing it makes its models and its pipeline known to transformers, and takes no time: what is in it is loaded when
it is used, and registered when transformers' own Auto classes and pipelines are loaded.
"""

from typing import TYPE_CHECKING

from .lazy import lazy_names
from .registration import register_when_loaded
from .renamed import find_renamed


if TYPE_CHECKING:
    from . import metrics
    from .caching.cache import TemporalReuseCache
    from .caching.factorized_cache import TemporalReuseFactorizedCache
    from .caching.window_cache import TemporalReuseWindowCache
    from .configuration import TemporalReuseConfig
    from .conversion import with_temporal_reuse
    from .examples import example
    from .labelling import zero_shot
    from .models import *
    from .optimization import OptimizationReport, optimize
    from .pipeline import TemporalReuseVideoClassificationPipeline
    from .video.processing import TemporalReuseImageProcessor, TemporalReuseVideoProcessor


__version__ = "0.1.0"

__all__ = [
    "OptimizationReport",
    "TemporalReuseBeitConfig",
    "TemporalReuseBeitForImageClassification",
    "TemporalReuseBeitForVideoClassification",
    "TemporalReuseBeitModel",
    "TemporalReuseCLIPConfig",
    "TemporalReuseCLIPForImageClassification",
    "TemporalReuseCLIPForVideoClassification",
    "TemporalReuseCLIPForZeroShotVideoClassification",
    "TemporalReuseCLIPVisionConfig",
    "TemporalReuseCLIPVisionModel",
    "TemporalReuseCache",
    "TemporalReuseConfig",
    "TemporalReuseDINOv3ViTConfig",
    "TemporalReuseDINOv3ViTModel",
    "TemporalReuseDeiTConfig",
    "TemporalReuseDeiTForImageClassification",
    "TemporalReuseDeiTForImageClassificationWithTeacher",
    "TemporalReuseDeiTForVideoClassification",
    "TemporalReuseDeiTForVideoClassificationWithTeacher",
    "TemporalReuseDeiTModel",
    "TemporalReuseDinov2Config",
    "TemporalReuseDinov2ForImageClassification",
    "TemporalReuseDinov2ForVideoClassification",
    "TemporalReuseDinov2Model",
    "TemporalReuseDinov2WithRegistersConfig",
    "TemporalReuseDinov2WithRegistersForImageClassification",
    "TemporalReuseDinov2WithRegistersForVideoClassification",
    "TemporalReuseDinov2WithRegistersModel",
    "TemporalReuseFactorizedCache",
    "TemporalReuseIJepaConfig",
    "TemporalReuseIJepaForImageClassification",
    "TemporalReuseIJepaForVideoClassification",
    "TemporalReuseIJepaModel",
    "TemporalReuseImageProcessor",
    "TemporalReuseMetaClip2Config",
    "TemporalReuseMetaClip2ForImageClassification",
    "TemporalReuseMetaClip2ForVideoClassification",
    "TemporalReuseMetaClip2ForZeroShotVideoClassification",
    "TemporalReuseMetaClip2VisionConfig",
    "TemporalReuseMetaClip2VisionModel",
    "TemporalReuseSiglip2Config",
    "TemporalReuseSiglip2ForImageClassification",
    "TemporalReuseSiglip2ForVideoClassification",
    "TemporalReuseSiglip2ForZeroShotVideoClassification",
    "TemporalReuseSiglip2VisionConfig",
    "TemporalReuseSiglip2VisionModel",
    "TemporalReuseSiglipConfig",
    "TemporalReuseSiglipForImageClassification",
    "TemporalReuseSiglipForVideoClassification",
    "TemporalReuseSiglipForZeroShotVideoClassification",
    "TemporalReuseSiglipVisionConfig",
    "TemporalReuseSiglipVisionModel",
    "TemporalReuseTimesformerConfig",
    "TemporalReuseTimesformerForVideoClassification",
    "TemporalReuseTimesformerModel",
    "TemporalReuseVJEPA2Config",
    "TemporalReuseVJEPA2ForVideoClassification",
    "TemporalReuseVJEPA2Model",
    "TemporalReuseViTConfig",
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTMSNConfig",
    "TemporalReuseViTMSNForImageClassification",
    "TemporalReuseViTMSNForVideoClassification",
    "TemporalReuseViTMSNModel",
    "TemporalReuseViTModel",
    "TemporalReuseVideoClassificationPipeline",
    "TemporalReuseVideoMAEConfig",
    "TemporalReuseVideoMAEForVideoClassification",
    "TemporalReuseVideoMAEModel",
    "TemporalReuseVideoPrismForVideoClassification",
    "TemporalReuseVideoPrismVisionConfig",
    "TemporalReuseVideoPrismVisionModel",
    "TemporalReuseVideoProcessor",
    "TemporalReuseVivitConfig",
    "TemporalReuseVivitForVideoClassification",
    "TemporalReuseVivitModel",
    "TemporalReuseWindowCache",
    "example",
    "metrics",
    "optimize",
    "with_temporal_reuse",
    "zero_shot",
]

_MODULES = {
    "caching": ["TemporalReuseCache", "TemporalReuseFactorizedCache", "TemporalReuseWindowCache"],
    "configuration": ["TemporalReuseConfig"],
    "conversion": ["with_temporal_reuse"],
    "examples": ["example"],
    "labelling": ["zero_shot"],
    "optimization": ["OptimizationReport", "optimize"],
    "pipeline": ["TemporalReuseVideoClassificationPipeline"],
    "video.processing": ["TemporalReuseImageProcessor", "TemporalReuseVideoProcessor"],
}
# Every other class is of a model, and every other name a module.
_OTHERS = set(__all__).difference(*_MODULES.values(), {"metrics"})

__getattr__, __dir__ = lazy_names(__name__, {**_MODULES, "models": sorted(_OTHERS)})

register_when_loaded()
find_renamed()
