"""What became of every token of a call: what pictures are drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class TokenMaps(ModelOutput):
    """
    What became of every token of a call; `output.reuse.maps` of one with `output_token_maps=True`.

    Frames are the frames of a ViT; of a VideoMAE they are tubelets, whose tokens have no CLS token in front.

    Attributes:
        computed (`torch.BoolTensor` of shape `(batch, frames, tokens)`): which tokens went through the layers with a
            row of their own.
        age (`torch.LongTensor` of shape `(batch, frames, tokens)`): frames between a token and the computed one that
            it is made of, the nearer one in share where it is made of two; 0 for a computed one.
        error (`torch.FloatTensor` of shape `(batch, frames, tokens)`): distance of its patch embedding to that of what
            it is made of, relative to the mean norm of the stream's patch embeddings; 0 for a computed one.
        groups (`torch.LongTensor` of shape `(batch, frames, tokens, layers + 1)`): for each layer, as it begins, and
            behind the last, which tokens one row stands for: the number, counted through the frames of the call, of
            the first token of the group; -1 for a token that was left out.
    """

    computed: torch.Tensor | None = None
    age: torch.Tensor | None = None
    error: torch.Tensor | None = None
    groups: torch.Tensor | None = None

    def stream(self, number: int) -> TokenMaps:
        """The maps of one stream, without the first dimension."""
        return TokenMaps(**{name: tensor[number] for name, tensor in self.items()})
