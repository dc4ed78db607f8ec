"""Models with temporal token reuse; importing this package registers them with the Auto classes."""

from .beit import (
    TemporalReuseBeitConfig,
    TemporalReuseBeitForImageClassification,
    TemporalReuseBeitForVideoClassification,
    TemporalReuseBeitModel,
)
from .clip import (
    TemporalReuseCLIPConfig,
    TemporalReuseCLIPForImageClassification,
    TemporalReuseCLIPForVideoClassification,
    TemporalReuseCLIPVisionConfig,
    TemporalReuseCLIPVisionModel,
)
from .metaclip_2 import (
    TemporalReuseMetaClip2Config,
    TemporalReuseMetaClip2ForImageClassification,
    TemporalReuseMetaClip2ForVideoClassification,
    TemporalReuseMetaClip2VisionConfig,
    TemporalReuseMetaClip2VisionModel,
)
from .siglip import (
    TemporalReuseSiglipConfig,
    TemporalReuseSiglipForImageClassification,
    TemporalReuseSiglipForVideoClassification,
    TemporalReuseSiglipVisionConfig,
    TemporalReuseSiglipVisionModel,
)
from .siglip2 import (
    TemporalReuseSiglip2Config,
    TemporalReuseSiglip2ForImageClassification,
    TemporalReuseSiglip2ForVideoClassification,
    TemporalReuseSiglip2VisionConfig,
    TemporalReuseSiglip2VisionModel,
)
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


__all__ = [
    "TemporalReuseBeitConfig",
    "TemporalReuseBeitForImageClassification",
    "TemporalReuseBeitForVideoClassification",
    "TemporalReuseBeitModel",
    "TemporalReuseCLIPConfig",
    "TemporalReuseCLIPForImageClassification",
    "TemporalReuseCLIPForVideoClassification",
    "TemporalReuseCLIPVisionConfig",
    "TemporalReuseCLIPVisionModel",
    "TemporalReuseMetaClip2Config",
    "TemporalReuseMetaClip2ForImageClassification",
    "TemporalReuseMetaClip2ForVideoClassification",
    "TemporalReuseMetaClip2VisionConfig",
    "TemporalReuseMetaClip2VisionModel",
    "TemporalReuseSiglip2Config",
    "TemporalReuseSiglip2ForImageClassification",
    "TemporalReuseSiglip2ForVideoClassification",
    "TemporalReuseSiglip2VisionConfig",
    "TemporalReuseSiglip2VisionModel",
    "TemporalReuseSiglipConfig",
    "TemporalReuseSiglipForImageClassification",
    "TemporalReuseSiglipForVideoClassification",
    "TemporalReuseSiglipVisionConfig",
    "TemporalReuseSiglipVisionModel",
    "TemporalReuseViTConfig",
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTModel",
    "TemporalReuseVideoMAEConfig",
    "TemporalReuseVideoMAEForVideoClassification",
    "TemporalReuseVideoMAEModel",
]
