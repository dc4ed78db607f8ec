"""`hf-ttr calibrate`: the threshold that keeps a promise on the user's own videos."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from ..display import shown
from .errors import InputError, ends_quietly, first_line, sentence
from .loading import load_pipeline, quiet
from .options import Device, FrameSamplingRate, Mode, Model, NumFrames, Reduction, Wanted, check_at_least_1
from .progress import progress_bar


if TYPE_CHECKING:
    from ..evaluation.calibration import Calibration

RESULTS, SETTINGS, CURVE = "calibration.json", "temporal_reuse.json", "curve.png"


@ends_quietly
def calibrate(
    model: Model,
    videos: Annotated[str, typer.Option(metavar="DIR", help="Folder of videos like those to come.")],
    out: Annotated[str, typer.Option(metavar="DIR", help="Folder for calibration.json, curve.png and the settings.")],
    target_agreement: Annotated[
        float | None, typer.Option(help="Least share of the frames with the dense model's label.")
    ] = None,
    target_kl: Annotated[float | None, typer.Option(help="Largest mean KL from the dense scores, in nats.")] = None,
    confidence: Annotated[float, typer.Option(help="With which the target is promised.")] = 0.95,
    num_clips: Annotated[int, typer.Option(help="Clips of each video.")] = 2,
    num_frames: NumFrames = None,
    frame_sampling_rate: FrameSamplingRate = None,
    mode: Mode = None,
    reduction: Reduction = None,
    held_out: Annotated[float, typer.Option(help="Share of the videos that the choice is checked on.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Of the draw of these.")] = 0,
    update: Annotated[bool, typer.Option("--update", help="Write it into the model's config.json.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files of those names that no calibration wrote.")
    ] = False,
    device: Device = None,
) -> None:
    """Find the cheapest threshold that keeps a promise, on your own videos, and check it on others of them."""
    from ..evaluation import DataError, Protocol
    from ..evaluation import calibration as work
    from ..video import VideoDecodingError

    wanted = Wanted(None, None, mode, reduction, num_frames, frame_sampling_rate)
    check_at_least_1("num-clips", num_clips)
    if mode == "off":
        raise InputError("--mode is 'off', in which a threshold has no meaning; pass bidirectional or causal.")
    if not 0 <= held_out < 1:
        raise InputError(f"--held-out is {held_out:g}, but must be a share of at least 0 and below 1.")
    paths, notes = _videos(videos)
    _check_out(out, overwrite)
    config_path = os.path.join(model, "config.json")
    if update and not os.path.isfile(config_path):
        raise InputError(f"--update writes to a folder, but '{model}' is none; leave it out, and take it from --out.")
    try:
        target = work.Target(target_agreement, target_kl, confidence)
        with quiet():
            pipe = load_pipeline(model, wanted.settings, device)
            config = pipe.model.config
            frames = config.window_frames or num_frames or min(config.num_frames, 32)
            rate = wanted.rate or pipe.video_processor.frame_sampling_rate or 1
            protocol = Protocol(num_clips, 1, frames, rate)
            with progress_bar("videos", len(paths)) as progress:
                measured, broken = work.measure_videos(
                    pipe.model, pipe.video_processor, paths, protocol, progress=progress, target=target
                )
        for note in (*notes, *(f"{path} was left out: {why}" for path, why in broken.items())):
            typer.echo(f"Warning: {shown(note, None)}", err=True)
        if broken:
            typer.echo(f"Warning: {len(broken)} of {len(paths)} videos could not be used.", err=True)
        calibration = work.calibrate(measured, target, held_out, seed)
        calibration.broken = broken
    except (DataError, VideoDecodingError, ValueError) as error:
        raise InputError(sentence(error)) from error
    try:
        os.makedirs(out, exist_ok=True)
        _check_out(out, overwrite)
        _write(calibration, pipe.model.config.temporal_reuse, out, model)
        work.draw_curve(calibration, os.path.join(out, CURVE))
    except DataError as error:
        raise InputError(sentence(error)) from error
    except OSError as error:
        raise InputError(
            f"The results cannot be written to '{shown(out)}' ({first_line(error)}); pass another folder."
        ) from error
    if update:
        try:
            _update(config_path, calibration.threshold)
        except (OSError, ValueError) as error:
            raise InputError(
                f"The threshold cannot be written into '{shown(config_path)}' ({first_line(error)}); take it from "
                f"'{shown(out)}'."
            ) from error
    _print(calibration, out, config_path if update else None)


def _videos(folder: str) -> tuple[list[str], list[str]]:
    """The paths of the videos in a folder, and what the user should know of the rest."""
    from ..video import list_videos

    if not os.path.isdir(folder):
        raise InputError(f"The folder of videos '{shown(folder)}' does not exist; check the path.")
    listed = list_videos(folder)
    if not listed.videos:
        rest = f" (it has {len(listed.others)} other files)" if listed.others else ""
        raise InputError(f"The folder '{shown(folder)}' holds no video{rest}; pass another.")
    return [os.path.join(folder, *path.split("/")) for path in listed.videos], listed.notes()


def _check_out(folder: str, overwrite: bool) -> None:
    """
    Makes sure that a calibration of before is replaced, and nothing else.

    Raises:
        InputError: if there is something else.
    """
    from ..ownership import MARK

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


def _write(calibration: Calibration, settings: object, out: str, model: str) -> None:
    import copy

    from ..files import write_json
    from ..ownership import MARK

    chosen = copy.copy(settings)
    chosen.threshold, chosen.compute_budget = calibration.threshold, None  # type: ignore[attr-defined]
    write_json(os.path.join(out, RESULTS), {"made_by": MARK, "model": shown(model, None), **calibration.to_dict()})
    write_json(os.path.join(out, SETTINGS), chosen.to_dict())  # type: ignore[attr-defined]


def _update(path: str, threshold: float) -> None:
    from ..files import write_json

    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config["temporal_reuse"] = {**(config.get("temporal_reuse") or {}), "threshold": threshold, "compute_budget": None}
    write_json(path, config)


def _print(calibration: Calibration, out: str, updated: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 2, 0, 0), header_style="bold")
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
    if not calibration.threshold:
        typer.echo("No threshold keeps the promise; 0 computes everything. More videos narrow the bounds.")
    elif calibration.check is None:
        typer.echo(f"Threshold {calibration.threshold:g}; not checked on other videos.")
    else:
        check, kept = calibration.check, "kept" if calibration.is_kept else "NOT kept"
        typer.echo(
            f"Threshold {calibration.threshold:g}. On {len(calibration.held_out)} other videos the promise is {kept}: "
            f"agreement {check.agreement:.4f}, KL {check.kl:.5f}, {check.saving:.2f}x fewer multiply-adds."
        )
    typer.echo(f"{RESULTS}, {SETTINGS} and {CURVE} are in {shown(out)}")
    if updated is not None:
        typer.echo(f"The threshold is in {shown(updated)}")
