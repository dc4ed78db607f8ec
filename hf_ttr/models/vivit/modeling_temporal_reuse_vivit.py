"""ViViT with temporal token reuse."""

from typing import Any, ClassVar

import torch
from transformers import VivitForVideoClassification, VivitModel
from transformers.models.vivit.modeling_vivit import VivitAttention, VivitLayer

from ..attending import ReuseAttention, ReuseLayer
from ..window_model import EncodedWindow, WindowClassifier, WindowModel, WindowParts
from .configuration_temporal_reuse_vivit import TemporalReuseVivitConfig


class TemporalReuseVivitAttention(ReuseAttention, VivitAttention):
    """The parent's attention, on the rows that are computed."""


class TemporalReuseVivitLayer(ReuseLayer, VivitLayer):
    """The parent's layer, on the rows that are computed."""


class VivitParts(WindowParts):
    """Where the parts of a ViViT are."""

    layer_class = TemporalReuseVivitLayer
    attention_class = TemporalReuseVivitAttention
    choices: ClassVar[dict[str, Any]] = {"attention_mask": None, "interpolate_pos_encoding": False}

    def prefix(self, base: Any) -> torch.Tensor:
        """See `WindowParts.prefix`."""
        embeddings = base.embeddings
        token: torch.Tensor = embeddings.cls_token + embeddings.position_embeddings[:, :1]
        return token

    def positions(self, base: Any) -> torch.Tensor:
        """See `WindowParts.positions`."""
        positions: torch.Tensor = base.embeddings.position_embeddings[:, 1:]
        return positions

    def reads(self, base: Any) -> int:
        """See `WindowParts.reads`."""
        return 1


class TemporalReuseVivitModel(WindowModel, VivitModel):
    """
    A bare ViViT that computes the tokens of a window that matter, and reuses the others.

    Args:
        config (`TemporalReuseVivitConfig`): the settings.
        add_pooling_layer (`bool`): as in `VivitModel`.
    """

    config: TemporalReuseVivitConfig
    parts = VivitParts()


class TemporalReuseVivitForVideoClassification(WindowClassifier, VivitForVideoClassification):
    """
    Classifies clips, or one window of a stream after another.

    Args:
        config (`TemporalReuseVivitConfig`): the settings.
    """

    config: TemporalReuseVivitConfig
    encoder_class = TemporalReuseVivitModel

    def head(self, encoded: EncodedWindow) -> torch.Tensor:
        """See `WindowClassifier.head`."""
        logits: torch.Tensor = self.classifier(self.vivit.layernorm(encoded.first_token()))
        return logits


__all__ = ["TemporalReuseVivitForVideoClassification", "TemporalReuseVivitModel"]
