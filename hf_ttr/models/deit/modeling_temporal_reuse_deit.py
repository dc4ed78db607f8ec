"""DeiT with temporal token reuse."""

import torch
from transformers import DeiTForImageClassification, DeiTForImageClassificationWithTeacher, DeiTModel
from transformers.models.deit.modeling_deit import DeiTAttention, DeiTLayer

from ...execution.flops import multiply_adds_of_row
from ...modeling_outputs import TemporalReuseDistilledClassifierOutput
from ..attending import ReuseAttention, ReuseLayer
from ..frame_model import ClipClassifier, FrameClassifier, FrameModel, FrameParts
from .configuration_temporal_reuse_deit import TemporalReuseDeiTConfig


class TemporalReuseDeiTAttention(ReuseAttention, DeiTAttention):
    """The parent's attention, on packed rows."""


class TemporalReuseDeiTLayer(ReuseLayer, DeiTLayer):
    """The parent's layer, on packed rows."""


class DeiTParts(FrameParts):
    """Where the parts of a DeiT are."""

    layer_class = TemporalReuseDeiTLayer
    attention_class = TemporalReuseDeiTAttention


class TemporalReuseDeiTModel(FrameModel, DeiTModel):
    """
    A bare DeiT that goes through the frames of videos and reuses what did not change.

    Args:
        config (`TemporalReuseDeiTConfig`): the settings.
        add_pooling_layer, use_mask_token (`bool`): as in `DeiTModel`.
    """

    config: TemporalReuseDeiTConfig
    parts = DeiTParts()


class TemporalReuseDeiTForImageClassification(FrameClassifier, DeiTForImageClassification):
    """
    Classifies the frames of streams, one call after another.

    Args:
        config (`TemporalReuseDeiTConfig`): the settings.
    """

    config: TemporalReuseDeiTConfig
    encoder_class = TemporalReuseDeiTModel


class TemporalReuseDeiTForVideoClassification(ClipClassifier, DeiTForImageClassification):
    """
    Classifies clips frame by frame with an image classifier's weights; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseDeiTConfig`): the settings.
    """

    config: TemporalReuseDeiTConfig
    encoder_class = TemporalReuseDeiTModel


class TemporalReuseDeiTForImageClassificationWithTeacher(FrameClassifier, DeiTForImageClassificationWithTeacher):
    """
    The same with the two heads of distillation.

    Args:
        config (`TemporalReuseDeiTConfig`): the settings.
    """

    config: TemporalReuseDeiTConfig
    encoder_class = TemporalReuseDeiTModel
    output_class = TemporalReuseDistilledClassifierOutput
    reads = 2  # type: ignore[assignment]

    def head(self, states: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
        """See `FrameClassifier.head`."""
        heads = (self.cls_classifier, self.distillation_classifier)
        first, second = (head(states[:, token]) for token, head in enumerate(heads))
        logits = {"logits": (first + second) / 2, "cls_logits": first, "distillation_logits": second}
        return logits, sum(map(multiply_adds_of_row, heads))


class TemporalReuseDeiTForVideoClassificationWithTeacher(
    ClipClassifier, TemporalReuseDeiTForImageClassificationWithTeacher
):
    """
    The same for clips, frame by frame; a clip's logits are the mean of its frames'.

    Args:
        config (`TemporalReuseDeiTConfig`): the settings.
    """

    output_class = TemporalReuseDistilledClassifierOutput


__all__ = [
    "TemporalReuseDeiTForImageClassification",
    "TemporalReuseDeiTForImageClassificationWithTeacher",
    "TemporalReuseDeiTForVideoClassification",
    "TemporalReuseDeiTForVideoClassificationWithTeacher",
    "TemporalReuseDeiTModel",
]
