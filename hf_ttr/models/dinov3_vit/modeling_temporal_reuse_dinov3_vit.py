"""DINOv3 with temporal token reuse."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import DINOv3ViTModel
from transformers.models.dinov3_vit.modeling_dinov3_vit import DINOv3ViTAttention, DINOv3ViTLayer, apply_rotary_pos_emb

from ..attending import ReuseAttention, ReuseLayer
from ..frame_model import FrameModel, FrameParts, LayerInputs
from .configuration_temporal_reuse_dinov3_vit import TemporalReuseDINOv3ViTConfig


class TemporalReuseDINOv3ViTAttention(ReuseAttention, DINOv3ViTAttention):
    """The parent's attention, on packed rows."""

    def turned(self, keys: torch.Tensor, *args: Any, position_embeddings: Any, **kwargs: Any) -> torch.Tensor:
        """See `ReuseAttention.turned`."""
        turned: torch.Tensor = apply_rotary_pos_emb(keys, keys, *position_embeddings)[1]
        return turned


class TemporalReuseDINOv3ViTLayer(ReuseLayer, DINOv3ViTLayer):
    """The parent's layer, on packed rows."""

    attention_half = ("norm1", "attention", "layer_scale1")
    mlp_half = ("norm2", "mlp", "layer_scale2")


class DINOv3ViTParts(FrameParts):
    """Where the parts of a DINOv3 are."""

    layer_class = TemporalReuseDINOv3ViTLayer
    attention_class = TemporalReuseDINOv3ViTAttention
    projection = "embeddings.patch_embeddings"
    layers = "model.layer"
    norm = "norm"
    options = ("bool_masked_pos",)

    def positions(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> None:
        """See `FrameParts.positions`: embeddings are content alone."""

    def layer_inputs(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> LayerInputs:
        """See `FrameParts.layer_inputs`: by what queries and keys are turned; in front, by nothing."""
        whole = base.rope_embeddings(frames)
        pad = partial(nn.functional.pad, pad=(0, 0, base.config.prefix_tokens, 0))
        directions = torch.cat([pad(whole[0].float(), value=1.0), pad(whole[1].float())], dim=-1)

        def turns(of_rows: Callable[[torch.Tensor], torch.Tensor] | None) -> dict[str, Any]:
            if of_rows is None:
                return {"position_embeddings": whole}
            # Rows that became one are turned by the mean angle; the same in all heads.
            cos, sin = of_rows(directions).unsqueeze(-3).chunk(2, dim=-1)
            angles = torch.atan2(sin, cos)
            return {"position_embeddings": tuple(part.to(whole[0].dtype) for part in (angles.cos(), angles.sin()))}

        return turns

    def pool(self, base: Any, states: torch.Tensor) -> tuple[torch.Tensor, int]:
        """See `FrameParts.pool`."""
        return states[:, 0], 0


class TemporalReuseDINOv3ViTModel(FrameModel, DINOv3ViTModel):
    """
    A bare DINOv3 that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseDINOv3ViTConfig`): the settings.
    """

    config: TemporalReuseDINOv3ViTConfig
    parts = DINOv3ViTParts()


__all__ = ["TemporalReuseDINOv3ViTModel"]
