"""The options that several commands share, and what they stand for."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ..display import shown
from ..examples import with_examples
from ..modes import MODES
from ..video.sampling import SPREAD
from ..video.sampling import FrameSamplingRate as SamplingRate
from .errors import InputError, first_line


def as_path(value: Any) -> Any:
    """What an argument stands for, or each of several: the path of an example where it names one."""
    if value is None:
        return None
    try:
        return [with_examples(one) for one in value] if isinstance(value, (list, tuple)) else with_examples(value)
    except (ValueError, FileNotFoundError) as error:
        raise typer.BadParameter(f"{error}") from error


DTYPES = ("float32", "bfloat16", "float16")
"""What weights can be computed with."""

Video = Annotated[
    str,
    typer.Argument(metavar="VIDEO", help="The video file, or example:demo.mp4.", show_default=False, callback=as_path),
]
Model = Annotated[
    str,
    typer.Option(
        metavar="DIR|ID",
        help="Folder or Hub id of an image or video classifier, plain or with reuse; or "
        "example:vit-demo, example:videomae-demo.",
        show_default=False,
        callback=as_path,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        metavar="X",
        help="Largest relative error of a reused token; 0 computes every token.",
        show_default="the model's, or 0.1, of windows 0.4",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="Share of tokens to compute, above 0 and at most 1, in the place of --threshold."
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        metavar="MODE",
        help="How to reuse: bidirectional (files), causal (live streams) or off.",
        show_default="the model's, or bidirectional",
    ),
]
Reduction = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METHOD",
        help="Merge or prune tokens as well, such as tome:r=8 or pruning:keep=0.7; may come several times.",
    ),
]
NumFrames = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Frames to take from a video; a model of windows takes a fixed number.",
        show_default="the model's, or 16",
    ),
]
FrameSamplingRate = Annotated[
    str | None,
    typer.Option(
        metavar="N|spread",
        help="Take every N-th frame, from the first on; spread takes them from the whole video, seconds apart, where "
        "less is reused.",
        show_default="the model's, or 1",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that are there and were not made by hf-ttr.")
]
Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Where to run, such as cpu or cuda.", show_default="a GPU where there is one"),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(DTYPES),
        help="What to compute with.",
        show_default="as the weights are saved; on a CPU float32 for float16",
    ),
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
    frame_sampling_rate: str | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
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
        _as_sampling_rate(self.frame_sampling_rate)
        if self.dtype is not None and self.dtype not in DTYPES:
            raise InputError(f"--dtype is '{self.dtype}', but must be one of {', '.join(DTYPES)}.")
        for text in self.reduction or []:
            _split_reduction(text)
        if self.mode == "off":
            for name, given in (("threshold", threshold), ("budget", budget)):
                if given is not None:
                    raise InputError(f"--{name} has no meaning with --mode off, which reuses nothing; leave one out.")

    @property
    def rate(self) -> SamplingRate | None:
        """Every how many frames one is taken."""
        return _as_sampling_rate(self.frame_sampling_rate)

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


def check_paths(model: str, *videos: str) -> None:
    """
    Raises an `InputError` if a model or a video that can only be a path here is not there.

    What it is, and whether it can be used, is for what loads it.
    """
    if not os.path.exists(model) and (model.startswith((".", "~", "/")) or model.count("/") > 1):
        raise InputError(f"The model folder '{shown(model)}' does not exist; check the path.")
    for video in videos:
        if not os.path.lexists(video) and "://" not in video:
            raise InputError(f"The video '{shown(video)}' does not exist; check the path.")


def check_model_frames(num_frames: int | None, model: str, model_frames: int | None) -> None:
    """Raises an `InputError` if another number of frames is asked for than a model takes; `None` takes any."""
    if model_frames is not None and num_frames not in (None, model_frames):
        raise InputError(
            f"The model '{model}' takes {model_frames} frames, but --num-frames is {num_frames}; leave it out."
        )


def _as_sampling_rate(text: SamplingRate | str | None) -> SamplingRate | None:
    if text is None or text == SPREAD:
        return None if text is None else SPREAD
    try:
        rate = int(text)
    except ValueError:
        rate = 0
    if rate < 1:
        raise InputError(f"--frame-sampling-rate is '{text}', but must be a whole number of at least 1, or {SPREAD}.")
    return rate


BUILT_IN_REDUCTIONS = ("pruning", "run_length", "tome", "vid_tldr", "vidtome")
"""The methods that are there before a module of the user's own is imported."""


def _split_reduction(text: str) -> dict[str, Any]:
    """A method and its settings, read but not looked at; that a method is not known is found without loading any."""
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
    if method not in BUILT_IN_REDUCTIONS and f"{__package__.partition('.')[0]}.reduction" not in sys.modules:
        raise InputError(
            f"--reduction is '{text}', but there is no reduction '{method}'; the methods are "
            f"{', '.join(BUILT_IN_REDUCTIONS)}, and --import MODULE brings others."
        )
    return settings


def parse_reduction(text: str) -> dict[str, Any]:
    """
    A method with its settings, as it stands in a config, out of "method" or "method:setting=value:setting=value".

    Raises:
        InputError: if there is no such method, or a setting is wrong.
    """
    from ..reduction import as_reduction

    try:
        return as_reduction(_split_reduction(text)).to_dict()
    except ValueError as error:
        raise InputError(f"--reduction is '{text}', but {first_line(error)}.") from error
