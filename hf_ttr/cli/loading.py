"""The pipeline for a checkpoint that a user named, or one sentence on why there is none."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import InputError, first_line


# Types of plain checkpoints, with the class of this package that takes them as they are; and of those with reuse.
PARENT_TYPES = {
    "vit": "TemporalReuseViTForVideoClassification",
    "videomae": "TemporalReuseVideoMAEForVideoClassification",
}
REUSE_TYPES = ("temporal_reuse_vit", "temporal_reuse_videomae")
PROCESSOR_FILES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")


def load_pipeline(
    model: str, settings: dict[str, Any], device: str | None = None, task: str = "video-classification"
) -> Any:
    """
    The pipeline for a checkpoint, with the given settings of reuse; by default the stock one.

    Nothing in the checkpoint is executed: weights are read from safetensors alone, and no code is taken from the Hub.

    Raises:
        InputError: if there is no such model, or it cannot be used.
    """
    from transformers import pipeline as make_pipeline

    import hf_ttr

    # Its overloads know the tasks of transformers alone.
    pipeline: Any = make_pipeline
    _check_device(device)
    model_type = _model_type(model)
    try:
        processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(model)
    except _LOADING_ERRORS as error:
        raise InputError(
            f"The model '{model}' has no image or video processor that can be read ({first_line(error)}); put the "
            f"{PROCESSOR_FILES[1]} that belongs to it next to its config.json."
        ) from error
    try:
        if model_type in REUSE_TYPES:
            return pipeline(
                task, model=model, device=device, model_kwargs={"temporal_reuse": settings, "use_safetensors": True}
            )
        classifier, report = getattr(hf_ttr, PARENT_TYPES[model_type]).from_pretrained(
            model, temporal_reuse=settings, output_loading_info=True, use_safetensors=True
        )
    except _loading_errors_of_weights() as error:
        reason = first_line(error)
        if "reduction" in settings and "reduction '" in reason:
            reason = reason[reason.index("reduction '") :]
            raise InputError(f"The model '{model}' cannot be run like this: {reason}.") from error
        if os.path.isfile(os.path.join(model, "pytorch_model.bin")) and "model.safetensors" in str(error):
            raise InputError(
                f"The model '{model}' has a pytorch_model.bin but no model.safetensors, and is not loaded, as a "
                "pickle may run code; if you trust it, load it with transformers and save it with save_pretrained."
            ) from error
        raise InputError(f"The model '{model}' cannot be loaded ({reason}); replace it by a complete copy.") from error
    if report["missing_keys"]:
        # transformers fills them with random numbers.
        raise InputError(
            f"The model '{model}' has no weights for {', '.join(sorted(report['missing_keys'])[:3])}; pass one that "
            "was trained for classification."
        )
    return pipeline(task, model=classifier, video_processor=processor, device=device)


_LOADING_ERRORS = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError)


def _loading_errors_of_weights() -> tuple[type[Exception], ...]:
    from safetensors import SafetensorError

    return (*_LOADING_ERRORS, SafetensorError)


def _model_type(model: str) -> str:
    """The type in the checkpoint's config, after a look at whether it is a classifier with reuse."""
    from transformers import PretrainedConfig

    if os.path.isdir(model):
        if not os.path.isfile(os.path.join(model, "config.json")):
            raise InputError(f"The folder '{model}' holds no model (no config.json); pass the folder of a checkpoint.")
        if not any(os.path.isfile(os.path.join(model, name)) for name in PROCESSOR_FILES):
            raise InputError(
                f"The model '{model}' has no {PROCESSOR_FILES[1]}; put the one that belongs to it next to its "
                "config.json."
            )
    elif os.path.exists(model):
        raise InputError(f"The model '{model}' is a file; pass the folder of the checkpoint.")
    elif not model.strip() or model.startswith((".", "~", "/")) or model.count("/") > 1 or "\\" in model:
        raise InputError(f"The model folder '{model}' does not exist; check the path.")
    try:
        config, _ = PretrainedConfig.get_config_dict(model)
        model_type, architectures = config.get("model_type"), config.get("architectures") or []
    except _LOADING_ERRORS as error:
        if os.path.isdir(model):
            raise InputError(
                f"The config.json of the model '{model}' cannot be read ({first_line(error)}); replace it by a "
                "complete copy."
            ) from error
        raise InputError(
            f"The model '{model}' is neither a folder here nor a model that the Hub gives ({first_line(error)}); "
            "check the name and the network."
        ) from error
    types = (*PARENT_TYPES, *REUSE_TYPES)
    if model_type not in types:
        raise InputError(
            f"The model '{model}' is of the type {model_type!r}; pass a ViT image classifier or a VideoMAE video "
            f"classifier, plain or with reuse (type {' or '.join(map(repr, types))})."
        )
    if architectures and not any(name.endswith("Classification") for name in architectures):
        raise InputError(
            f"The model '{model}' is no classifier but a {architectures[0]}; pass one that was trained for "
            "classification."
        )
    return model_type


def _check_device(device: str | None) -> None:
    import torch

    if device is None:
        return
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"The device '{device}' cannot be used here ({first_line(error)}); pass 'cpu', or leave it out."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the warnings and progress bars of transformers off the terminal, and puts everything back."""
    from transformers.utils import logging

    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()
