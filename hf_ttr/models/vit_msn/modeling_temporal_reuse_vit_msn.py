"""ViT-MSN with temporal token reuse."""

from transformers import ViTMSNForImageClassification, ViTMSNModel
from transformers.models.vit_msn.modeling_vit_msn import ViTMSNAttention, ViTMSNLayer

from ..attending import ReuseAttention, ReuseLayer
from ..frame_model import ClipClassifier, FrameClassifier, FrameModel, FrameParts
from .configuration_temporal_reuse_vit_msn import TemporalReuseViTMSNConfig


class TemporalReuseViTMSNAttention(ReuseAttention, ViTMSNAttention):
    """The parent's attention, on packed rows."""


class TemporalReuseViTMSNLayer(ReuseLayer, ViTMSNLayer):
    """The parent's layer, on packed rows."""


class ViTMSNParts(FrameParts):
    """Where the parts of a ViT-MSN are."""

    layer_class = TemporalReuseViTMSNLayer
    attention_class = TemporalReuseViTMSNAttention


class TemporalReuseViTMSNModel(FrameModel, ViTMSNModel):
    """
    A bare ViT-MSN that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseViTMSNConfig`): the settings.
        use_mask_token (`bool`): as in `ViTMSNModel`.
    """

    config: TemporalReuseViTMSNConfig
    parts = ViTMSNParts()


class TemporalReuseViTMSNForImageClassification(FrameClassifier, ViTMSNForImageClassification):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseViTMSNConfig`): the settings.
    """

    config: TemporalReuseViTMSNConfig
    encoder_class = TemporalReuseViTMSNModel


class TemporalReuseViTMSNForVideoClassification(ClipClassifier, ViTMSNForImageClassification):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseViTMSNConfig`): the settings.
    """

    config: TemporalReuseViTMSNConfig
    encoder_class = TemporalReuseViTMSNModel


__all__ = [
    "TemporalReuseViTMSNForImageClassification",
    "TemporalReuseViTMSNForVideoClassification",
    "TemporalReuseViTMSNModel",
]
