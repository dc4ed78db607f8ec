"""I-JEPA with temporal token reuse."""

from typing import Any

import torch
from transformers import IJepaForImageClassification, IJepaModel
from transformers.models.ijepa.modeling_ijepa import IJepaAttention, IJepaLayer

from ..attending import ReuseAttention, ReuseLayer
from ..frame_model import ClipClassifier, FrameClassifier, FrameModel, FrameParts
from .configuration_temporal_reuse_ijepa import TemporalReuseIJepaConfig


class TemporalReuseIJepaAttention(ReuseAttention, IJepaAttention):
    """The parent's attention, on packed rows."""


class TemporalReuseIJepaLayer(ReuseLayer, IJepaLayer):
    """The parent's layer, on packed rows."""


class IJepaParts(FrameParts):
    """Where the parts of an I-JEPA are."""

    layer_class = TemporalReuseIJepaLayer
    attention_class = TemporalReuseIJepaAttention

    def reads(self, base: Any) -> None:
        """See `FrameParts.reads`."""

    def read(self, base: Any, states: torch.Tensor) -> torch.Tensor:
        """See `FrameParts.read`."""
        return states.mean(dim=1)


class TemporalReuseIJepaModel(FrameModel, IJepaModel):
    """
    A bare I-JEPA that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseIJepaConfig`): the settings.
        add_pooling_layer, use_mask_token (`bool`): as in `IJepaModel`.
    """

    config: TemporalReuseIJepaConfig
    parts = IJepaParts()


class TemporalReuseIJepaForImageClassification(FrameClassifier, IJepaForImageClassification):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseIJepaConfig`): the settings.
    """

    config: TemporalReuseIJepaConfig
    encoder_class = TemporalReuseIJepaModel


class TemporalReuseIJepaForVideoClassification(ClipClassifier, IJepaForImageClassification):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseIJepaConfig`): the settings.
    """

    config: TemporalReuseIJepaConfig
    encoder_class = TemporalReuseIJepaModel


__all__ = [
    "TemporalReuseIJepaForImageClassification",
    "TemporalReuseIJepaForVideoClassification",
    "TemporalReuseIJepaModel",
]
