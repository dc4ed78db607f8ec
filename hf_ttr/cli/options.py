"""The options that several commands share, and what they stand for."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from .errors import InputError, first_line


Video = Annotated[str, typer.Argument(metavar="VIDEO", help="The video file.", show_default=False)]
Model = Annotated[
    str,
    typer.Option(
        metavar="DIR|ID",
        help="Folder or Hub id of a ViT image classifier or VideoMAE video classifier, plain or with reuse.",
        show_default=False,
    ),
]
Threshold = Annotated[
    float | None, typer.Option(help="Largest relative error of a reused token; 0 computes every token.")
]
Budget = Annotated[float | None, typer.Option(help="Share of tokens to compute, above 0 and at most 1.")]
Mode = Annotated[
    str | None, typer.Option(metavar="MODE", help="bidirectional (for files), causal (for live streams) or off.")
]
Reduction = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METHOD",
        help="Merge or prune tokens as well, such as tome:r=8 or pruning:keep=0.7; may come several times.",
    ),
]
NumFrames = Annotated[
    int | None, typer.Option(help="Number of frames to take from the video; that of a VideoMAE is fixed.")
]
FrameSamplingRate = Annotated[int | None, typer.Option(help="Take every so many-th frame.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that are there and were not made by hf-ttr.")
]
Device = Annotated[
    str | None, typer.Option(help="Where to run, such as cpu or cuda; by default a GPU where there is one.")
]


@dataclass
class Wanted:
    """
    What the options ask for, checked; `None` is as the checkpoint says.

    Raises:
        InputError: one sentence, if an option is out of range, or two of them exclude each other.
    """

    threshold: float | None = None
    budget: float | None = None
    mode: str | None = None
    reduction: list[str] | None = None
    num_frames: int | None = None
    frame_sampling_rate: int | None = None

    def __post_init__(self) -> None:
        from ..configuration import MODES

        threshold, budget = self.threshold, self.budget
        if threshold is not None and budget is not None:
            raise InputError(
                f"--threshold {threshold:g} and --budget {budget:g} exclude each other; pass one of them."
            )
        if threshold is not None and not (math.isfinite(threshold) and threshold >= 0):
            raise InputError(
                f"--threshold is {threshold:g}, but must be a number of at least 0; leave it out for the model's "
                "default."
            )
        if budget is not None and not 0 < budget <= 1:
            raise InputError(f"--budget is {budget:g}, but must be a share above 0 and at most 1; try 0.2.")
        if self.mode is not None and self.mode not in MODES:
            raise InputError(f"--mode is '{self.mode}', but must be one of {', '.join(MODES)}.")
        check_at_least_1("num-frames", self.num_frames)
        check_at_least_1("frame-sampling-rate", self.frame_sampling_rate)
        if self.mode == "off":
            for name, given in (("threshold", threshold), ("budget", budget)):
                if given is not None:
                    raise InputError(f"--{name} has no meaning with --mode off, which reuses nothing; leave one out.")

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of reuse that differ from those of the checkpoint."""
        settings: dict[str, Any] = {}
        if self.mode is not None:
            settings["mode"] = self.mode
        if self.threshold is not None or self.budget is not None:
            # Each takes the other's place.
            settings |= {"threshold": self.threshold, "compute_budget": self.budget}
        if self.reduction:
            settings["reduction"] = [parse_reduction(text) for text in self.reduction]
        return settings


def check_at_least_1(name: str, value: int | None) -> None:
    """Raises an `InputError` unless the value of an option is `None` or at least 1."""
    if value is not None and value < 1:
        raise InputError(f"--{name} is {value}, but must be at least 1.")


def check_model_frames(num_frames: int | None, model: str, model_frames: int | None) -> None:
    """Raises an `InputError` if another number of frames is asked for than a model takes; `None` takes any."""
    if model_frames is not None and num_frames not in (None, model_frames):
        raise InputError(
            f"The model '{model}' takes {model_frames} frames, but --num-frames is {num_frames}; leave it out."
        )


def parse_reduction(text: str) -> dict[str, Any]:
    """
    A method with its settings, as it stands in a config, out of "method" or "method:setting=value:setting=value".

    Raises:
        InputError: if there is no such method, or a setting is wrong.
    """
    from ..reduction import as_reduction

    method, *parts = text.split(":")
    settings: dict[str, Any] = {"method": method}
    for part in parts:
        name, is_given, value = part.partition("=")
        if not is_given:
            raise InputError(
                f"--reduction is '{text}', but '{part}' is no setting with a value; write it like tome:r=8."
            )
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    try:
        return as_reduction(settings).to_dict()
    except ValueError as error:
        raise InputError(f"--reduction is '{text}', but {first_line(error)}.") from error
