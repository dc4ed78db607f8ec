"""ViT with temporal token reuse."""

from transformers import ViTForImageClassification, ViTModel
from transformers.models.vit.modeling_vit import ViTAttention, ViTLayer

from ..attending import ReuseAttention, ReuseLayer
from ..frame_model import ClipClassifier, FrameClassifier, FrameModel, FrameParts
from .configuration_temporal_reuse_vit import TemporalReuseViTConfig


class TemporalReuseViTAttention(ReuseAttention, ViTAttention):
    """The parent's attention, on packed rows."""


class TemporalReuseViTLayer(ReuseLayer, ViTLayer):
    """The parent's layer, on packed rows."""


class ViTParts(FrameParts):
    """Where the parts of a ViT are."""

    layer_class = TemporalReuseViTLayer
    attention_class = TemporalReuseViTAttention


class TemporalReuseViTModel(FrameModel, ViTModel):
    """
    A bare ViT that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseViTConfig`): the settings.
        add_pooling_layer, use_mask_token (`bool`): as in `ViTModel`.
    """

    config: TemporalReuseViTConfig
    parts = ViTParts()


class TemporalReuseViTForImageClassification(FrameClassifier, ViTForImageClassification):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseViTConfig`): the settings.
    """

    config: TemporalReuseViTConfig
    encoder_class = TemporalReuseViTModel


class TemporalReuseViTForVideoClassification(ClipClassifier, ViTForImageClassification):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseViTConfig`): the settings.
    """

    config: TemporalReuseViTConfig
    encoder_class = TemporalReuseViTModel


__all__ = [
    "TemporalReuseViTForImageClassification",
    "TemporalReuseViTForVideoClassification",
    "TemporalReuseViTModel",
]
