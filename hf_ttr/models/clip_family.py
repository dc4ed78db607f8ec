"""What the layers of CLIP and of the models after it have in common: what their parts are called."""

from __future__ import annotations

from typing import Any

from .attending import ReuseAttention, ReuseLayer


class ClipFamilyAttention(ReuseAttention):
    """In front of an attention class of this family."""

    projections = ("q_proj", "k_proj", "v_proj", "out_proj")

    @property
    def scaling(self) -> float:
        """What products of queries and keys are multiplied by, as other families call it."""
        own: Any = self
        return float(own.scale)


class ClipFamilyLayer(ReuseLayer):
    """In front of a layer class of this family."""

    attention_half = ("layer_norm1", "self_attn", None)
    mlp_half = ("layer_norm2", "mlp", None)


__all__ = ["ClipFamilyAttention", "ClipFamilyLayer"]
