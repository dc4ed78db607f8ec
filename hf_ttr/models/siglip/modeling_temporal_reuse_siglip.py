"""SigLIP with temporal token reuse."""

from typing import Any, ClassVar

import torch
from transformers import SiglipForImageClassification, SiglipModel, SiglipVisionModel
from transformers.models.siglip.modeling_siglip import SiglipAttention, SiglipEncoderLayer

from ...execution.flops import multiply_adds_of_pooling
from ..attending import ReuseAttention, ReuseLayer
from ..clip_family import ClipFamilyAttention, ClipFamilyLayer
from ..frame_model import ClipClassifier, FrameClassifier, FrameModel, FrameParts
from ..zero_shot import PooledFrames, ZeroShotClassifier
from .configuration_temporal_reuse_siglip import TemporalReuseSiglipConfig, TemporalReuseSiglipVisionConfig


class TemporalReuseSiglipAttention(ClipFamilyAttention, SiglipAttention):
    """The parent\'s attention, on packed rows."""


class TemporalReuseSiglipEncoderLayer(ClipFamilyLayer, SiglipEncoderLayer):
    """The parent\'s layer, on packed rows."""


class SiglipParts(FrameParts):
    """Where the parts of the vision model of a SigLIP are: no token is in front, and the head reads all of them."""

    layer_class: ClassVar[type[ReuseLayer]] = TemporalReuseSiglipEncoderLayer
    attention_class: ClassVar[type[ReuseAttention]] = TemporalReuseSiglipAttention
    projection = "embeddings.patch_embedding"
    layers = "encoder.layers"
    norm = "post_layernorm"
    options: ClassVar[tuple[str, ...]] = ("interpolate_pos_encoding",)

    def positions(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """See `FrameParts.positions`."""
        positions: torch.Tensor = base.embeddings.position_embedding.weight[None]
        if options.get("interpolate_pos_encoding"):
            rows, columns = self.grid(base, frames)
            like = positions.new_empty(1, rows * columns, positions.shape[-1])
            positions = base.embeddings.interpolate_pos_encoding(like, *frames.shape[-2:])
        return positions

    def pool(self, base: Any, states: torch.Tensor) -> tuple[torch.Tensor | None, int]:
        """See `FrameParts.pool`; a query of the model's own attends to all tokens."""
        return (base.head(states) if base.use_head else None), self.unread(base, states.shape[1])

    def unread(self, base: Any, tokens: int) -> int:
        """See `FrameParts.unread`."""
        return multiply_adds_of_pooling(base.head, tokens) if base.use_head else 0

    def reads(self, base: Any) -> int | None:
        """See `FrameParts.reads`."""
        return None

    def read(self, base: Any, states: torch.Tensor) -> torch.Tensor:
        """See `FrameParts.read`."""
        return states.mean(1)


class TemporalReuseSiglipVisionModel(FrameModel, SiglipVisionModel):
    """
    The vision model of a SigLIP that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseSiglipVisionConfig`): the settings.
    """

    config: TemporalReuseSiglipVisionConfig
    parts = SiglipParts()


class TemporalReuseSiglipForImageClassification(FrameClassifier, SiglipForImageClassification):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseSiglipConfig`): the settings.
    """

    config: TemporalReuseSiglipConfig
    encoder_class = TemporalReuseSiglipVisionModel


class TemporalReuseSiglipForVideoClassification(ClipClassifier, SiglipForImageClassification):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseSiglipConfig`): the settings.
    """

    config: TemporalReuseSiglipConfig
    encoder_class = TemporalReuseSiglipVisionModel


class TemporalReuseSiglipVisionTower(PooledFrames, TemporalReuseSiglipVisionModel):
    """The vision model inside of a SigLIP that compares frames with texts."""


class SiglipZeroShot(ZeroShotClassifier):
    """How a SigLIP reads texts, each of which has a score by itself."""

    tokenizing: ClassVar[dict[str, Any]] = {"padding": "max_length", "max_length": 64, "truncation": True}
    exclusive: ClassVar[bool] = False

    @property
    def feature_size(self) -> int:
        """See `ZeroShotClassifier.feature_size`."""
        own: Any = self
        return int(own.text_model.head.out_features)


class TemporalReuseSiglipForZeroShotVideoClassification(SiglipZeroShot, SiglipModel):
    """
    Classifies clips frame by frame by labels that a text tower read; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseSiglipConfig`): the settings.
    """

    config: TemporalReuseSiglipConfig
    encoder_class = TemporalReuseSiglipVisionTower


__all__ = [
    "TemporalReuseSiglipForImageClassification",
    "TemporalReuseSiglipForVideoClassification",
    "TemporalReuseSiglipForZeroShotVideoClassification",
    "TemporalReuseSiglipVisionModel",
]
