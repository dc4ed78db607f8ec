"""DINOv2 with registers with temporal token reuse."""

from transformers import Dinov2WithRegistersForImageClassification, Dinov2WithRegistersModel
from transformers.models.dinov2_with_registers.modeling_dinov2_with_registers import (
    Dinov2WithRegistersAttention,
    Dinov2WithRegistersLayer,
)

from ..attending import ReuseAttention, ReuseLayer
from ..dinov2.modeling_temporal_reuse_dinov2 import Dinov2Parts
from ..frame_model import ClipClassifier, FrameClassifier, FrameModel
from .configuration_temporal_reuse_dinov2_with_registers import TemporalReuseDinov2WithRegistersConfig


class TemporalReuseDinov2WithRegistersAttention(ReuseAttention, Dinov2WithRegistersAttention):
    """The parent's attention, on packed rows."""


class TemporalReuseDinov2WithRegistersLayer(ReuseLayer, Dinov2WithRegistersLayer):
    """The parent's layer, on packed rows."""

    attention_half = ("norm1", "attention", "layer_scale1")
    mlp_half = ("norm2", "mlp", "layer_scale2")


class Dinov2WithRegistersParts(Dinov2Parts):
    """Where the parts of a DINOv2 with registers are."""

    layer_class = TemporalReuseDinov2WithRegistersLayer
    attention_class = TemporalReuseDinov2WithRegistersAttention


class TemporalReuseDinov2WithRegistersModel(FrameModel, Dinov2WithRegistersModel):
    """
    A bare DINOv2 with registers that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseDinov2WithRegistersConfig`): the settings.
    """

    config: TemporalReuseDinov2WithRegistersConfig
    parts = Dinov2WithRegistersParts()


class TemporalReuseDinov2WithRegistersForImageClassification(
    FrameClassifier, Dinov2WithRegistersForImageClassification
):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseDinov2WithRegistersConfig`): the settings.
    """

    config: TemporalReuseDinov2WithRegistersConfig
    encoder_class = TemporalReuseDinov2WithRegistersModel


class TemporalReuseDinov2WithRegistersForVideoClassification(
    ClipClassifier, Dinov2WithRegistersForImageClassification
):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseDinov2WithRegistersConfig`): the settings.
    """

    config: TemporalReuseDinov2WithRegistersConfig
    encoder_class = TemporalReuseDinov2WithRegistersModel


__all__ = [
    "TemporalReuseDinov2WithRegistersForImageClassification",
    "TemporalReuseDinov2WithRegistersForVideoClassification",
    "TemporalReuseDinov2WithRegistersModel",
]
