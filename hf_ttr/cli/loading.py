"""The pipeline for a checkpoint that a user named, or one sentence on why there is none."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..display import shown
from ..examples import as_named
from ..hub.checkpoints import (
    CheckpointError,
    checkpoint_type,
    classifier_class,
    load_classifier,
    load_video_processor,
    naming_model,
)
from .errors import InputError
from .label_options import ChosenLabels, as_label_options


def load_pipeline(
    model: str,
    settings: dict[str, Any],
    device: str | None = None,
    task: str = "video-classification",
    dtype: str | None = None,
    labels: ChosenLabels | None = None,
) -> Any:
    """
    The pipeline for a checkpoint, with the given settings of reuse; by default the stock one.

    Nothing in the checkpoint is executed: weights are read from safetensors alone, and no code is taken from the Hub.

    Args:
        model (`str`): folder or Hub id.
        settings (`dict`): settings of reuse that differ from those of the checkpoint.
        device (`str`, *optional*): where to run; by default where the pipeline puts it.
        task (`str`): of the pipeline.
        dtype (`str`, *optional*): of the weights, one of `DTYPES`; by default as they are saved, but float32 for
            float16 on a CPU, which would be several times slower, and a line on stderr says so.
        labels (`ChosenLabels`, *optional*): those that a text tower is to read, which is then let go.

    Raises:
        InputError: if there is no such device, or the text tower cannot read the labels.
        CheckpointError: if there is no such model, or it cannot be used.
    """
    from transformers import pipeline as make_pipeline

    from ..models.register import classifier_types

    # Its overloads know the tasks of transformers alone.
    pipeline: Any = make_pipeline
    _check_device(device)
    try:
        model_type = checkpoint_type(model, chooses_labels=labels is not None)
    except CheckpointError as error:
        raise CheckpointError(as_label_options(str(error))) from error
    processor = load_video_processor(model)
    if classifier_types()[model_type]:
        classifier = load_classifier(model, classifier_class(model), settings)
        made = pipeline(task, model=classifier, video_processor=processor, device=device)
        return _with_labels(_with_dtype(made, dtype, model), labels)
    with naming_model(model, settings):
        made = pipeline(
            task,
            model=model,
            device=device,
            # As they are saved: what they run in is decided below.
            dtype=None,
            trust_remote_code=False,
            model_kwargs={"temporal_reuse": settings, "use_safetensors": True},
        )
    return _with_labels(_with_dtype(made, dtype, model), labels)


def _with_labels(pipe: Any, labels: ChosenLabels | None) -> Any:
    if labels is None:
        return pipe
    try:
        return pipe.with_labels(labels.candidate_labels, labels.hypothesis_template)
    except ValueError as error:
        raise InputError(as_label_options(str(error))) from error


def _with_dtype(pipe: Any, dtype: str | None, model: str) -> Any:
    from ..devices import place_model

    if place_model(pipe.model, pipe.device, dtype):
        print(
            f"The weights of '{shown(as_named(model), None)}' are float16, with which most CPUs are several times "
            "slower; they run as float32 (--dtype float16 keeps them).",
            file=sys.stderr,
        )
    return pipe


def _check_device(device: str | None) -> None:
    from ..devices import check_device

    try:
        check_device(device)
    except ValueError as error:
        raise InputError(str(error)) from error


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
