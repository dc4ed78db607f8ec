"""
AIMv2 with temporal token reuse: a model that hf_ttr does not have, in one file.

AIMv2 (Fini et al., Multimodal autoregressive pre-training of large vision encoders, CVPR 2025) has RMS norms, gated
MLPs and no CLS token. transformers has no classifier of it, so a linear probe comes first. In Python `import`
this file; a command takes it by `--import aimv2_with_reuse.py`.
"""

from typing import Any, ClassVar

import torch
from torch import nn
from transformers import Aimv2VisionConfig, Aimv2VisionModel, PretrainedConfig
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.models.aimv2.modeling_aimv2 import Aimv2Attention, Aimv2EncoderLayer, Aimv2PreTrainedModel

from hf_ttr.models.attending import ReuseAttention, ReuseLayer
from hf_ttr.models.configuration_reuse import ReuseConfigMixin
from hf_ttr.models.frame_model import ClipClassifier, FrameModel, FrameParts
from hf_ttr.models.register import register_model


class Aimv2ForImageClassification(Aimv2PreTrainedModel):
    """A linear probe on the mean of the tokens, as one would have trained it; nothing here knows of reuse."""

    config: Aimv2VisionConfig
    base_model_prefix = "vision_model"
    main_input_name = "pixel_values"

    def __init__(self, config: Aimv2VisionConfig) -> None:
        super().__init__(config)
        self.vision_model = Aimv2VisionModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> ImageClassifierOutput:
        """Logits of pictures, `(batch, channels, height, width)`."""
        outputs = self.vision_model(pixel_values, **kwargs)
        logits = self.classifier(outputs.last_hidden_state.mean(1))
        return ImageClassifierOutput(logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions)


class TemporalReuseAimv2Config(ReuseConfigMixin, Aimv2VisionConfig):
    """The parent's config with the settings of reuse and the number of frames that a clip is sampled to."""

    model_type = "temporal_reuse_aimv2_vision_model"
    parent_model_type: ClassVar[str] = "aimv2_vision_model"  # the checkpoints that it takes as they are
    parent_name: ClassVar[str] = "AIMv2"

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16


class TemporalReuseAimv2Attention(ReuseAttention, Aimv2Attention):
    """The parent's attention, on packed rows."""

    projections = ("q_proj", "k_proj", "v_proj", "out_proj")


class TemporalReuseAimv2Layer(ReuseLayer, Aimv2EncoderLayer):
    """The parent's layer, on packed rows."""

    attention_half = ("rms_norm1", "attention", None)
    mlp_half = ("rms_norm2", "ffn", None)


class Aimv2Parts(FrameParts):
    """Where the parts of an AIMv2 are, and what its head reads."""

    layer_class = TemporalReuseAimv2Layer
    attention_class = TemporalReuseAimv2Attention
    projection = "embeddings.patch_embed"
    layers = "encoder.layers"
    norm = "rms_norm"
    options = ()

    def positions(self, base: Any, frames: torch.Tensor, options: dict[str, Any]) -> torch.Tensor | None:
        """Those that were learned; the native models make them of sines."""
        if base.config.is_native:
            return None
        return base.embeddings.position_embedding(base.embeddings.position_ids)

    def reads(self, base: Any) -> int | None:
        """All tokens."""
        return None

    def read(self, base: Any, states: torch.Tensor) -> torch.Tensor:
        """What the probe is given."""
        return states.mean(1)


class TemporalReuseAimv2Model(FrameModel, Aimv2VisionModel):
    """The encoder, for features."""

    config: TemporalReuseAimv2Config
    parts = Aimv2Parts()


class TemporalReuseAimv2ForVideoClassification(ClipClassifier, Aimv2ForImageClassification):
    """Classifies clips frame by frame with the probe's weights."""

    config: TemporalReuseAimv2Config
    encoder_class = TemporalReuseAimv2Model


register_model(
    TemporalReuseAimv2Config,
    base=TemporalReuseAimv2Model,
    video_classifier=TemporalReuseAimv2ForVideoClassification,
)
