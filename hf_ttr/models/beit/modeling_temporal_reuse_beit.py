"""BEiT with temporal token reuse."""

from typing import Any

import torch
from transformers import BeitForImageClassification, BeitModel
from transformers.models.beit.modeling_beit import BeitAttention, BeitLayer

from ..attending import ReuseAttention, ReuseLayer
from ..frame_model import ClipClassifier, FrameClassifier, FrameModel, FrameParts, LayerInputs
from .configuration_temporal_reuse_beit import TemporalReuseBeitConfig


class TemporalReuseBeitAttention(ReuseAttention, BeitAttention):
    """The parent's attention, on packed rows."""


class TemporalReuseBeitLayer(ReuseLayer, BeitLayer):
    """The parent's layer, on packed rows; scores of the pairs of tokens of a frame have a bias."""

    attention_half = ("layernorm_before", "attention", "lambda_1")
    mlp_half = ("layernorm_after", "mlp", "lambda_2")

    def attend(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """See `ReuseLayer.attend`; the bias of the layer is in the place of the shared one."""
        resolution = kwargs.pop("resolution")
        if self.relative_position_bias is not None:
            grid = tuple(side // self.patch_size for side in resolution)
            own, shared = self.relative_position_bias(grid), kwargs["attention_mask"]
            kwargs["attention_mask"] = own if shared is None else own + shared
        return super().attend(hidden_states, *args, **kwargs)


class BeitParts(FrameParts):
    """Where the parts of a BEiT are."""

    layer_class = TemporalReuseBeitLayer
    attention_class = TemporalReuseBeitAttention

    def embed(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """See `FrameParts.embed`; positions, if there are any, always fit the frames."""
        return super().embed(base, frames, {k: v for k, v in options.items() if k == "bool_masked_pos"})

    def positions(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> torch.Tensor | None:
        """See `FrameParts.positions`."""
        if base.embeddings.position_embeddings is None:
            return None
        return super().positions(base, frames, {"interpolate_pos_encoding": True})

    def layer_inputs(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> LayerInputs:
        """See `FrameParts.layer_inputs`; a bias is made for the grid, and need not be interpolated once more."""
        bias = base.shared_position_bias
        shared = None if bias is None else bias(self.grid(base, frames))
        return lambda of_rows: {"attention_mask": shared, "resolution": frames.shape[-2:]}

    def reads(self, base: Any) -> int | None:
        """See `FrameParts.reads`."""
        return None if base.config.use_mean_pooling else 1

    def read(self, base: Any, states: torch.Tensor) -> torch.Tensor:
        """See `FrameParts.read`."""
        pooled: torch.Tensor = base.pooler(states)
        return pooled


class TemporalReuseBeitModel(FrameModel, BeitModel):
    """
    A bare BEiT that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseBeitConfig`): the settings.
        add_pooling_layer (`bool`): as in `BeitModel`.
    """

    config: TemporalReuseBeitConfig
    parts = BeitParts()


class TemporalReuseBeitForImageClassification(FrameClassifier, BeitForImageClassification):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseBeitConfig`): the settings.
    """

    config: TemporalReuseBeitConfig
    encoder_class = TemporalReuseBeitModel


class TemporalReuseBeitForVideoClassification(ClipClassifier, BeitForImageClassification):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseBeitConfig`): the settings.
    """

    config: TemporalReuseBeitConfig
    encoder_class = TemporalReuseBeitModel


__all__ = [
    "TemporalReuseBeitForImageClassification",
    "TemporalReuseBeitForVideoClassification",
    "TemporalReuseBeitModel",
]
