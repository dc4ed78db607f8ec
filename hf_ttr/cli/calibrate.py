"""`hf-ttr calibrate`: the threshold that keeps a promise on the user's own videos."""

from __future__ import annotations

import json
import math
import os
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from ..display import shown
from ..tables import plain_table
from ..video.sampling import rate_in_force
from .errors import InputError, ends_quietly, first_line, sentence
from .loading import load_pipeline, quiet
from .options import (
    Device,
    Dtype,
    FrameSamplingRate,
    Mode,
    Model,
    NumFrames,
    Reduction,
    Wanted,
    check_at_least_1,
    check_paths,
)
from .progress import progress_bar
from .videos import videos_in


if TYPE_CHECKING:
    from ..answers.promise import Target
    from ..configuration import TemporalReuseConfig
    from ..evaluation.calibration import Calibration, Point

RESULTS, SETTINGS, CURVE = "calibration.json", "temporal_reuse.json", "curve.png"


@ends_quietly
def calibrate(
    model: Model,
    videos: Annotated[
        str, typer.Option(metavar="DIR", help="Folder of videos like those to come.", show_default=False)
    ],
    out: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="Folder for calibration.json, curve.png, the settings and what was measured; goes on with what is "
            "there.",
            show_default=False,
        ),
    ],
    target_agreement: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Least share of the frames with the dense model's label.")
    ] = None,
    target_kl: Annotated[
        float | None,
        typer.Option(metavar="NATS", help="Largest mean KL divergence from the scores of the dense model."),
    ] = None,
    confidence: Annotated[
        float, typer.Option(metavar="SHARE", help="Confidence with which the target is promised, above 0.5.")
    ] = 0.95,
    num_clips: Annotated[int, typer.Option(metavar="N", help="Clips of each video.")] = 2,
    num_frames: NumFrames = None,
    frame_sampling_rate: FrameSamplingRate = None,
    mode: Mode = None,
    reduction: Reduction = None,
    held_out: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the videos that check the choice; 0 for no check.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the draw of the videos that check the choice.")] = 0,
    update: Annotated[
        bool, typer.Option("--update", help="Write the threshold into the model's config.json if it keeps the target.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of those names that no calibration wrote.")
    ] = False,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Find the cheapest threshold that keeps a promise, on your own videos, and check it on others of them.

    Exit code 1 if no threshold keeps it, or the chosen one does not on the others.
    """
    from ..answers.promise import Target

    wanted = Wanted(None, None, mode, reduction, num_frames, frame_sampling_rate, dtype)
    check_paths(model)
    check_at_least_1("num-clips", num_clips)
    if mode == "off":
        raise InputError("--mode is 'off', in which a threshold has no meaning; pass bidirectional or causal.")
    if not 0 <= held_out < 1:
        raise InputError(f"--held-out is {held_out:g}, but must be a share of at least 0 and below 1.")
    if seed < 0:
        raise InputError(f"--seed is {seed}, but must be at least 0.")
    try:
        target = Target(target_agreement, target_kl, confidence)
    except ValueError as error:
        raise InputError(sentence(error)) from error
    if find_spec("matplotlib") is None:
        raise InputError("The curve is drawn with matplotlib; pip install matplotlib.")
    config_path = os.path.join(model, "config.json")
    if update and not os.path.isfile(config_path):
        raise InputError(f"--update writes to a folder, but '{model}' is none; leave it out, and take it from --out.")
    if not os.path.isdir(videos):
        raise InputError(f"The folder of videos '{shown(videos)}' does not exist; check the path.")
    paths, notes = videos_in(videos)
    _check_out(out, overwrite)

    from ..evaluation import DataError, Protocol
    from ..evaluation import calibration as work
    from ..evaluation.measurements import MEASUREMENTS, MeasurementFiles
    from ..video import VideoDecodingError

    try:
        chosen_on = work.videos_to_choose_on(len(paths), held_out)
        _make(out)
        with quiet():
            pipe = load_pipeline(model, wanted.settings, device, dtype=dtype)
            config = pipe.model.config
            frames = config.window_frames or num_frames or min(config.num_frames, 32)
            # A model of windows has one answer for each.
            answers = num_clips if config.window_frames else num_clips * frames
            _say_what_it_takes(target, len(paths), chosen_on, num_clips, answers, bool(config.window_frames))
            rate = rate_in_force(wanted.rate, pipe.video_processor)
            protocol = Protocol(num_clips, 1, frames, rate)
            folder = os.path.join(out, MEASUREMENTS)
            files = MeasurementFiles(folder, pipe.model, pipe.video_processor, protocol, work.THRESHOLDS)
            with progress_bar("videos", len(paths)) as progress:
                settings = (protocol, work.THRESHOLDS, progress, target, files)
                measured, broken = work.measure_videos(pipe.model, pipe.video_processor, paths, *settings)
        for note in (*notes, *(f"{path} was left out: {why}" for path, why in broken.items())):
            typer.echo(f"Warning: {shown(note, None)}", err=True)
        if broken:
            typer.echo(f"Warning: {len(broken)} of {len(paths)} videos could not be used.", err=True)
        calibration = work.calibrate(measured, target, held_out, seed)
        calibration.broken = broken
    except (DataError, VideoDecodingError, ValueError) as error:
        raise InputError(sentence(error)) from error
    try:
        _check_out(out, overwrite)
        _write(calibration, pipe.model.config.temporal_reuse if calibration.holds else None, out, model)
        work.draw_curve(calibration, os.path.join(out, CURVE))
    except DataError as error:
        raise InputError(sentence(error)) from error
    except OSError as error:
        raise _unwritten(out, error) from error
    if update and calibration.holds:
        try:
            _update(config_path, calibration.threshold)
        except (OSError, ValueError) as error:
            raise InputError(
                f"The threshold cannot be written into '{shown(config_path)}' ({first_line(error)}); take it from "
                f"'{shown(out)}'."
            ) from error
    _print(calibration, out)
    if update:
        where = shown(config_path)
        typer.echo(f"The threshold is in {where}" if calibration.holds else f"{where} is as it was")
    if not calibration.holds:
        raise typer.Exit(1)


def _say_what_it_takes(
    target: Target, videos: int, chosen_on: int, num_clips: int, answers: int, is_window_model: bool
) -> None:
    """
    Says on how many frames the threshold is chosen, and how many the target takes.

    Args:
        target: what is to be promised.
        videos, chosen_on: how many there are, and on how many of them the threshold is chosen.
        num_clips: of each video.
        answers: of the model on each video.
        is_window_model: whether it answers for clips, and not for frames.

    Raises:
        InputError: if these are too few, whatever is measured of them.
    """
    if target.agreement is None:
        return
    there, needed = chosen_on * answers, target.frames_needed
    unit = "clips" if is_window_model else "frames"
    rest = "" if chosen_on == videos else " (the others check the choice)"
    each = f"{num_clips} clip" + ("s" if num_clips > 1 else "")
    each += "" if is_window_model else f" x {answers // num_clips} frames"
    promise = f"an agreement of {target.agreement:g} with {100 * target.confidence:g} % confidence"
    takes = f"{promise} takes at least {needed:,} {unit}"
    are = f"{chosen_on} of {videos} videos{rest} x {each} are {there:,}"
    if there >= needed:
        typer.echo(f"To promise {takes}, more if some differ; {are}.", err=True)
        return
    share = chosen_on / videos
    highest = math.floor(10_000 * target.highest_agreement(there)) / 10_000
    lower = f", or --target-agreement {highest:g} at most" if highest > 0 else ""
    raise InputError(
        f"To promise {takes}, but {are}; pass --num-clips {math.ceil(needed * num_clips / there)}, or some "
        f"{math.ceil(needed / answers / share)} videos{lower}."
    )


def _make(folder: str) -> None:
    """
    Makes the folder for the results, and sees whether they can be written to it.

    Raises:
        InputError: if they cannot.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritten(folder, error) from error


def _unwritten(folder: str, error: OSError) -> InputError:
    return InputError(
        f"The results cannot be written to '{shown(folder)}' ({error.strerror or first_line(error)}); pass another "
        "folder."
    )


def _check_out(folder: str, overwrite: bool) -> None:
    """
    Makes sure that a calibration of before is replaced, and nothing else.

    Raises:
        InputError: if there is something else.
    """
    from ..storage.ownership import MARK

    try:
        with open(os.path.join(folder, RESULTS), encoding="utf-8") as file:
            is_ours = json.load(file)["made_by"] == MARK
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        is_ours = False
    taken = [name for name in (RESULTS, SETTINGS, CURVE) if os.path.lexists(os.path.join(folder, name))]
    if taken and not is_ours and not overwrite:
        raise InputError(
            f"'{shown(os.path.join(folder, taken[0]))}' is there already, and is of no calibration; pass another "
            "--out, or --overwrite to replace it."
        )


def _write(calibration: Calibration, settings: TemporalReuseConfig | None, out: str, model: str) -> None:
    """Writes what came of it; without settings, those of a calibration of before go."""
    import copy

    from ..storage.files import write_json
    from ..storage.ownership import MARK

    path = os.path.join(out, SETTINGS)
    write_json(os.path.join(out, RESULTS), {"made_by": MARK, "model": shown(model, None), **calibration.to_dict()})
    if settings is None:
        with suppress(FileNotFoundError):
            os.unlink(path)
        return
    chosen = copy.copy(settings)
    chosen.threshold, chosen.compute_budget = calibration.threshold, None
    write_json(path, chosen.to_dict())


def _update(path: str, threshold: float | None) -> None:
    from ..storage.files import write_json

    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config["temporal_reuse"] = {**(config.get("temporal_reuse") or {}), "threshold": threshold, "compute_budget": None}
    write_json(path, config)


def _print(calibration: Calibration, out: str) -> None:
    from rich.console import Console

    table = plain_table()
    bound = f"{calibration.target.confidence:.0%} bound"
    for heading in ("threshold", "agreement", bound, "KL", bound, "multiply-adds"):
        table.add_column(heading, justify="right")
    for point in calibration.curve:
        table.add_row(
            f"{point.threshold:g}",
            f"{point.agreement:.4f}",
            f"{point.agreement_bound:.4f}",
            f"{point.kl:.5f}",
            f"{point.kl_bound:.5f}",
            f"{point.saving:.2f}x fewer",
            style="bold" if point.threshold == calibration.threshold else None,
        )
    Console().print(table)
    typer.echo("")
    typer.echo(_verdict(calibration))
    names = f"{RESULTS}, {SETTINGS} and {CURVE}" if calibration.holds else f"{RESULTS} and {CURVE}"
    typer.echo(f"{names} are in {shown(out)}")


def _verdict(calibration: Calibration) -> str:
    """What can be promised, and what it would take where that is not enough."""
    target, best, check = calibration.target, calibration.best, calibration.check
    confidence = f"with {100 * target.confidence:g} % confidence"
    if calibration.threshold is None:
        growth = calibration.growth
        more = "More videos would not help: what was measured there is itself no better than the target."
        if growth is not None:
            more = (
                f"About {math.ceil(growth * len(calibration.videos)):,} videos to choose on, in place of "
                f"{len(calibration.videos)}, would be enough if the same were measured of them."
            )
        return (
            f"No threshold keeps the promise. The lowest that was tried, {best.threshold:g}, can promise "
            f"{_bounds(target, best)} {confidence}. {more}"
        )
    chosen = next(point for point in calibration.curve if point.threshold == calibration.threshold)
    promise = f"Threshold {chosen.threshold:g}: {_bounds(target, chosen)} {confidence}"
    if check is None:
        return f"{promise}; not checked on other videos."
    kept = "kept" if calibration.is_kept else "NOT kept"
    return (
        f"{promise}. On {len(calibration.held_out)} other videos the promise is {kept}: agreement "
        f"{check.agreement:.4f}, KL {check.kl:.5f}, {check.saving:.2f}x fewer multiply-adds."
    ) + ("" if calibration.is_kept else " More videos to choose on tell better; without them, ask for less.")


def _bounds(target: Target, point: Point) -> str:
    """What a point of the curve can promise, rounded to what is safe."""
    parts = []
    if target.agreement is not None:
        # Of few videos the bound may lie below what any share is.
        parts.append(f"an agreement of {max(math.floor(1e4 * point.agreement_bound) / 1e4, 0):.4f}")
    if target.kl is not None:
        is_number = math.isfinite(point.kl_bound)
        parts.append(f"a KL of {math.ceil(1e5 * point.kl_bound) / 1e5:.5f}" if is_number else "no KL")
    return " and ".join(parts)
