"""The model of a service, ready for the streams of its cameras."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..answers.candidate_labels import HYPOTHESIS_TEMPLATE
from ..devices import check_device, place_model
from ..hub.checkpoints import CheckpointError, load_labelled, load_video_processor
from ..streaming import StreamEngine


if TYPE_CHECKING:
    from .settings import ServiceSettings


def load_engine(settings: ServiceSettings) -> StreamEngine:
    """
    Loads the model, and its text tower where there are labels to read.

    Args:
        settings: of the service.

    Raises:
        CheckpointError: if there is no such model, or it cannot be used; one sentence.
        ValueError: if there is no such device, or labels, options and model do not fit; one sentence.
    """
    model, reuse = settings.model, dict(settings.temporal_reuse)
    check_device(settings.device)
    try:
        classifier = load_labelled(model, reuse, settings.labels, settings.template or HYPOTHESIS_TEMPLATE)
    except ValueError as error:
        # What the library calls an argument is a setting here.
        raise CheckpointError(str(error).replace("candidate_labels", "labels")) from error
    processor = load_video_processor(model)
    place_model(classifier, settings.device, settings.dtype)
    options = replace(settings.stream_options, top_k=1)
    if settings.labels is not None:
        # A camera is in one of the states; those of it are chosen among all.
        options = replace(options, top_k=len(settings.labels), function_to_apply="softmax")
    return StreamEngine(classifier, processor, options)
