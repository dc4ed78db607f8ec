"""Checkpoints that a user named: what they are and what is in them, or one sentence on why they cannot be used."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..answers.candidate_labels import HYPOTHESIS_TEMPLATE
from ..checks import first_line


PROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
LEAST_BYTES = 0.25
"""Of a weight, however it is quantized."""

LOADING_ERRORS = (OSError, ArithmeticError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError)


class CheckpointError(ValueError):
    """A checkpoint cannot be used, or not be written; the message is one sentence that says what and what to do."""


def checkpoint_type(model: str, chooses_labels: bool = False) -> str:
    """
    The type in a checkpoint's config, after a look at whether it is a classifier that reuse is there for.

    Args:
        model (`str`): folder or Hub id.
        chooses_labels (`bool`): whether the user chooses labels, which a text tower is to read; without that it has
            to have its own.

    Raises:
        CheckpointError: if there is no such checkpoint, or it is of another kind.
    """
    from transformers import PretrainedConfig

    if os.path.isdir(model):
        if not os.path.isfile(os.path.join(model, "config.json")):
            raise CheckpointError(
                f"The folder '{model}' holds no model (no config.json); pass the folder of a checkpoint."
            )
        if not any(os.path.isfile(os.path.join(model, name)) for name in PROCESSOR_FILES):
            raise CheckpointError(
                f"The model '{model}' has no {PROCESSOR_FILES[1]}; put the one that belongs to it next to its "
                "config.json."
            )
    elif os.path.exists(model):
        raise CheckpointError(f"The model '{model}' is a file; pass the folder of the checkpoint.")
    elif not model.strip() or model.startswith((".", "~", "/")) or model.count("/") > 1 or "\\" in model:
        raise CheckpointError(f"The model folder '{model}' does not exist; check the path.")
    try:
        config, _ = PretrainedConfig.get_config_dict(model)
        model_type, architectures = config.get("model_type"), config.get("architectures") or []
    except LOADING_ERRORS as error:
        if os.path.isdir(model):
            raise CheckpointError(
                f"The config.json of the model '{model}' cannot be read ({first_line(error)}); replace it by a "
                "complete copy."
            ) from error
        raise CheckpointError(
            f"The model '{model}' is neither a folder here nor a model that the Hub gives ({first_line(error)}); "
            "check the name and the network."
        ) from error
    from ..labelling import no_text_tower
    from ..models.register import classifier_names, classifier_types, entry_for, is_classifier

    if model_type not in classifier_types():
        raise CheckpointError(
            f"The model '{model}' is of the type {model_type!r}; pass an image or video classifier of the kind "
            f"{classifier_names()}, plain or with reuse."
        )
    architectures = architectures if isinstance(architectures, list) else []
    entry = entry_for(model_type)
    reads_labels = entry is not None and entry.reads_labels(config)
    if chooses_labels and not reads_labels:
        raise CheckpointError(no_text_tower(model, architectures, config.get("hypothesis_template")))
    if reads_labels and not chooses_labels:
        raise CheckpointError(
            f"The model '{model}', a {architectures[0]}, reads its labels, and none were chosen; choose some "
            "(--labels of hf-ttr classify, stream and archive, labels of hf-ttr watch, or hf_ttr.zero_shot), or pass "
            "one that was trained for classification."
        )
    if not chooses_labels and architectures and not any(map(is_classifier, architectures)):
        raise CheckpointError(
            f"The model '{model}' is no classifier but a {architectures[0]}; pass one that was trained for "
            "classification."
        )
    return model_type


def load_video_processor(model: str) -> Any:
    """
    The `TemporalReuseVideoProcessor` with the settings of a checkpoint's processor.

    Raises:
        CheckpointError: if it has none that can be read.
    """
    from ..video.processing import TemporalReuseVideoProcessor

    try:
        return TemporalReuseVideoProcessor.from_pretrained(model)
    except LOADING_ERRORS as error:
        raise CheckpointError(
            f"The model '{model}' has no image or video processor that can be read ({first_line(error)}); put the "
            f"{PROCESSOR_FILES[1]} that belongs to it next to its config.json."
        ) from error


def classifier_class(model: str) -> Any:
    """The class with reuse that classifies the videos of a checkpoint of a type that there is one for."""
    from transformers import PretrainedConfig

    from ..models.register import entry_for

    config, _ = PretrainedConfig.get_config_dict(model)
    entry = entry_for(config.get("model_type"))
    return None if entry is None else entry.class_for(config.get("architectures") or [])


def load_classifier(model: str, kind: Any, settings: dict[str, Any], folder: str | None = None) -> Any:
    """
    A model with reuse, all of whose weights come from the checkpoint's safetensors.

    Args:
        model (`str`): folder or Hub id, as the user knows it.
        kind: the class with reuse.
        settings (`dict`): settings of reuse that differ from those of the checkpoint.
        folder (`str`, *optional*): where the checkpoint lies, if elsewhere.

    Raises:
        CheckpointError: if it cannot be loaded whole.
    """
    from ..labelling import has_text_tower

    classifier, missing = load_model(model, kind, settings, folder)
    if missing:
        what = "with both of its towers" if has_text_tower(classifier) else "that was trained for classification"
        raise CheckpointError(f"The model '{model}' has no weights for {', '.join(missing[:3])}; pass one {what}.")
    return classifier


def load_labelled(
    model: str,
    settings: dict[str, Any],
    candidate_labels: Sequence[str] | None = None,
    hypothesis_template: str = HYPOTHESIS_TEMPLATE,
) -> Any:
    """
    A classifier with reuse in evaluation mode: with the labels of its checkpoint, or with those that its text tower
    reads, which is then let go.

    Args:
        model (`str`): folder or Hub id of a classifier, or with labels of a model with a text tower.
        settings (`dict`): settings of reuse that differ from those of the checkpoint.
        candidate_labels (`list[str]`, *optional*): what may be seen.
        hypothesis_template (`str`): the sentence that the text tower reads, with `{}` where the label belongs.

    Raises:
        CheckpointError: if it cannot be loaded whole, or does not choose its labels like this; one sentence.
        ValueError: if labels or template are none; one sentence.
    """
    from ..labelling import zero_shot

    checkpoint_type(model, chooses_labels=candidate_labels is not None)
    classifier = load_classifier(model, classifier_class(model), settings).eval()
    return classifier if candidate_labels is None else zero_shot(classifier, candidate_labels, hypothesis_template)


def load_model(model: str, kind: Any, settings: dict[str, Any], folder: str | None = None) -> tuple[Any, list[str]]:
    """
    A model with reuse, and the names of the weights that the checkpoint's safetensors lack.

    transformers fills these with random numbers.

    Args:
        model, kind, settings, folder: as in `load_classifier`.

    Raises:
        CheckpointError: if it cannot be loaded.
    """
    with naming_model(model, settings):
        _check_size(kind.config_class, folder or model)
        loaded, report = kind.from_pretrained(
            folder or model, temporal_reuse=settings, output_loading_info=True, use_safetensors=True
        )
    return loaded, sorted(report["missing_keys"])


def _check_size(config_class: Any, folder: str) -> None:
    """
    Compares what a config asks for with the weights that lie beside it: what is missing would be made at random.

    Raises:
        ValueError: if the weights are of a far smaller model.
    """
    files = [name for name in os.listdir(folder) if name.endswith(".safetensors")] if os.path.isdir(folder) else []
    if not files:
        return
    whole = config_class.from_pretrained(folder)
    config = whole.vision
    wide = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or int(wide * config.mlp_ratio)
    asked = whole.reuse_layers * (4 * wide * wide + 2 * wide * inner)
    there = sum(os.path.getsize(os.path.join(folder, name)) for name in files)
    if asked * LEAST_BYTES > there:
        raise ValueError(f"its config.json asks for {asked} weights, and its safetensors have {there} bytes")


@contextmanager
def naming_model(model: str, settings: dict[str, Any]) -> Iterator[None]:
    """
    Makes one sentence that names the model of what goes wrong while it is loaded.

    Args:
        model (`str`): folder or Hub id, as the user knows it.
        settings (`dict`): settings of reuse that were asked for.

    Raises:
        CheckpointError: in the place of the error of transformers.
    """
    from safetensors import SafetensorError

    from ..reduction.base import UNKNOWN

    try:
        yield
    except CheckpointError:
        raise
    except (*LOADING_ERRORS, SafetensorError) as error:
        reason = first_line(error)
        if "reduction" in settings and "reduction '" in reason:
            reason = reason[reason.index("reduction '") :]
            raise CheckpointError(f"The model '{model}' cannot be run like this: {reason}.") from error
        if os.path.isfile(os.path.join(model, "pytorch_model.bin")) and "model.safetensors" in str(error):
            raise CheckpointError(
                f"The model '{model}' has a pytorch_model.bin but no model.safetensors, and is not loaded, as a "
                "pickle may run code; if you trust it, load it with transformers and save it with save_pretrained."
            ) from error
        if UNKNOWN in reason:
            raise CheckpointError(
                f"The model '{model}' cannot be loaded: {reason[reason.index(UNKNOWN) :]}."
            ) from error
        raise CheckpointError(
            f"The model '{model}' cannot be loaded ({reason}); replace it by a complete copy."
        ) from error
