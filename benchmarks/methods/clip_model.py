"""The parts of a VideoMAE, for methods that drop tokens, and what the parts cost."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear

from hf_ttr.execution.flops import TransformerCost
from hf_ttr.models.videomae.modeling_temporal_reuse_videomae import VideoMAEParts


class ClipModel:
    """
    A `VideoMAEForVideoClassification`, taken apart.

    Args:
        model: the model, which pools by the mean.

    Attributes:
        layers: its layers.
        times, positions (`int`): tubelets in time, and patches of each; a token is a time and a position.
        cost (`TransformerCost`): of the parts.
        head (`int`): multiply-adds of the classifier.

    Raises:
        ValueError: if the model reads its first token alone.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        if model.fc_norm is None:
            raise ValueError(
                "model pools by its first token, which methods that drop tokens may drop; take one with "
                "use_mean_pooling=True."
            )
        self.model = model
        self.layers = model.videomae.encoder.layer
        self.projection = model.videomae.embeddings.patch_embeddings.projection
        self.patch_size: tuple[int, int, int] = self.projection.kernel_size
        self.times: int = config.num_frames // config.tubelet_size
        self.tokens: int = model.videomae.embeddings.num_patches
        self.positions = self.tokens // self.times
        self.cost: TransformerCost = VideoMAEParts().cost(model.videomae, self.positions)
        self.head: int = model.classifier.weight.numel()

    @property
    def dense_multiply_adds(self) -> int:
        """Of a whole clip, head included."""
        return self.times * self.cost.patch + self.cost.rows(self.tokens, self.tokens, self.tokens) + self.head

    def embed(self, pixels: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """
        Embeds some tokens of a clip; the others cost nothing.

        Args:
            pixels (`torch.Tensor` of shape `(frames, channels, height, width)`): the clip.
            kept (`torch.LongTensor` of shape `(kept,)`): the tokens, times before positions.

        Returns:
            `torch.Tensor` of shape `(1, kept, size)`, positions added.
        """
        time, height, width = self.patch_size
        cut = pixels[..., : pixels.shape[-2] // height * height, : pixels.shape[-1] // width * width]
        patches = cut.unflatten(3, (-1, width)).unflatten(2, (-1, height)).unflatten(0, (-1, time))
        columns = patches.shape[5]
        at, position = kept // self.positions, kept % self.positions
        # From (times, time, channels, rows, height, columns, width) to the order of the weights.
        rows = patches.permute(0, 3, 5, 2, 1, 4, 6)[at, position // columns, position % columns]
        embedded = linear(rows.flatten(1), self.projection.weight.flatten(1), self.projection.bias)
        places = self.model.videomae.embeddings.position_embeddings[0].to(embedded)
        return (embedded + places[kept])[None]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits `(1, labels)` from the mean of the last states `(1, kept, size)`."""
        return self.model.classifier(self.model.fc_norm(states.mean(1)))
