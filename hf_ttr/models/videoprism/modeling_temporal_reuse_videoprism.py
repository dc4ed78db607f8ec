"""VideoPrism with temporal token reuse."""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import VideoPrismForVideoClassification, VideoPrismVisionModel
from transformers.models.videoprism import modeling_videoprism as parent

from ...execution.flops import multiply_adds_of_row
from ...modeling_outputs import TemporalReuseVideoPrismModelOutput
from ..attending import ReuseAttention, ReuseLayer
from ..factorized_model import EncodedFrames, FactorizedModel, FactorizedParts
from ..pooling import adopt_pooler, pooling_multiply_adds
from ..window_model import WindowClassifier, embed_tubelets
from .configuration_temporal_reuse_videoprism import TemporalReuseVideoPrismVisionConfig


class TemporalReuseVideoPrismAttention(ReuseAttention, parent.VideoPrismAttention):
    """The parent's attention, on packed rows."""


class TemporalReuseVideoPrismLayer(ReuseLayer, parent.VideoPrismLayer):
    """The parent's layer, on packed rows."""


class TemporalReuseVideoPrismMultiheadAttentionPoolingHead(
    ReuseAttention, parent.VideoPrismMultiheadAttentionPoolingHead
):
    """The parent's, but what it makes of a stream has no dimension of its own: logits are `(batch, labels)`."""

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """As the parent's."""
        pooled, weights = super().forward(hidden_states, *args, **kwargs)
        return pooled.squeeze(1), weights


class VideoPrismParts(FactorizedParts):
    """Where the parts of a VideoPrism are."""

    layer_class = TemporalReuseVideoPrismLayer
    attention_class = TemporalReuseVideoPrismAttention
    projection = "spatial_embeddings.patch_embeddings.projection"
    layers = "spatial_layers"
    layers_over_time = "temporal_layers"
    pixels = "pixel_values_videos"
    choices: ClassVar[dict[str, Any]] = {"interpolate_pos_encoding": False}

    def positions(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> Any:
        """See `FrameParts.positions`."""
        return base.spatial_embeddings.position_embeddings

    def embed(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        """See `FrameParts.embed`."""
        patches = embed_tubelets(base.get_submodule(self.projection), frames[:, None]).squeeze(1)
        return patches + base.spatial_embeddings.position_embeddings

    def over_time(self, base: Any, states: torch.Tensor, **kwargs: Any) -> Any:
        """See `FactorizedParts.over_time`."""
        (batch, frames, tokens, _), of_frames = states.shape, states.flatten(0, 1)
        # Of the shape of the pixels the parent reads how many streams and frames there are.
        of_places = base.temporal_embeddings(base.layernorm1(of_frames), (batch, frames, 0, 0, 0))
        for layer in base.temporal_layers:
            of_places = layer(of_places, **kwargs)
        features = base.layernorm2(of_places).unflatten(0, (batch, tokens)).transpose(1, 2).flatten(1, 2)
        return parent.BaseModelOutputWithSpatialAndTemporalStates(
            last_hidden_state=features, last_temporal_hidden_state=of_places, last_spatial_hidden_state=of_frames
        )


class TemporalReuseVideoPrismVisionModel(FactorizedModel, VideoPrismVisionModel):
    """
    A bare VideoPrism that goes through the frames of windows and reuses what did not change, and then looks at time.

    Args:
        config (`TemporalReuseVideoPrismVisionConfig`): the settings.
    """

    config: TemporalReuseVideoPrismVisionConfig
    output_class = TemporalReuseVideoPrismModelOutput
    parts = VideoPrismParts()


class TemporalReuseVideoPrismForVideoClassification(WindowClassifier, VideoPrismForVideoClassification):
    """
    Classifies clips, or one window of a stream after another; logits are `(batch, labels)`, unlike the parent's.

    Args:
        config (`TemporalReuseVideoPrismVisionConfig`): the settings.
    """

    config: TemporalReuseVideoPrismVisionConfig
    encoder_class = TemporalReuseVideoPrismVisionModel

    def __init__(self, config: TemporalReuseVideoPrismVisionConfig) -> None:
        super().__init__(config)
        adopt_pooler(self, TemporalReuseVideoPrismMultiheadAttentionPoolingHead)
        self._no_split_modules = [*(self._no_split_modules or ()), type(self.head).__name__]

    def classify_window(self, encoded: EncodedFrames) -> Any:
        """See `WindowClassifier.classify_window`."""
        return self.classifier(self.head_layernorm(self.head(encoded.states)[0]))

    def head_multiply_adds(self, rows: int) -> int:
        """See `WindowClassifier.head_multiply_adds`."""
        pooled = pooling_multiply_adds(nn.ModuleList(), self.head, (self.head.k_proj, self.head.v_proj), rows)
        return pooled + multiply_adds_of_row(self.classifier)


__all__ = ["TemporalReuseVideoPrismForVideoClassification", "TemporalReuseVideoPrismVisionModel"]
