"""`hf-ttr evaluate`: a model on a data set, with reuse and dense, on one process or many."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..cards.text import command_line
from ..display import shown
from ..video.sampling import rate_in_force
from .errors import InputError, ends_quietly, sentence
from .loading import load_pipeline, quiet
from .options import (
    Budget,
    Device,
    Dtype,
    FrameSamplingRate,
    Mode,
    Model,
    NumFrames,
    Reduction,
    Threshold,
    Wanted,
    check_at_least_1,
    check_model_frames,
    check_paths,
)
from .processes import end_with_parent, launch
from .progress import progress_bar


if TYPE_CHECKING:
    from ..evaluation import Evaluation

Dataset = Annotated[
    str,
    typer.Option(
        metavar="DIR|ID",
        help="Folder of videos, as datasets' videofolder takes it (CLASS/VIDEO), or id of a data set on the Hub.",
        show_default=False,
    ),
]


@ends_quietly
def evaluate(
    model: Model,
    dataset: Dataset,
    out: Annotated[
        str,
        typer.Option(metavar="DIR", help="Folder for the results; goes on with what is there.", show_default=False),
    ],
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Part of the data set, such as test.")] = None,
    num_clips: Annotated[int, typer.Option(metavar="N", help="Clips of each video, spread over it.")] = 1,
    views: Annotated[
        int,
        typer.Option(metavar="1|3", help="Views of each clip: 1, or 3 squares along the longer side of its frames."),
    ] = 1,
    num_frames: NumFrames = None,
    frame_sampling_rate: FrameSamplingRate = None,
    batch_size: Annotated[int, typer.Option(metavar="N", help="Videos in one call of the model.")] = 4,
    threshold: Threshold = None,
    budget: Budget = None,
    mode: Mode = None,
    reduction: Reduction = None,
    compare_dense: Annotated[bool, typer.Option(help="Run the dense model as well, and compare.")] = True,
    num_processes: Annotated[
        int | None, typer.Option(metavar="N", help="Processes to spread the videos over; by default this one.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Host that rows of the data set may lead to; repeatable.")
    ] = None,
    allow_folder: Annotated[
        list[str] | None, typer.Option(metavar="DIR", help="Folder that rows may lead to; repeatable.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 1 if a video cannot be read.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Evaluate a model on a data set: accuracy, agreement with the dense model, cost; a row for each video."""
    wanted = Wanted(threshold, budget, mode, reduction, num_frames, frame_sampling_rate, dtype)
    for name, value in (("num-clips", num_clips), ("batch-size", batch_size), ("num-processes", num_processes)):
        check_at_least_1(name, value)
    if views not in (1, 3):
        raise InputError(f"--views is {views}, but must be 1, or 3 squares along the longer side.")
    if _is_launched():
        end_with_parent()
    else:
        check_paths(model)
        if dataset.startswith((".", "/", "~")) and not os.path.exists(dataset):
            raise InputError(
                f"The data set '{shown(dataset)}' is no folder; pass one with videos, or the id of a data set."
            )
        if num_processes is not None and num_processes > 1:
            raise typer.Exit(launch("hf_ttr.evaluate", _arguments(), num_processes))

    from ..evaluation import DataError, Protocol, describe, open_dataset
    from ..evaluation import evaluate as run
    from ..evaluation.runner import ElsewhereError
    from ..video import VideoDecodingError

    is_main = _check_processes(num_processes)
    try:
        with quiet():
            videos = open_dataset(dataset, split, allowed_hosts=allow_host or (), allowed_folders=allow_folder or ())
            if is_main:
                for note in videos.notes:
                    typer.echo(f"Warning: {note}", err=True)
            pipe = load_pipeline(model, wanted.settings, device, dtype=dtype)
            config, processor = pipe.model.config, pipe.video_processor
            rate = rate_in_force(wanted.rate, processor)
            check_model_frames(num_frames, model, config.window_frames)
            protocol = Protocol(num_clips, views, num_frames or config.num_frames, rate)
            about = describe(pipe.model, videos, protocol, batch_size, compare_dense, model)
            with progress_bar("videos", videos.size, is_main) as progress:
                settings = (batch_size, compare_dense, about, command_line(["hf-ttr", "evaluate", *_arguments()]))
                done = run(pipe.model, processor, videos, out, protocol, *settings, progress)
    except ElsewhereError as error:
        raise typer.Exit(2) from error
    except (DataError, VideoDecodingError) as error:
        raise InputError(sentence(error)) from error
    finally:
        _leave_group()
    if done is None:
        return
    from ..cards.figures import settings_in_force

    _report(done, settings_in_force(config.temporal_reuse, config.plans_windows), as_json)
    if done.broken and strict:
        raise typer.Exit(1)


def _arguments() -> list[str]:
    """Of the command; the program has its name in front of them, and the module has not."""
    return sys.argv[2:] if sys.argv[1:2] == ["evaluate"] else sys.argv[1:]


def _is_launched() -> bool:
    """Whether torchrun or accelerate started this process."""
    return "WORLD_SIZE" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def _check_processes(wanted: int | None) -> bool:
    """
    Makes sure that there are as many processes as were asked for; returns whether this is the main one.

    Raises:
        InputError: if there are fewer.
    """
    try:
        import torch
        from accelerate import PartialState
    except ImportError as error:
        raise InputError(
            "Evaluation needs the package accelerate; pip install accelerate, or hf-ttr with its extra evaluation."
        ) from error
    if torch.distributed.is_available():
        # Before there is a group: the defaults of its functions are the group at their import, and keep it for ever.
        importlib.import_module("torch.distributed.nn.functional")
    state = PartialState(cpu=not torch.cuda.is_available())
    asked = wanted or _asked_of_accelerate()
    if asked is not None and state.num_processes < asked:
        # accelerate starts a single process on the CPU, whatever it is asked for, and says nothing.
        raise InputError(
            f"{asked} processes were asked for, but there {'is' if state.num_processes == 1 else 'are'} "
            f"{state.num_processes}; use torchrun --nproc_per_node {asked} -m hf_ttr.evaluate, or --num-processes "
            "alone."
        )
    return bool(state.is_main_process)


def _leave_group() -> None:
    """Ends what connects the processes; its threads can abort a process that ends while they run."""
    from accelerate import PartialState

    PartialState().destroy_process_group()


def _asked_of_accelerate() -> int | None:
    """How many processes the command line of `accelerate launch` asks for, where that is what started this one."""
    import psutil

    try:
        command = psutil.Process().parent().cmdline()
    except (psutil.Error, AttributeError):
        return None
    if not any("accelerate" in part for part in command[:3]) or "launch" not in command:
        return None
    for number, part in enumerate(command):
        name, _, value = part.partition("=")
        if name in ("--num_processes", "--num-processes"):
            value = value or (command[number + 1] if number + 1 < len(command) else "")
            # What comes behind the script is its own.
            return int(value) if value.isdigit() and "hf_ttr.evaluate" not in command[:number] else None
    return None


def _report(done: Evaluation, settings: dict[str, Any], as_json: bool) -> None:
    """Prints what the run gave to stdout, and the broken videos to stderr."""
    import json

    from .evaluation_table import print_evaluation

    if as_json:
        typer.echo(json.dumps(done.summary, allow_nan=False))
    else:
        print_evaluation(done, settings)
    for row in done.broken:
        typer.echo(f"Warning: {shown(row.video)} was left out: {shown(row.error)}", err=True)
    if done.broken:
        typer.echo(f"Warning: {len(done.broken)} of {len(done.rows)} videos could not be read.", err=True)
