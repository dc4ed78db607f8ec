"""TimeSformer with temporal token reuse."""

from typing import Any

import torch
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.models.timesformer import modeling_timesformer as parent
from transformers.utils.output_capturing import OutputRecorder

from ...configuration import TemporalReuseConfig
from ..divided import DividedLayer, DividedRun, OverTime
from ..fused_attention import FusedAttention, TakesInterface
from ..window_model import EncodedWindow, WindowClassifier, WindowModel, WindowParts
from .configuration_temporal_reuse_timesformer import TemporalReuseTimesformerConfig


class TemporalReuseTimesformerSelfAttention(FusedAttention, parent.TimesformerSelfAttention):
    """The parent's attention within a frame, on the rows that are computed."""


class TemporalReuseTimesformerTimeAttention(OverTime, TemporalReuseTimesformerSelfAttention):
    """The parent's attention over time, on the rows that are computed."""


class TemporalReuseTimesformerLayer(DividedLayer, parent.TimesformerLayer):
    """The parent's layer, on the rows that are computed."""

    attention_module = "attention.attention"
    time_part = ("temporal_layernorm", "temporal_attention", "temporal_dense")
    time_module = "temporal_attention.attention"
    time_class = TemporalReuseTimesformerTimeAttention

    def finish(self, states: torch.Tensor) -> torch.Tensor:
        """See `ReuseLayer.finish`."""
        finished: torch.Tensor = states + self.output(self.intermediate(self.layernorm_after(states)))
        return finished


class TimesformerParts(WindowParts):
    """Where the parts of a TimeSformer are."""

    layer_class = TemporalReuseTimesformerLayer
    attention_class = TemporalReuseTimesformerSelfAttention
    layers = "encoder.layer"
    run_class = DividedRun
    position_by_position = True

    def prefix(self, base: Any) -> torch.Tensor:
        """See `WindowParts.prefix`."""
        token: torch.Tensor = base.embeddings.cls_token + base.embeddings.position_embeddings[:, :1]
        return token

    def positions(self, base: Any) -> torch.Tensor:
        """See `WindowParts.positions`."""
        places, times = base.embeddings.position_embeddings[:, 1:], base.embeddings.time_embeddings
        positions: torch.Tensor = (places[:, None] + times[:, :, None]).flatten(1, 2)
        return positions

    def reads(self, base: Any) -> int:
        """See `WindowParts.reads`."""
        return 1


class TemporalReuseTimesformerModel(TakesInterface, WindowModel, parent.TimesformerModel):
    """
    A bare TimeSformer that computes the tokens of a window that matter, and reuses the others.

    Args:
        config (`TemporalReuseTimesformerConfig`): the settings.
    """

    config: TemporalReuseTimesformerConfig
    parts = TimesformerParts()
    _can_record_outputs = {
        "hidden_states": parent.TimesformerLayer,
        "attentions": OutputRecorder(parent.TimeSformerAttention, index=1, layer_name="attention"),
    }


class TemporalReuseTimesformerForVideoClassification(
    TakesInterface, WindowClassifier, parent.TimesformerForVideoClassification
):
    """
    Classifies clips, or one window of a stream after another.

    Args:
        config (`TemporalReuseTimesformerConfig`): the settings.
    """

    config: TemporalReuseTimesformerConfig
    encoder_class = TemporalReuseTimesformerModel

    def run_parent(self, pixel_values: torch.Tensor, settings: TemporalReuseConfig, **kwargs: Any) -> Any:
        """See `WindowClassifier.run_parent`; the parent does not hand the settings on."""
        output = self.timesformer(pixel_values, temporal_reuse=settings, **kwargs)
        logits = self.classifier(output.last_hidden_state[:, 0])
        return ImageClassifierOutput(None, logits, output.hidden_states, output.attentions)

    def head(self, encoded: EncodedWindow) -> torch.Tensor:
        """See `WindowClassifier.head`."""
        logits: torch.Tensor = self.classifier(self.timesformer.layernorm(encoded.first_token()))
        return logits


__all__ = ["TemporalReuseTimesformerForVideoClassification", "TemporalReuseTimesformerModel"]
