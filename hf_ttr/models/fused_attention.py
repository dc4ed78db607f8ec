"""For parents whose attention is their own code, of one linear layer for queries, keys and values."""

from __future__ import annotations

from typing import Any

import torch

from .attending import MaskedAttention, attend_in_run, is_running


class FusedAttention(MaskedAttention):
    """
    In front of an attention class with a linear layer `qkv`, `num_heads` and `scale`, which knows no attention
    interface; where no layer runs this is the parent.

    Queries, keys and values are computed of all rows, whichever of them outputs are wanted for: weights that are
    quantized or adapted cannot be cut.
    """

    projections = ("qkv",)
    # Functions of the interface look here, and take a module that says nothing for one of language.
    is_causal = False

    @torch.compiler.disable
    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """As the parent's, on the rows of a run where there is one; compiled code leaves it alone."""
        if not is_running():
            return super().forward(hidden_states, *args, **kwargs)
        module: Any = self
        states = module.qkv(hidden_states).unflatten(-1, (3, module.num_heads, -1))
        query, key, value = states.permute(2, 0, 3, 1, 4)
        output, weights = attend_in_run(self, query, key, value, None, scaling=module.scale)
        return output.flatten(-2), weights


class TakesInterface:
    """In front of a model with such layers: with reuse it takes any attention, though its parent has but one."""

    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: Any, **kwargs: Any) -> None:
        wanted = config._attn_implementation or "sdpa"
        # What the parent builds is asked for its own as it is built.
        config._attn_implementation = "eager"
        super().__init__(config, **kwargs)
        self.set_attn_implementation(wanted)  # type: ignore[attr-defined]

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        return True


__all__ = ["FusedAttention", "TakesInterface"]
