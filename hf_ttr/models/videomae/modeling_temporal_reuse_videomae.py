"""VideoMAE with temporal token reuse."""

from typing import Any, ClassVar

import torch
from transformers import VideoMAEForVideoClassification, VideoMAEModel
from transformers.models.videomae.modeling_videomae import VideoMAELayer, VideoMAESelfAttention

from ..attending import ReuseAttention, ReuseLayer
from ..window_model import EncodedWindow, WindowClassifier, WindowModel, WindowParts
from .configuration_temporal_reuse_videomae import TemporalReuseVideoMAEConfig


class TemporalReuseVideoMAESelfAttention(ReuseAttention, VideoMAESelfAttention):
    """The parent's attention, on the rows that are computed."""

    projections = ("query", "key", "value")


class TemporalReuseVideoMAELayer(ReuseLayer, VideoMAELayer):
    """The parent's layer, on the rows that are computed."""

    attention_half = ("layernorm_before", "attention", None)
    attention_module = "attention.attention"

    def finish(self, states: torch.Tensor) -> torch.Tensor:
        """See `ReuseLayer.finish`; the last of the parent's modules adds the residual."""
        finished: torch.Tensor = self.output(self.intermediate(self.layernorm_after(states)), states)
        return finished


class VideoMAEParts(WindowParts):
    """Where the parts of a VideoMAE are."""

    layer_class = TemporalReuseVideoMAELayer
    attention_class = TemporalReuseVideoMAESelfAttention
    layers = "encoder.layer"
    choices: ClassVar[dict[str, Any]] = {"bool_masked_pos": None}
    has_steps = True

    def positions(self, base: Any) -> torch.Tensor:
        """See `WindowParts.positions`."""
        positions: torch.Tensor = base.embeddings.position_embeddings
        return positions

    def first_is_read(self, base: Any) -> bool:
        """See `WindowParts.first_is_read`."""
        return not base.config.use_mean_pooling


class TemporalReuseVideoMAEModel(WindowModel, VideoMAEModel):
    """
    A bare VideoMAE that computes the tokens of a window that matter, and reuses the others.

    Args:
        config (`TemporalReuseVideoMAEConfig`): the settings.
    """

    config: TemporalReuseVideoMAEConfig
    parts = VideoMAEParts()


class TemporalReuseVideoMAEForVideoClassification(WindowClassifier, VideoMAEForVideoClassification):
    """
    Classifies clips, or one window of a stream after another.

    Args:
        config (`TemporalReuseVideoMAEConfig`): the settings.
    """

    config: TemporalReuseVideoMAEConfig
    encoder_class = TemporalReuseVideoMAEModel

    def head(self, encoded: EncodedWindow) -> torch.Tensor:
        """See `WindowClassifier.head`."""
        if self.fc_norm is not None:
            read = self.fc_norm(encoded.mean_token())
        else:
            read = self.videomae.parts.norm_of(self.videomae, encoded.first_token())
        logits: torch.Tensor = self.classifier(read)
        return logits


__all__ = ["TemporalReuseVideoMAEForVideoClassification", "TemporalReuseVideoMAEModel"]
