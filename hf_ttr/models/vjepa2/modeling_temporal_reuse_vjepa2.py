"""V-JEPA 2 with temporal token reuse."""

from typing import Any, ClassVar

import torch
from transformers import VJEPA2ForVideoClassification, VJEPA2Model
from transformers.models.vjepa2 import modeling_vjepa2 as parent

from ...execution.flops import multiply_adds_of_row
from ...modeling_outputs import TemporalReuseVJEPA2ModelOutput
from ..attending import MaskedAttention, ReuseLayer, is_running
from ..pooling import adopt_pooler, pool_rows, pooling_multiply_adds
from ..window_model import EncodedWindow, WindowClassifier, WindowModel, WindowParts
from .configuration_temporal_reuse_vjepa2 import TemporalReuseVJEPA2Config


class TemporalReuseVJEPA2RopeAttention(MaskedAttention, parent.VJEPA2RopeAttention):
    """The parent's attention, on the rows that are computed."""

    projections = ("query", "key", "value", "proj")
    positions_are_relative = True

    def apply_rotary_embeddings(self, qk: torch.Tensor, pos_ids: Any) -> torch.Tensor:
        """As the parent's; in a run that is left to `place`."""
        return qk if is_running() else super().apply_rotary_embeddings(qk, pos_ids)

    def place(self, states: torch.Tensor, slots: torch.Tensor | None) -> torch.Tensor:
        """See `ReuseAttention.place`."""
        positions = self.get_position_ids(states.transpose(1, 2), slots)
        # All heads have the same positions.
        positions = positions if slots is None else tuple(part[:, :1] for part in positions)
        placed: torch.Tensor = super().apply_rotary_embeddings(states, positions)
        return placed


class TemporalReuseVJEPA2PoolerSelfAttention(MaskedAttention, parent.VJEPA2PoolerSelfAttention):
    """The parent's attention, to rows that count as often as they are used."""


class TemporalReuseVJEPA2PoolerCrossAttention(MaskedAttention, parent.VJEPA2PoolerCrossAttention):
    """The parent's attention, to rows that count as often as they are used."""


class TemporalReuseVJEPA2Layer(ReuseLayer, parent.VJEPA2Layer):
    """The parent's layer, on the rows that are computed."""

    attention_half = ("norm1", "attention", None)
    mlp_half = ("norm2", "mlp", None)


class VJEPA2Parts(WindowParts):
    """Where the parts of a V-JEPA 2 are."""

    layer_class = TemporalReuseVJEPA2Layer
    attention_class = TemporalReuseVJEPA2RopeAttention
    projection = "encoder.embeddings.patch_embeddings.proj"
    layers = "encoder.layer"
    norm = "encoder.layernorm"
    pixels = "pixel_values_videos"
    choices: ClassVar[dict[str, Any]] = {"context_mask": None, "target_mask": None, "skip_predictor": True}

    def further(self, base: Any, states: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
        """See `WindowParts.further`."""
        return {"masked_hidden_state": states}, 0


class TemporalReuseVJEPA2Model(WindowModel, VJEPA2Model):
    """
    A bare V-JEPA 2 that computes the tokens of a window that matter, and reuses the others.

    With reuse it is the encoder alone, as the parent is with `skip_predictor=True`. Positions are relative: told the
    `stride` of a stream's windows, it keeps what it knows of the frames that they share.

    Args:
        config (`TemporalReuseVJEPA2Config`): the settings.
    """

    config: TemporalReuseVJEPA2Config
    output_class = TemporalReuseVJEPA2ModelOutput
    parts = VJEPA2Parts()


class TemporalReuseVJEPA2ForVideoClassification(WindowClassifier, VJEPA2ForVideoClassification):
    """
    Classifies clips, or one window of a stream after another.

    Args:
        config (`TemporalReuseVJEPA2Config`): the settings.
    """

    config: TemporalReuseVJEPA2Config
    encoder_class = TemporalReuseVJEPA2Model

    def __init__(self, config: TemporalReuseVJEPA2Config) -> None:
        super().__init__(config)
        adopt_pooler(self.pooler, TemporalReuseVJEPA2PoolerSelfAttention, TemporalReuseVJEPA2PoolerCrossAttention)

    def head(self, encoded: EncodedWindow) -> torch.Tensor:
        """See `WindowClassifier.head`."""
        logits: torch.Tensor = self.classifier(pool_rows(self.pooler, encoded, self.vjepa2.encoder.layernorm))
        return logits

    def head_multiply_adds(self, rows: int) -> int:
        """See `WindowClassifier.head_multiply_adds`."""
        layers, last = self.pooler.self_attention_layers, self.pooler.cross_attention_layer
        projections = last.cross_attn.k_proj, last.cross_attn.v_proj
        return pooling_multiply_adds(layers, last, projections, rows) + multiply_adds_of_row(self.classifier)


__all__ = ["TemporalReuseVJEPA2ForVideoClassification", "TemporalReuseVJEPA2Model"]
