"""CLIP with temporal token reuse."""

from typing import Any, ClassVar

import torch
from transformers import CLIPForImageClassification, CLIPModel, CLIPVisionModel
from transformers.models.clip.modeling_clip import CLIPAttention, CLIPEncoderLayer

from ..attending import ReuseAttention, ReuseLayer
from ..clip_family import ClipFamilyAttention, ClipFamilyLayer
from ..frame_model import ClipClassifier, FrameClassifier, FrameModel, FrameParts
from ..zero_shot import PooledFrames, ZeroShotClassifier
from .configuration_temporal_reuse_clip import TemporalReuseCLIPConfig, TemporalReuseCLIPVisionConfig


class TemporalReuseCLIPAttention(ClipFamilyAttention, CLIPAttention):
    """The parent\'s attention, on packed rows."""


class TemporalReuseCLIPEncoderLayer(ClipFamilyLayer, CLIPEncoderLayer):
    """The parent\'s layer, on packed rows."""


class CLIPParts(FrameParts):
    """Where the parts of the vision model of a CLIP are; what the classifier reads has no norm."""

    layer_class: ClassVar[type[ReuseLayer]] = TemporalReuseCLIPEncoderLayer
    attention_class: ClassVar[type[ReuseAttention]] = TemporalReuseCLIPAttention
    projection = "embeddings.patch_embedding"
    layers = "encoder.layers"
    norm = None
    options: ClassVar[tuple[str, ...]] = ("interpolate_pos_encoding",)

    def embed(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """See `FrameParts.embed`."""
        embedded: torch.Tensor = base.pre_layrnorm(super().embed(base, frames, options))
        return embedded

    def positions(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> None:
        """See `FrameParts.positions`; there is a norm between these and the layers."""

    def pool(self, base: Any, states: torch.Tensor) -> tuple[torch.Tensor, int]:
        """See `FrameParts.pool`."""
        return base.post_layernorm(states[:, 0]), 0

    def pool_reads(self, base: Any) -> int | None:
        """See `FrameParts.pool_reads`."""
        return 1

    def reads(self, base: Any) -> int | None:
        """See `FrameParts.reads`."""
        return None

    def read(self, base: Any, states: torch.Tensor) -> torch.Tensor:
        """See `FrameParts.read`."""
        return states[:, 1:].mean(1)


class TemporalReuseCLIPVisionModel(FrameModel, CLIPVisionModel):
    """
    The vision model of a CLIP that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseCLIPVisionConfig`): the settings.
    """

    config: TemporalReuseCLIPVisionConfig
    parts = CLIPParts()


class TemporalReuseCLIPForImageClassification(FrameClassifier, CLIPForImageClassification):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseCLIPConfig`): the settings.
    """

    config: TemporalReuseCLIPConfig
    encoder_class = TemporalReuseCLIPVisionModel


class TemporalReuseCLIPForVideoClassification(ClipClassifier, CLIPForImageClassification):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseCLIPConfig`): the settings.
    """

    config: TemporalReuseCLIPConfig
    encoder_class = TemporalReuseCLIPVisionModel


class TemporalReuseCLIPVisionTower(PooledFrames, TemporalReuseCLIPVisionModel):
    """The vision model inside of a CLIP that compares frames with texts."""


class TemporalReuseCLIPForZeroShotVideoClassification(ZeroShotClassifier, CLIPModel):
    """
    Classifies clips frame by frame by labels that a text tower read; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseCLIPConfig`): the settings.
    """

    config: TemporalReuseCLIPConfig
    encoder_class = TemporalReuseCLIPVisionTower


__all__ = [
    "TemporalReuseCLIPForImageClassification",
    "TemporalReuseCLIPForVideoClassification",
    "TemporalReuseCLIPForZeroShotVideoClassification",
    "TemporalReuseCLIPVisionModel",
]
