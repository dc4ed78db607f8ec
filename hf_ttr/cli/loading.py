"""The pipeline for a checkpoint that a user named, or one sentence on why there is none."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..checkpoints import PARENT_TYPES, checkpoint_type, load_classifier, load_video_processor, naming_model
from .errors import InputError, first_line


def load_pipeline(
    model: str, settings: dict[str, Any], device: str | None = None, task: str = "video-classification"
) -> Any:
    """
    The pipeline for a checkpoint, with the given settings of reuse; by default the stock one.

    Nothing in the checkpoint is executed: weights are read from safetensors alone, and no code is taken from the Hub.

    Raises:
        InputError: if there is no such device.
        CheckpointError: if there is no such model, or it cannot be used.
    """
    from transformers import pipeline as make_pipeline

    # Its overloads know the tasks of transformers alone.
    pipeline: Any = make_pipeline
    _check_device(device)
    model_type = checkpoint_type(model)
    processor = load_video_processor(model)
    if model_type in PARENT_TYPES:
        classifier = load_classifier(model, PARENT_TYPES[model_type], settings)
        return pipeline(task, model=classifier, video_processor=processor, device=device)
    with naming_model(model, settings):
        return pipeline(
            task,
            model=model,
            device=device,
            trust_remote_code=False,
            model_kwargs={"temporal_reuse": settings, "use_safetensors": True},
        )


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
