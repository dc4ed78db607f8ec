"""DINOv2 with temporal token reuse."""

from typing import Any, ClassVar

import torch
from transformers import Dinov2ForImageClassification, Dinov2Model
from transformers.models.dinov2.modeling_dinov2 import Dinov2Attention, Dinov2Layer

from ..attending import ReuseAttention, ReuseLayer
from ..frame_model import ClipClassifier, FrameClassifier, FrameModel, FrameParts
from .configuration_temporal_reuse_dinov2 import TemporalReuseDinov2Config


class TemporalReuseDinov2Attention(ReuseAttention, Dinov2Attention):
    """The parent's attention, on packed rows."""


class TemporalReuseDinov2Layer(ReuseLayer, Dinov2Layer):
    """The parent's layer, on packed rows."""

    attention_half = ("norm1", "attention", "layer_scale1")
    mlp_half = ("norm2", "mlp", "layer_scale2")


class Dinov2Parts(FrameParts):
    """Where the parts of a DINOv2 are."""

    layer_class: ClassVar[type[ReuseLayer]] = TemporalReuseDinov2Layer
    attention_class: ClassVar[type[ReuseAttention]] = TemporalReuseDinov2Attention
    layers = "encoder.layer"
    options = ("bool_masked_pos",)

    def pool(self, base: Any, states: torch.Tensor) -> tuple[torch.Tensor, int]:
        """See `FrameParts.pool`."""
        return states[:, 0], 0

    def reads(self, base: Any) -> None:
        """See `FrameParts.reads`."""

    def read(self, base: Any, states: torch.Tensor) -> torch.Tensor:
        """See `FrameParts.read`: CLS and the mean of the patches."""
        return torch.cat([states[:, 0], states[:, base.config.prefix_tokens :].mean(dim=1)], dim=1)


class TemporalReuseDinov2Model(FrameModel, Dinov2Model):
    """
    A bare DINOv2 that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseDinov2Config`): the settings.
    """

    config: TemporalReuseDinov2Config
    parts = Dinov2Parts()


class TemporalReuseDinov2ForImageClassification(FrameClassifier, Dinov2ForImageClassification):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseDinov2Config`): the settings.
    """

    config: TemporalReuseDinov2Config
    encoder_class = TemporalReuseDinov2Model


class TemporalReuseDinov2ForVideoClassification(ClipClassifier, Dinov2ForImageClassification):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseDinov2Config`): the settings.
    """

    config: TemporalReuseDinov2Config
    encoder_class = TemporalReuseDinov2Model


__all__ = [
    "TemporalReuseDinov2ForImageClassification",
    "TemporalReuseDinov2ForVideoClassification",
    "TemporalReuseDinov2Model",
]
