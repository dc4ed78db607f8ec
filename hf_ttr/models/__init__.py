"""Models with temporal token reuse; importing this package registers them with the Auto classes."""

from .deit import (
    TemporalReuseDeiTConfig,
    TemporalReuseDeiTForImageClassification,
    TemporalReuseDeiTForImageClassificationWithTeacher,
    TemporalReuseDeiTForVideoClassification,
    TemporalReuseDeiTForVideoClassificationWithTeacher,
    TemporalReuseDeiTModel,
)
from .dinov2 import (
    TemporalReuseDinov2Config,
    TemporalReuseDinov2ForImageClassification,
    TemporalReuseDinov2ForVideoClassification,
    TemporalReuseDinov2Model,
)
from .dinov2_with_registers import (
    TemporalReuseDinov2WithRegistersConfig,
    TemporalReuseDinov2WithRegistersForImageClassification,
    TemporalReuseDinov2WithRegistersForVideoClassification,
    TemporalReuseDinov2WithRegistersModel,
)
from .dinov3_vit import (
    TemporalReuseDINOv3ViTConfig,
    TemporalReuseDINOv3ViTModel,
)
from .ijepa import (
    TemporalReuseIJepaConfig,
    TemporalReuseIJepaForImageClassification,
    TemporalReuseIJepaForVideoClassification,
    TemporalReuseIJepaModel,
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
from .vit_msn import (
    TemporalReuseViTMSNConfig,
    TemporalReuseViTMSNForImageClassification,
    TemporalReuseViTMSNForVideoClassification,
    TemporalReuseViTMSNModel,
)


__all__ = [
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
    "TemporalReuseIJepaConfig",
    "TemporalReuseIJepaForImageClassification",
    "TemporalReuseIJepaForVideoClassification",
    "TemporalReuseIJepaModel",
    "TemporalReuseViTConfig",
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTMSNConfig",
    "TemporalReuseViTMSNForImageClassification",
    "TemporalReuseViTMSNForVideoClassification",
    "TemporalReuseViTMSNModel",
    "TemporalReuseViTModel",
    "TemporalReuseVideoMAEConfig",
    "TemporalReuseVideoMAEForVideoClassification",
    "TemporalReuseVideoMAEModel",
]
