"""`hf-ttr classify`: the labels of a video, and what reuse saves on it."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from .errors import InputError, ends_quietly


@ends_quietly
def classify(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="The video file.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            metavar="DIR|ID",
            help="Folder or Hub id of a ViT image classifier or VideoMAE video classifier, plain or with reuse.",
            show_default=False,
        ),
    ],
    threshold: Annotated[
        float | None, typer.Option(help="Largest relative error of a reused token; 0 computes every token.")
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Share of tokens to compute, above 0 and at most 1.")] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="MODE", help="bidirectional (for files), causal (for live streams) or off.")
    ] = None,
    num_frames: Annotated[
        int | None, typer.Option(help="Number of frames to take from the video; that of a VideoMAE is fixed.")
    ] = None,
    frame_sampling_rate: Annotated[int | None, typer.Option(help="Take every so many-th frame.")] = None,
    top_k: Annotated[int, typer.Option(help="Number of labels to show.")] = 5,
    compare_dense: Annotated[bool, typer.Option(help="Run the model without reuse as well, and compare.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    picture: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Draw which patches were computed, and write it here.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where to run, such as cpu or cuda; by default a GPU where there is one.")
    ] = None,
) -> None:
    """Classify a video with temporal token reuse. What is not given stays as the checkpoint says."""
    _check_options(threshold, budget, mode, num_frames, frame_sampling_rate, top_k, picture)

    from .comparison import check_picture_path, compare
    from .report import print_comparison, progress_on_stderr

    if picture is not None:
        check_picture_path(picture)
    with progress_on_stderr() as progress:
        result = compare(
            video,
            model,
            _settings(threshold, budget, mode),
            num_frames=num_frames,
            frame_sampling_rate=frame_sampling_rate,
            with_dense=compare_dense,
            with_picture=picture is not None,
            device=device,
            progress=progress,
        )
        if picture is not None:
            result.save_picture(picture)
    if as_json:
        import json

        typer.echo(json.dumps({**result.as_dict(top_k), "picture": picture}, allow_nan=False))
        return
    print_comparison(result, top_k)
    if picture is not None:
        typer.echo(f"\nWhich patches were computed in which frame: {picture}")


def _settings(threshold: float | None, budget: float | None, mode: str | None) -> dict[str, Any]:
    """The settings of reuse that the options ask for; threshold and budget each take the other's place."""
    settings: dict[str, Any] = {}
    if mode is not None:
        settings["mode"] = mode
    if threshold is not None or budget is not None:
        settings |= {"threshold": threshold, "compute_budget": budget}
    return settings


def _check_options(
    threshold: float | None,
    budget: float | None,
    mode: str | None,
    num_frames: int | None,
    frame_sampling_rate: int | None,
    top_k: int,
    picture: str | None,
) -> None:
    from ..configuration import MODES

    if threshold is not None and budget is not None:
        raise InputError(f"--threshold {threshold:g} and --budget {budget:g} exclude each other; pass one of them.")
    if threshold is not None and not (math.isfinite(threshold) and threshold >= 0):
        raise InputError(
            f"--threshold is {threshold:g}, but must be a number of at least 0; leave it out for the model's default."
        )
    if budget is not None and not 0 < budget <= 1:
        raise InputError(f"--budget is {budget:g}, but must be a share above 0 and at most 1; try 0.2.")
    if mode is not None and mode not in MODES:
        raise InputError(f"--mode is '{mode}', but must be one of {', '.join(MODES)}.")
    for name, value in (("num-frames", num_frames), ("frame-sampling-rate", frame_sampling_rate), ("top-k", top_k)):
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}, but must be at least 1.")
    if mode == "off":
        for name, given in (("threshold", threshold), ("budget", budget), ("picture", picture)):
            if given is not None:
                raise InputError(f"--{name} has no meaning with --mode off, which reuses nothing; leave one out.")
