"""`hf-ttr classify`: the labels of a video, and what reuse saves on it."""

from __future__ import annotations

from typing import Annotated

import typer

from ..display import shown
from .errors import InputError, ends_quietly
from .options import (
    Budget,
    Device,
    FrameSamplingRate,
    Mode,
    Model,
    NumFrames,
    Overwrite,
    Reduction,
    Threshold,
    Video,
    Wanted,
    check_at_least_1,
)


@ends_quietly
def classify(
    video: Video,
    model: Model,
    threshold: Threshold = None,
    budget: Budget = None,
    mode: Mode = None,
    reduction: Reduction = None,
    num_frames: NumFrames = None,
    frame_sampling_rate: FrameSamplingRate = None,
    top_k: Annotated[int, typer.Option(help="Number of labels to show.")] = 5,
    compare_dense: Annotated[bool, typer.Option(help="Run the model without reuse as well, and compare.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    picture: Annotated[
        str | None, typer.Option(metavar="FILE.png", help="Draw which patches were computed, and write it here.")
    ] = None,
    overwrite: Overwrite = False,
    device: Device = None,
) -> None:
    """Classify a video with temporal token reuse. What is not given stays as the checkpoint says."""
    wanted = Wanted(threshold, budget, mode, reduction, num_frames, frame_sampling_rate)
    check_at_least_1("top-k", top_k)
    if mode == "off" and picture is not None and not reduction:
        raise InputError("--picture has no meaning with --mode off, which reuses nothing; leave one out.")

    from .comparison import check_picture_path, compare
    from .report import print_comparison, progress_on_stderr

    if picture is not None:
        check_picture_path(picture, "--picture", overwrite)
    with progress_on_stderr() as progress:
        result = compare(
            video,
            model,
            wanted.settings,
            num_frames=num_frames,
            frame_sampling_rate=frame_sampling_rate,
            with_dense=compare_dense,
            with_maps=picture is not None,
            device=device,
            progress=progress,
        )
        if picture is not None:
            # It may have come while the model ran.
            check_picture_path(picture, "--picture", overwrite)
            result.save_picture(picture)
    if as_json:
        import json

        typer.echo(json.dumps({**result.as_dict(top_k), "picture": picture}, allow_nan=False))
        return
    print_comparison(result, top_k)
    if picture is not None:
        typer.echo(f"\nWhich patches were computed in which frame: {shown(picture)}")
