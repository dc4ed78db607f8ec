"""Reuse for a model that is already in memory."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .configuration import TemporalReuseConfig, as_temporal_reuse_config
from .hub.remote_code import StaysInPackage
from .models.attending import ReuseAttention, ReuseLayer
from .models.register import MODELS, parent_of, stand_in_for


def with_temporal_reuse(
    model: PreTrainedModel,
    config: TemporalReuseConfig | dict[str, Any] | None = None,
    model_class: type[PreTrainedModel] | None = None,
) -> PreTrainedModel:
    """
    Returns a model with reuse that shares the weights of the given one.

    The modules that hold the weights are the same objects, quantized or adapted ones included: moving, casting or
    training one model does so to both. The given model works as before.

    Args:
        model: a base model or a classifier of transformers, of a kind that there is reuse for.
        config: the settings of reuse, or a dict of them; the defaults if left out.
        model_class: the class to build, by default the one that stands in for the given model, for videos;
            `TemporalReuseViTForImageClassification` takes single frames.

    Returns:
        The model with reuse, in the same mode (training or evaluation) as the given one.

    Raises:
        ValueError: if there is no reuse for this kind of model.

    Example:

    ```python
    >>> from transformers import ViTConfig, ViTForImageClassification
    >>> import hf_ttr

    >>> vit = ViTForImageClassification(ViTConfig(hidden_size=32, num_attention_heads=2)).eval()
    >>> model = hf_ttr.with_temporal_reuse(vit, hf_ttr.TemporalReuseConfig(compute_budget=0.2))
    >>> model.classifier is vit.classifier
    True
    ```
    """
    stand_in = stand_in_for(type(model))
    if stand_in is None:
        names = {parent_of(kind).__name__ for entry in MODELS.values() for kind in entry.classes}
        there = ", ".join(sorted(names, key=str.lower))
        raise ValueError(f"there is no temporal reuse for a {type(model).__name__}; it is there for {there}.")
    model_class = model_class or stand_in
    config_class: Any = model_class.config_class
    if type(model.config).model_type not in (config_class.parent_model_type, config_class.model_type):
        raise ValueError(
            f"a {type(model).__name__} cannot become a {model_class.__name__}, but a {stand_in.__name__}."
        )
    reuse_config = config_class.from_parent_config(model.config, as_temporal_reuse_config(config))
    # What a base model has depends on how it was made.
    parent, options = parent_of(model_class), {}
    if isinstance(model, parent):
        base: Any = model
        parameters = inspect.signature(parent.__init__).parameters
        if "add_pooling_layer" in parameters:
            options["add_pooling_layer"] = base.pooler is not None
        if "use_mask_token" in parameters:
            options["use_mask_token"] = base.embeddings.mask_token is not None
    with torch.device("meta"):
        result = model_class(reuse_config, **options)
    share_modules(result, model)
    result.train(model.training)
    return result


def share_modules(target: nn.Module, source: nn.Module, but: Collection[str] = ()) -> None:
    """
    Puts the modules of a model into another; where classes with reuse are among them, only their parts.

    Args:
        target, source: the models.
        but (`Collection[str]`): names of modules of `source` that are left out.
    """
    for name, parameter in source._parameters.items():
        target._parameters[name] = parameter
    for name, buffer in source._buffers.items():
        target._buffers[name] = buffer
    for name, module in source.named_children():
        if name in but:
            continue
        own = target.get_submodule(name)
        if any(isinstance(part, (ReuseAttention, ReuseLayer, StaysInPackage)) for part in own.modules()):
            share_modules(own, module)
        else:
            setattr(target, name, module)
