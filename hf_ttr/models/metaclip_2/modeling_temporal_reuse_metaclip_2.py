"""MetaCLIP 2 with temporal token reuse."""

from transformers import MetaClip2ForImageClassification, MetaClip2Model, MetaClip2VisionModel
from transformers.models.metaclip_2.modeling_metaclip_2 import MetaClip2Attention, MetaClip2EncoderLayer

from ..clip.modeling_temporal_reuse_clip import CLIPParts
from ..clip_family import ClipFamilyAttention, ClipFamilyLayer
from ..frame_model import ClipClassifier, FrameClassifier, FrameModel
from ..zero_shot import PooledFrames, ZeroShotClassifier
from .configuration_temporal_reuse_metaclip_2 import TemporalReuseMetaClip2Config, TemporalReuseMetaClip2VisionConfig


class TemporalReuseMetaClip2Attention(ClipFamilyAttention, MetaClip2Attention):
    """The parent\'s attention, on packed rows."""


class TemporalReuseMetaClip2EncoderLayer(ClipFamilyLayer, MetaClip2EncoderLayer):
    """The parent\'s layer, on packed rows."""


class MetaClip2Parts(CLIPParts):
    """Where the parts of the vision model of a MetaCLIP 2 are: where a CLIP has them."""

    layer_class = TemporalReuseMetaClip2EncoderLayer
    attention_class = TemporalReuseMetaClip2Attention


class TemporalReuseMetaClip2VisionModel(FrameModel, MetaClip2VisionModel):
    """
    The vision model of a MetaCLIP 2 that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseMetaClip2VisionConfig`): the settings.
    """

    config: TemporalReuseMetaClip2VisionConfig
    parts = MetaClip2Parts()


class TemporalReuseMetaClip2ForImageClassification(FrameClassifier, MetaClip2ForImageClassification):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseMetaClip2Config`): the settings.
    """

    config: TemporalReuseMetaClip2Config
    encoder_class = TemporalReuseMetaClip2VisionModel


class TemporalReuseMetaClip2ForVideoClassification(ClipClassifier, MetaClip2ForImageClassification):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseMetaClip2Config`): the settings.
    """

    config: TemporalReuseMetaClip2Config
    encoder_class = TemporalReuseMetaClip2VisionModel


class TemporalReuseMetaClip2VisionTower(PooledFrames, TemporalReuseMetaClip2VisionModel):
    """The vision model inside of a MetaCLIP 2 that compares frames with texts."""


class TemporalReuseMetaClip2ForZeroShotVideoClassification(ZeroShotClassifier, MetaClip2Model):
    """
    Classifies clips frame by frame by labels that a text tower read; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseMetaClip2Config`): the settings.
    """

    config: TemporalReuseMetaClip2Config
    encoder_class = TemporalReuseMetaClip2VisionTower


__all__ = [
    "TemporalReuseMetaClip2ForImageClassification",
    "TemporalReuseMetaClip2ForVideoClassification",
    "TemporalReuseMetaClip2ForZeroShotVideoClassification",
    "TemporalReuseMetaClip2VisionModel",
]
