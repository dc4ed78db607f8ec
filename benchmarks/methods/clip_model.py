"""The parts of a VideoMAE or a V-JEPA 2, for methods that drop tokens, and what the parts cost."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear
from transformers import VJEPA2ForVideoClassification

import hf_ttr
from hf_ttr.execution.flops import TransformerCost
from hf_ttr.models.videomae.modeling_temporal_reuse_videomae import VideoMAEParts
from hf_ttr.models.vjepa2.modeling_temporal_reuse_vjepa2 import VJEPA2Parts


class ClipModel:
    """
    A `VideoMAEForVideoClassification`, taken apart.

    Args:
        model: the model, which pools by the mean.

    Attributes:
        layers: its layers.
        times, positions (`int`): tubelets in time, and patches of each; a token is a time and a position.
        cost (`TransformerCost`): of the parts.

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

    @property
    def dense_multiply_adds(self) -> int:
        """Of a whole clip, head included."""
        tokens = self.tokens
        return self.times * self.cost.patch + self.cost.rows(tokens, tokens, tokens) + self.head(tokens)

    def head(self, rows: int) -> int:
        """Multiply-adds of the head, for so many rows."""
        found: int = self.model.classifier.weight.numel()
        return found

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
        return self.placed(embedded, kept)[None]

    def placed(self, embedded: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """What the first layer gets of some embedded tokens `(kept, size)`."""
        return embedded + self.model.videomae.embeddings.position_embeddings[0].to(embedded)[kept]

    def through_layers(self, states: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """The states `(1, kept, size)` of some tokens after all layers."""
        for layer in self.layers:
            states = layer(states)
        return states

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits `(1, labels)` from the mean of the last states `(1, kept, size)`."""
        return self.model.classifier(self.model.fc_norm(states.mean(1)))


class RotaryClipModel(ClipModel):
    """
    A `VJEPA2ForVideoClassification`, taken apart in the same way: layers are told where tokens are.

    Args:
        model: the model.
    """

    def __init__(self, model: Any) -> None:
        config, encoder = model.config, model.vjepa2.encoder
        self.model = model
        self.layers = encoder.layer
        self.projection = encoder.embeddings.patch_embeddings.proj
        self.patch_size = self.projection.kernel_size
        self.times = config.frames_per_clip // config.tubelet_size
        self.positions = (config.crop_size // config.patch_size) ** 2
        self.tokens = self.times * self.positions
        self.cost = VJEPA2Parts().cost(model.vjepa2, self.positions)
        self.reuse: Any = hf_ttr.with_temporal_reuse(model)

    def head(self, rows: int) -> int:
        """See `ClipModel.head`."""
        found: int = self.reuse.head_multiply_adds(rows)
        return found

    def placed(self, embedded: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """See `ClipModel.placed`."""
        return embedded

    def through_layers(self, states: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """See `ClipModel.through_layers`."""
        for layer in self.layers:
            states = layer(states, kept[None])[0]
        return states

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """See `ClipModel.logits`: what the pooler makes of the states that there are."""
        return self.model.classifier(self.model.pooler(self.model.vjepa2.encoder.layernorm(states)))


def taken_apart(model: Any) -> ClipModel:
    """The parts of a model of clips."""
    return RotaryClipModel(model) if isinstance(model, VJEPA2ForVideoClassification) else ClipModel(model)
