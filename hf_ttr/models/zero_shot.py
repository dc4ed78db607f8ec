"""Models that compare frames with texts: labels that a user chooses, read once, and frames with reuse."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ..execution.flops import multiply_adds_of_row
from ..modeling_outputs import TemporalReuseModelOutput
from .frame_model import ClipClassifier
from .reuse_model import ReuseClassifier


class PooledFrames:
    """In front of a model of frames, in one that compares them with texts: pooled outputs come in one row."""

    parts: ClassVar[Any]

    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> TemporalReuseModelOutput:
        """
        As the model's, but with the pooled output in the shape that the parent's code compares with texts.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, frames, channels, height, width)`): clips.
            kwargs: as in the model's; what is `None` is left out, as parents hand on what they were not given.
        """
        given = {name: value for name, value in kwargs.items() if value is not None}
        reads = self.parts.pool_reads(self)
        output: TemporalReuseModelOutput = super().forward(pixel_values, reads=reads, **given)  # type: ignore[misc]
        if output.pooler_output is not None and output.pooler_output.dim() == 3:
            output.pooler_output = output.pooler_output.flatten(0, 1)
        return output


class LabelFeatures(nn.Module):
    """
    In the place of a text tower: what it made of the labels.

    Args:
        features (`torch.Tensor` of shape `(labels, size)`): of each label.
    """

    def __init__(self, features: torch.Tensor) -> None:
        super().__init__()
        self.features = nn.Parameter(features)

    def forward(self, **kwargs: Any) -> BaseModelOutputWithPooling:
        """
        What the parent's code takes for the output of its text tower.

        Args:
            kwargs: what is handed to both towers, of no account here.
        """
        return BaseModelOutputWithPooling(pooler_output=self.features)


class ZeroShotClassifier(ClipClassifier):
    """
    In front of a model of transformers with a tower for pictures and one for texts: classifies frames by any labels.

    A checkpoint of the parent loads with its text tower. `hf_ttr.zero_shot` makes of it a model that has what the
    tower made of some labels in its place (`LabelFeatures`), and is a video classifier like any other.

    Attributes:
        tokenizing (`dict[str, Any]`): how texts are padded, as transformers' pipelines do it.
        exclusive (`bool`): whether the scores of all labels sum up to 1, and not each label has one by itself.
    """

    tokenizing: ClassVar[dict[str, Any]] = {"padding": True}
    exclusive: ClassVar[bool] = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        # The losses of transformers go by the names of classes that it knows.
        self.loss_type = "ForVideoClassification"
        if config.hypothesis_template is not None:
            self.put_labels(torch.zeros(config.num_labels, self.feature_size))

    @property
    def reads(self) -> int | None:
        """See `FrameClassifier.reads`."""
        encoder = self.video_encoder
        found: int | None = encoder.parts.pool_reads(encoder)
        return found

    @property
    def has_text_tower(self) -> bool:
        """Whether labels are still to be chosen."""
        own: Any = self
        return not isinstance(own.text_model, LabelFeatures)

    @property
    def feature_size(self) -> int:
        """Numbers that the text tower makes of a text."""
        own: Any = self
        return int(own.text_projection.out_features)

    def put_labels(self, features: torch.Tensor) -> None:
        """Puts what the text tower made of labels in its place; its config has to say which they are."""
        own: Any = self
        own.text_model = LabelFeatures(features)
        if hasattr(self, "text_projection"):
            # It is in the features.
            own.text_projection = nn.Identity()

    def get_input_embeddings(self) -> nn.Module:
        """What patches become tokens with, as in classifiers of pictures."""
        found: nn.Module = self.video_encoder.get_input_embeddings()
        return found

    def classify_frames(
        self, pixel_values: torch.Tensor, kwargs: dict[str, Any]
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """See `FrameClassifier.classify_frames`; the parent's code compares frames and labels."""
        if self.has_text_tower:
            raise ValueError(
                f"this {type(self).__name__} reads its labels and was given none; choose some with "
                "hf_ttr.zero_shot(model, candidate_labels)."
            )
        encoder = self.video_encoder
        # Parents would hand on that it is off, which is what it is by default.
        options = dict.fromkeys(encoder.parts.options) | kwargs
        output = super(ReuseClassifier, self).forward(pixel_values=pixel_values, **{**options, "return_dict": True})  # type: ignore[misc]
        encoded = output.vision_model_output
        if encoded.reuse is not None:
            own: Any = self
            projection = multiply_adds_of_row(getattr(own, "visual_projection", nn.Identity()))
            encoded.reuse.add_head(pixel_values.shape[1] * (projection + own.text_model.features.numel()))
        names = ("hidden_states", "attentions", "past_key_values", "reuse")
        logits = output.logits_per_image.unflatten(0, pixel_values.shape[:2])
        return logits, {name: getattr(encoded, name) for name in names}


__all__ = ["LabelFeatures", "PooledFrames", "ZeroShotClassifier"]
