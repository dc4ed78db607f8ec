"""SigLIP 2 with temporal token reuse."""

from typing import Any

import torch
from transformers import Siglip2ForImageClassification, Siglip2Model, Siglip2VisionModel
from transformers.models.siglip2.modeling_siglip2 import Siglip2Attention, Siglip2EncoderLayer

from ..clip_family import ClipFamilyAttention, ClipFamilyLayer
from ..frame_model import ClipClassifier, FrameClassifier, FrameModel
from ..siglip.modeling_temporal_reuse_siglip import SiglipParts, SiglipZeroShot
from ..zero_shot import PooledFrames
from .configuration_temporal_reuse_siglip2 import TemporalReuseSiglip2Config, TemporalReuseSiglip2VisionConfig


class TemporalReuseSiglip2Attention(ClipFamilyAttention, Siglip2Attention):
    """The parent\'s attention, on packed rows."""


class TemporalReuseSiglip2EncoderLayer(ClipFamilyLayer, Siglip2EncoderLayer):
    """The parent\'s layer, on packed rows."""


class Siglip2Parts(SiglipParts):
    """Where the parts of the vision model of a SigLIP 2 are, whose parent is handed patches and not frames."""

    layer_class = TemporalReuseSiglip2EncoderLayer
    attention_class = TemporalReuseSiglip2Attention
    options = ()

    def grid(self, base: Any, frames: torch.Tensor) -> tuple[int, int]:
        """See `FrameParts.grid`."""
        size = base.embeddings.patch_size
        return frames.shape[-2] // size, frames.shape[-1] // size

    def parent_inputs(self, base: Any, frames: torch.Tensor) -> dict[str, Any]:
        """See `FrameParts.parent_inputs`; frames have no patches that are padding."""
        size, grid = base.embeddings.patch_size, self.grid(base, frames)
        cut = frames[..., : grid[0] * size, : grid[1] * size].unflatten(-1, (-1, size)).unflatten(-3, (-1, size))
        patches = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        return {
            "pixel_values": patches,
            "pixel_attention_mask": patches.new_ones(patches.shape[:2], dtype=torch.long),
            "spatial_shapes": torch.tensor([grid] * len(frames), device=frames.device),
        }

    def embed(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """See `FrameParts.embed`; positions are the same in every frame."""
        patches = base.embeddings.patch_embedding(self.parent_inputs(base, frames)["pixel_values"])
        return patches + self.positions(base, frames, options)

    def positions(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """See `FrameParts.positions`."""
        embeddings, grid = base.embeddings, self.grid(base, frames)
        table = embeddings.position_embedding.weight.unflatten(0, (embeddings.position_embedding_size, -1))
        shape = torch.tensor([grid], device=frames.device)
        positions: torch.Tensor = embeddings.resize_positional_embeddings(table, shape, grid[0] * grid[1])
        return positions

    def read(self, base: Any, states: torch.Tensor) -> torch.Tensor:
        """See `FrameParts.read`; the parent sums what is no padding, and rounds before it divides."""
        return states.sum(1) / states.shape[1]


class TemporalReuseSiglip2VisionModel(FrameModel, Siglip2VisionModel):
    """
    The vision model of a SigLIP 2 that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseSiglip2VisionConfig`): the settings.
    """

    config: TemporalReuseSiglip2VisionConfig
    parts = Siglip2Parts()


class TemporalReuseSiglip2ForImageClassification(FrameClassifier, Siglip2ForImageClassification):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseSiglip2Config`): the settings.
    """

    config: TemporalReuseSiglip2Config
    encoder_class = TemporalReuseSiglip2VisionModel


class TemporalReuseSiglip2ForVideoClassification(ClipClassifier, Siglip2ForImageClassification):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseSiglip2Config`): the settings.
    """

    config: TemporalReuseSiglip2Config
    encoder_class = TemporalReuseSiglip2VisionModel


class TemporalReuseSiglip2VisionTower(PooledFrames, TemporalReuseSiglip2VisionModel):
    """The vision model inside of a SigLIP 2 that compares frames with texts."""


class TemporalReuseSiglip2ForZeroShotVideoClassification(SiglipZeroShot, Siglip2Model):
    """
    Classifies clips frame by frame by labels that a text tower read; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseSiglip2Config`): the settings.
    """

    config: TemporalReuseSiglip2Config
    encoder_class = TemporalReuseSiglip2VisionTower


__all__ = [
    "TemporalReuseSiglip2ForImageClassification",
    "TemporalReuseSiglip2ForVideoClassification",
    "TemporalReuseSiglip2ForZeroShotVideoClassification",
    "TemporalReuseSiglip2VisionModel",
]
