"""`hf-ttr classify`: the labels of videos, and what reuse saves on them."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from ..display import shown
from .errors import InputError, ends_quietly
from .label_options import ChosenLabels, Labels, Template
from .options import (
    Budget,
    Device,
    Dtype,
    FrameSamplingRate,
    Mode,
    Model,
    NumFrames,
    Overwrite,
    Reduction,
    Threshold,
    Wanted,
    as_path,
    check_at_least_1,
    check_paths,
)
from .videos import videos_in


@ends_quietly
def classify(
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO...",
            help="Video files, addresses, folders of videos, or example:demo.mp4.",
            show_default=False,
            callback=as_path,
        ),
    ],
    model: Model,
    labels: Labels = None,
    template: Template = None,
    threshold: Threshold = None,
    budget: Budget = None,
    mode: Mode = None,
    reduction: Reduction = None,
    num_frames: NumFrames = None,
    frame_sampling_rate: FrameSamplingRate = None,
    top_k: Annotated[int, typer.Option(metavar="N", help="Number of labels to show.")] = 5,
    compare_dense: Annotated[
        bool, typer.Option("--compare-dense/--no-compare-dense", help="Run the model without reuse too, and compare.")
    ] = True,
    timing: Annotated[
        bool, typer.Option("--timing", help="Run it several times, after a warm-up, and give medians of the times.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each video, on a line, instead of a table.")
    ] = False,
    picture: Annotated[
        str | None,
        typer.Option(metavar="FILE.png", help="Draw which patches of the one video were computed, and write it here."),
    ] = None,
    overwrite: Overwrite = False,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Classify videos with temporal token reuse, and say what it saved. What is not given stays as the model says."""
    wanted = Wanted(threshold, budget, mode, reduction, num_frames, frame_sampling_rate, dtype)
    check_at_least_1("top-k", top_k)
    chosen = ChosenLabels.of(labels, template)
    if mode == "off" and picture is not None and not reduction:
        raise InputError("--picture has no meaning with --mode off, which reuses nothing; leave one out.")
    check_paths(model, *videos)
    found = _files(videos)
    if picture is not None and len(found) > 1:
        raise InputError(f"--picture is of one video, but there are {len(found)}; pass one, or see hf-ttr visualize.")

    from .comparison import Pipelines, check_picture_path, compare
    from .report import ComparisonTable, print_comparison, progress_on_stderr

    if picture is not None:
        check_picture_path(picture, "--picture", overwrite)
    broken, table = 0, ComparisonTable()
    with progress_on_stderr() as progress:
        pipelines = Pipelines.load(
            model,
            wanted.settings,
            with_dense=compare_dense,
            with_maps=picture is not None,
            device=device,
            dtype=dtype,
            labels=chosen,
            progress=progress,
        )
        for video in found:
            try:
                result = compare(
                    video,
                    pipelines,
                    num_frames=num_frames,
                    frame_sampling_rate=wanted.rate,
                    with_maps=picture is not None,
                    is_timed=timing,
                    progress=progress,
                )
            except InputError as error:
                if len(found) == 1:
                    raise
                broken += 1
                typer.echo(f"Warning: {shown(error, None)}", err=True)
                continue
            if picture is not None:
                # It may have come while the model ran.
                check_picture_path(picture, "--picture", overwrite)
                result.save_picture(picture)
            if as_json:
                import json

                typer.echo(json.dumps({**result.as_dict(top_k), "picture": picture}, allow_nan=False))
            elif len(found) > 1:
                table.add(result)
    if not as_json and len(found) > 1:
        table.print()
    elif not as_json:
        print_comparison(result, top_k)
    if picture is not None and not as_json:
        typer.echo(f"\nWhich patches were computed in which frame: {shown(picture)}")
    if broken:
        typer.echo(f"Warning: {broken} of {len(found)} videos could not be used.", err=True)
        raise typer.Exit(1)


def _files(videos: list[str]) -> list[str]:
    """
    The videos that are named, and those in the folders that are named, in order.

    Raises:
        InputError: if a folder holds none.
    """
    found: list[str] = []
    for video in videos:
        if not os.path.isdir(video):
            found.append(video)
            continue
        paths, notes = videos_in(video)
        for note in notes:
            typer.echo(f"Warning: {shown(note, None)}", err=True)
        found += paths
    return found
