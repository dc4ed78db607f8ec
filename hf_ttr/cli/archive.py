"""`hf-ttr archive`: every video of a folder, a bucket or a list becomes a row of a table, here or on a cluster."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from ..display import shown, without_secrets
from .command import IMPORTS
from .errors import InputError, ends_quietly, sentence
from .label_options import ChosenLabels, Labels, Template, as_label_options
from .options import (
    Budget,
    Device,
    Dtype,
    FrameSamplingRate,
    Mode,
    Reduction,
    Threshold,
    Wanted,
    as_path,
    check_at_least_1,
    check_paths,
)


if TYPE_CHECKING:
    from ..archive.summary import Summary
    from .progress import Progress


@ends_quietly
def archive(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="Folder of videos, a pattern such as '/archive/**/*.mp4', a file with a list of paths (.txt, .csv, "
            ".jsonl, .parquet), or an address such as s3://bucket/videos.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Folder or Hub id of an image or video classifier, plain or with reuse, or with --labels of a model "
            "with a text tower; or example:vit-demo.",
            show_default=False,
            callback=as_path,
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="DIR", help="Folder for the results.", show_default=False)] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is in --out; what is done is not done again.")
    ] = False,
    report: Annotated[
        str | None, typer.Option(metavar="DIR", help="Say, and draw, what the results in DIR hold; nothing is run.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the results hold as JSON.")] = False,
    verify: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the videos that the dense model sees as well.")
    ] = 0.0,
    num_clips: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Look at N clips of --num-frames of each video.",
            show_default="the whole video",
        ),
    ] = None,
    views: Annotated[
        int, typer.Option(metavar="1|3", help="Views of each frame: 1, or 3 squares along its longer side.")
    ] = 1,
    num_frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Frames of a clip; of a whole video, those that go through the model at a time.",
            show_default="the model's; of a whole video 32",
        ),
    ] = None,
    frame_sampling_rate: FrameSamplingRate = None,
    labels: Labels = None,
    template: Template = None,
    top_k: Annotated[int, typer.Option(metavar="N", help="Labels of a video.")] = 5,
    threshold: Threshold = None,
    budget: Budget = None,
    mode: Mode = None,
    reduction: Reduction = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Ray cluster to run on, such as auto or 10.0.0.1:6379.",
            show_default="this machine",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Processes with a model each.", show_default="one for each GPU, or CPU"),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(metavar="N", help="GPUs of each of them; may be a part.", show_default="1 where there are any"),
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Videos that one of them gets at a time.")] = 32,
    pack: Annotated[
        int | None,
        typer.Option(metavar="N", help="Videos in one call of the model.", show_default="1, on a GPU 4"),
    ] = None,
    decoders: Annotated[int, typer.Option(metavar="N", help="Processes that decode for each model.")] = 1,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="After which a decoder that gives nothing is ended.")
    ] = 120.0,
    memory_limit: Annotated[float, typer.Option(metavar="GIB", help="Memory that a decoder may take.")] = 4.0,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 1 if a video has no result.")] = False,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Make one row of every video: labels and what they cost, or why there are none. Ray runs it, here or not."""
    if report is not None:
        if source is not None or model is not None or out is not None or resume:
            raise InputError("--report reads results that are there; leave out SOURCE, MODEL, --out and --resume.")
        _report(report, as_json)
        return
    if source is None or model is None or out is None:
        missing = "SOURCE" if source is None else "MODEL" if model is None else "--out"
        raise InputError(
            f"{missing} is missing; write hf-ttr archive SOURCE MODEL --out DIR, or hf-ttr archive --report DIR."
        )
    wanted = Wanted(threshold, budget, mode, reduction, num_frames, frame_sampling_rate, dtype)
    counts = (("workers", workers), ("batch-size", batch_size), ("pack", pack), ("decoders", decoders))
    for name, value in (*counts, ("num-clips", num_clips), ("top-k", top_k)):
        check_at_least_1(name, value)
    # An infinity of GiB is no number of bytes.
    if not (memory_limit > 0 and math.isfinite(memory_limit * 2**30)):
        raise InputError(f"--memory-limit is {memory_limit:g}, but must be a positive number of GiB.")
    check_paths(model)
    chosen = ChosenLabels.of(labels, template)

    from ..archive import ArchiveOptions, LabelOptions, Workers
    from ..archive.engine import import_ray, run_archive
    from ..archive.sources import find_paths
    from ..evaluation.metadata import DataError
    from .loading import quiet
    from .progress import progress_bar

    try:
        import_ray()
        options = ArchiveOptions(
            views=views,
            num_clips=num_clips,
            num_frames=num_frames,
            frame_sampling_rate=wanted.rate,
            temporal_reuse=wanted.settings,
            verify=verify,
            pack=pack,
            decoders=decoders,
            time_limit=time_limit,
            memory_limit=int(memory_limit * 2**30),
            device=device,
            dtype=dtype,
        )
        on = Workers(workers, gpus, batch_size=batch_size, address=address, imports=IMPORTS.get())
        found = find_paths(source)
        for note in found.notes:
            typer.echo(f"Warning: {shown(note, None)}", err=True)
        with quiet(), progress_bar("videos", len(found.paths)) as progress:
            wanted_labels = LabelOptions(top_k, **({} if chosen is None else asdict(chosen)))
            run_archive(found.paths, model, out, options, on, wanted_labels, resume, _with_rate(progress))
    except (DataError, ImportError, ValueError) as error:
        raise InputError(sentence(as_label_options(str(error)))) from error
    except KeyboardInterrupt:
        typer.echo(f"Stopped; what is done is in {shown(out)}. The same command with --resume goes on.", err=True)
        raise
    errors = _report(out, as_json)
    if strict and errors:
        raise typer.Exit(1)


def _with_rate(progress: Progress) -> Callable[[int, int, int], None]:
    """Says how many videos are done in an hour, and how many have an error."""
    began: tuple[float, int] | None = None

    def show(done: int, errors: int, _: int) -> None:
        nonlocal began
        # What was there before is not of this run.
        began = began or (time.monotonic(), done)
        hours = (time.monotonic() - began[0]) / 3600
        rate = f"{(done - began[1]) / hours:,.0f} an hour" if done > began[1] else ""
        progress(done, f"{rate}{f', {errors} errors' if errors else ''}")

    return show


def _report(folder: str, as_json: bool) -> int:
    """Prints and draws what results hold; returns how many videos have none."""
    import json

    from ..archive.report import print_report, save_plots, summarise
    from ..evaluation.metadata import DataError

    try:
        summary = summarise(folder)
    except DataError as error:
        raise InputError(sentence(error)) from error
    if as_json:
        typer.echo(json.dumps({**asdict(_without_secrets(summary)), "failed": summary.failed}, allow_nan=False))
    else:
        print_report(summary)
    try:
        picture = save_plots(summary, folder)
    except DataError as error:
        # What was asked for is there already.
        typer.echo(f"Warning: {shown(sentence(error), None)}", err=True)
    else:
        typer.echo(f"The same as a picture: {shown(picture)}", err=True)
    return summary.failed


def _without_secrets(summary: Summary) -> Summary:
    """Figures whose addresses may be shown to anybody, as those on the terminal."""
    failures = {
        kind: replace(failure, path=without_secrets(failure.path), error=without_secrets(failure.error))
        for kind, failure in summary.failures.items()
    }
    checks = summary.checks and replace(summary.checks, worst_path=without_secrets(summary.checks.worst_path))
    return replace(summary, failures=failures, checks=checks)
