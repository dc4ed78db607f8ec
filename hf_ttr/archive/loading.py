"""Models and processors for archives: a classifier for labels, an encoder for features."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..devices import place_model
from ..hub.checkpoints import CheckpointError, load_labelled, load_model, load_video_processor, naming_model
from ..imports import import_named, name_of_module
from ..models.register import entry_for
from .answers import Embeddings, Labels, Task
from .options import LabelOptions


def import_first(names: Sequence[str]) -> None:
    """
    Imports modules by their names, and files by their paths, once in a process.

    Raises:
        ImportError: if there is none.
    """
    for name in names:
        if name_of_module(name) not in sys.modules:
            import_named(name)


def load_labels(model: str, settings: dict[str, Any], labels: LabelOptions, by_clip: bool = False) -> Labels:
    """
    A classifier with reuse, and how labels are made of what it says.

    Args:
        model (`str`): folder or Hub id of a classifier, plain or with reuse.
        settings (`dict`): settings of reuse that differ from those of the checkpoint.
        labels: that a row has.
        by_clip: see `Labels`.

    Raises:
        CheckpointError: if there is no such model, or it cannot be used; one sentence.
        ValueError: if the model cannot tell these labels apart; one sentence.
    """
    classifier = load_labelled(model, settings, labels.candidate_labels, labels.hypothesis_template)
    return Labels(classifier, labels.top_k, by_clip)


def load_embeddings(model: str, settings: dict[str, Any], per_frame: bool = False) -> Embeddings:
    """
    An encoder with reuse, and how features are made of what it says.

    Args:
        model (`str`): folder or Hub id of an encoder, or of a classifier, whose head is left out.
        settings (`dict`): settings of reuse that differ from those of the checkpoint.
        per_frame: see `Embeddings`.

    Raises:
        CheckpointError: if there is no such model, or it cannot be used; one sentence.
    """
    from transformers import PretrainedConfig

    with naming_model(model, settings):
        config, _ = PretrainedConfig.get_config_dict(model)
        entry = entry_for(config.get("model_type"))
        if entry is None or entry.base is None:
            raise CheckpointError(
                f"The model '{model}' is of the type {config.get('model_type')!r}, of which there is no encoder with "
                "reuse; pass another."
            )
    encoder, missing = load_model(model, entry.base, settings)
    # Without a pooler there still are features.
    if others := [name for name in missing if "pooler" not in name]:
        raise CheckpointError(
            f"The model '{model}' has no weights for {', '.join(others[:3])}; pass one with all of its encoder."
        )
    return Embeddings(encoder.eval(), has_pooler=not missing, per_frame=per_frame)


def prepare(task: Task, model: str, device: str | None, dtype: str | None) -> Any:
    """
    Puts the model of a task on its device; returns the processor that belongs to it.

    Args:
        task: with the model.
        model (`str`): the folder or Hub id that it came from.
        device (`str`, *optional*): by default the GPU if there is one.
        dtype (`str`, *optional*): of the weights; by default as they are saved, on a CPU float32 for float16.
    """
    place_model(task.model, device, dtype)
    return load_video_processor(model)
