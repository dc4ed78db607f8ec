"""`hf-ttr visualize`: pictures, a video and a page that show what became of every token of a video."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..display import shown
from ..storage.ownership import TakenError, check_replaceable
from .errors import InputError, ends_quietly, first_line
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
    Video,
    Wanted,
    check_paths,
)


if TYPE_CHECKING:
    from .comparison import Comparison

PAGE = "index.html"
PICTURES = (
    ("reuse", "what was computed and what was reused", "reuse_map", "computed"),
    ("groups", "which tokens are one row, layer by layer", "group_map", "groups"),
    ("age", "how far away in time the computed token is", "age_map", "age"),
    ("error", "how much its embedding differs", "error_map", "error"),
)
"""Names of the pictures, what they show, what draws them, and which maps."""
SLOWEST, FASTEST = 2.0, 30.0
"""Frames per second at which videos and the page play."""


@ends_quietly
def visualize(
    video: Video,
    model: Model,
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Folder for what is drawn; made if it is not there.", show_default=False)
    ],
    threshold: Threshold = None,
    budget: Budget = None,
    mode: Mode = None,
    reduction: Reduction = None,
    num_frames: NumFrames = None,
    frame_sampling_rate: FrameSamplingRate = None,
    gif: Annotated[bool, typer.Option("--gif", help="Write the video as GIF, which plays anywhere.")] = False,
    overwrite: Overwrite = False,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Draw what became of every token of a video: a page for browsers, a video, and pictures for papers."""
    wanted = Wanted(threshold, budget, mode, reduction, num_frames, frame_sampling_rate, dtype)
    check_paths(model, video)
    kind = "gif" if gif else "mp4"
    _make_folder(out)
    for name in (PAGE, f"reuse.{kind}", *(f"{name}.png" for name, *_ in PICTURES)):
        _check(os.path.join(out, name), overwrite)

    from .comparison import Pipelines, compare
    from .report import progress_on_stderr

    with progress_on_stderr() as progress:
        pipelines = Pipelines.load(
            model,
            wanted.settings,
            with_dense=False,
            with_maps=True,
            device=device,
            dtype=dtype,
            progress=progress,
        )
        result = compare(
            video,
            pipelines,
            num_frames=num_frames,
            frame_sampling_rate=wanted.rate,
            with_maps=True,
            progress=progress,
        )
        drawn = []
        for name, what, draw in _drawings(result, kind):
            progress(f"Drawing {name}")
            path = os.path.join(out, name)
            # It may have come while the model ran.
            _check(path, overwrite)
            try:
                draw(path=path)
            except OSError as error:
                raise InputError(
                    f"'{shown(path)}' cannot be written ({error.strerror or first_line(error)}); pass another --out."
                ) from error
            drawn.append((path, what))
    typer.echo(f"{len(result.shown_frames)} frames of {shown(result.video, None)}, {_savings(result)}:")
    width = max(len(shown(path)) for path, _ in drawn)
    for path, what in drawn:
        typer.echo(f"{shown(path):{width}}  {what}")


def _check(path: str, overwrite: bool) -> None:
    try:
        check_replaceable(path, "--out", overwrite)
    except TakenError as error:
        raise InputError(str(error)) from None


def _drawings(result: Comparison, kind: str) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Names of files, what they show, and what writes them to its `path`."""
    from .. import visualization

    assert result.reuse.pixels is not None
    frames, maps, captions = result.reuse.pixels[result.shown_frames], result.maps, result.captions()
    options: dict[str, Any] = {"captions": captions, "prefix_tokens": result.prefix_tokens}
    fps = _frames_per_second(result)
    title = shown(f"{os.path.basename(result.video)}, {os.path.basename(os.path.normpath(result.model))}")

    yield (
        PAGE,
        "all of it, frame by frame and layer by layer; open it in a browser",
        partial(visualization.reuse_page, frames, maps, title=title, settings=_facts(result), fps=fps, **options),
    )
    yield (
        f"reuse.{kind}",
        "every frame, and what was computed of it",
        partial(visualization.reuse_video, frames, maps, fps=fps, **options),
    )
    for name, what, draw, values in PICTURES:
        drawing = getattr(visualization, draw)
        yield f"{name}.png", what, partial(drawing, frames, getattr(maps, values), **options)


def _facts(result: Comparison) -> dict[str, str]:
    """What the page lists beside the frames."""
    settings, label = result.settings, result.reuse.labels[0]
    facts = {
        "model": result.model,
        "label": f"{shown(label['label'])} ({label['score']:.2f})",
        "mode": settings["mode"],
    }
    for name in ("threshold", "compute_budget"):
        if settings[name] is not None and settings["mode"] != "off":
            facts[name.replace("compute_", "")] = f"{settings[name]:g}"
    for method in settings["reduction"]:
        parts = [f"{name} {value}" for name, value in method.items() if name != "method"]
        facts[method["method"]] = ", ".join(parts)
    return {**facts, "cost": _savings(result)}


def _savings(result: Comparison) -> str:
    assert result.multiply_adds is not None and result.dense_multiply_adds is not None
    ratio = result.dense_multiply_adds / result.multiply_adds
    return f"{result.computed_share:.1%} of the tokens computed, {ratio:.1f}x fewer multiply-adds"


def _frames_per_second(result: Comparison) -> float:
    """As fast as what the video shows, where its frame rate is known and no one would get dizzy."""
    shown = [result.frame_indices[index] for index in result.shown_frames]
    if not result.info.fps or len(shown) < 2 or shown[-1] == shown[0]:
        return SLOWEST
    rate = result.info.fps * (len(shown) - 1) / (shown[-1] - shown[0])
    return min(max(rate, SLOWEST), FASTEST)


def _make_folder(path: str) -> None:
    """
    Makes the folder for what is drawn, before anything long is begun.

    Raises:
        InputError: if that is not possible, or nothing can be written there.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if os.path.isfile(path) else error.strerror or first_line(error)
        raise InputError(f"The folder '{shown(path)}' cannot be made ({reason}); pass another --out.") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"Writing to the folder '{shown(path)}' is not permitted; pass another --out.")
