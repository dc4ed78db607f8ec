"""What reuse models return: the parent's outputs, the cache, and what the call cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput
from transformers.models.videoprism.modeling_videoprism import BaseModelOutputWithSpatialAndTemporalStates
from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2WithMaskedInputModelOutput
from transformers.utils import ModelOutput

from .caching.cache import TemporalReuseCache
from .execution.flops import ReuseReport


@dataclass
class TemporalReuseModelOutput(BaseModelOutputWithPooling):
    """
    Output of a base model. Frames are an extra dimension where the input has one.

    Attributes:
        last_hidden_state (`torch.Tensor` of shape `(batch, [frames,] tokens, hidden_size)`): of every token; that of a
            reused token is assembled like its keys and values.
        pooler_output (`torch.Tensor` of shape `(batch, [frames,] pooler_output_size)`, *optional*): where there is a
            pooling layer.
        past_key_values (`TemporalReuseCache`, *optional*): hand it back with the next frames of the same streams.
        reuse (`ReuseReport`, *optional*): what the call cost; `None` in mode "off" and in training.
    """

    past_key_values: TemporalReuseCache | None = None
    reuse: ReuseReport | None = None


@dataclass
class TemporalReuseVJEPA2ModelOutput(VJEPA2WithMaskedInputModelOutput):
    """
    Output of a `TemporalReuseVJEPA2Model`; with reuse there is no `predictor_output`.

    Attributes:
        past_key_values, reuse: as in `TemporalReuseModelOutput`.
    """

    past_key_values: TemporalReuseCache | None = None
    reuse: ReuseReport | None = None


@dataclass
class TemporalReuseVideoPrismModelOutput(BaseModelOutputWithSpatialAndTemporalStates):
    """
    Output of a `TemporalReuseVideoPrismVisionModel`.

    Attributes:
        past_key_values, reuse: as in `TemporalReuseModelOutput`.
    """

    past_key_values: TemporalReuseCache | None = None
    reuse: ReuseReport | None = None


@dataclass
class TemporalReuseImageClassifierOutput(ImageClassifierOutput):
    """
    Output for one frame of each stream.

    Attributes:
        loss (`torch.Tensor` of shape `()`, *optional*): where labels were given.
        logits (`torch.Tensor` of shape `(batch, labels)`): of the frame.
        past_key_values, reuse: as in `TemporalReuseModelOutput`.
    """

    past_key_values: TemporalReuseCache | None = None
    reuse: ReuseReport | None = None


@dataclass
class TemporalReuseVideoClassifierOutput(ImageClassifierOutput):
    """
    Output for clips.

    Attributes:
        loss (`torch.Tensor` of shape `()`, *optional*): where labels were given.
        logits (`torch.Tensor` of shape `(batch, labels)`): mean of the frame logits.
        frame_logits (`torch.Tensor` of shape `(batch, frames, labels)`): of every frame, not of windows.
        past_key_values, reuse: as in `TemporalReuseModelOutput`.
    """

    frame_logits: torch.Tensor | None = None
    past_key_values: TemporalReuseCache | None = None
    reuse: ReuseReport | None = None


Output = TypeVar("Output", bound=ModelOutput)


@dataclass
class TemporalReuseDistilledClassifierOutput(TemporalReuseVideoClassifierOutput):
    """
    Output of a classifier with two heads, of which the second learned from a teacher.

    Attributes:
        cls_logits, distillation_logits (`torch.Tensor` of shape `(batch, [frames,] labels)`): of both heads; the other
            logits are their mean.
    """

    cls_logits: torch.Tensor | None = None
    distillation_logits: torch.Tensor | None = None


def map_tensors(output: Output, function: Callable[[torch.Tensor], torch.Tensor]) -> Output:
    """The same output with `function` applied to every tensor, also in tuples and in the report of reuse."""
    return type(output)(**{name: _map(value, function) for name, value in output.items()})


def concatenate_outputs(outputs: Sequence[Output], dim: int) -> Output:
    """Joins outputs of the same kind, tensor by tensor, along streams (0) or frames (1)."""
    first = outputs[0]
    if len(outputs) == 1:
        return first
    return type(first)(**{name: _concatenate([output[name] for output in outputs], dim) for name in first})


def _map(value: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, ModelOutput):
        return map_tensors(value, function)
    if isinstance(value, tuple):
        return tuple(_map(part, function) for part in value)
    return value


def _concatenate(values: Sequence[Any], dim: int) -> Any:
    first = values[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(values), dim=dim)
    if isinstance(first, ModelOutput):
        return concatenate_outputs(values, dim)
    if isinstance(first, tuple):
        return tuple(_concatenate(parts, dim) for parts in zip(*values))
    return first
