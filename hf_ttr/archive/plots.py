"""A picture of an archive: its labels, what was computed, how far from the dense model, and its errors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

from ..display import shown
from ..evaluation.held_folder import unwritten
from ..evaluation.metadata import DataError
from ..storage.files import replacing
from ..storage.ownership import MARK, is_ours
from ..visualization.sheet import COMPUTED_COLOUR, REUSED_COLOUR, TEXT_COLOUR, Colour
from .summary import DIVERGENCE_EDGES, SHARE_EDGES, Summary


PICTURE = "report.png"

_LONGEST = 28
"""Characters of a label."""


def save_plots(summary: Summary, folder: str | os.PathLike[str]) -> str:
    """
    Draws labels, computed shares, divergences of the checks and errors to a PNG, `report.png`.

    Args:
        summary: what to draw.
        folder: where to; it has to be there.

    Returns:
        `str`: the path of the picture.

    Raises:
        DataError: if matplotlib is not installed, the picture cannot be written, or a file of that name is another's;
            one sentence.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("the plots are drawn with matplotlib; pip install matplotlib.") from error
    path = os.path.join(folder, PICTURE)
    if os.path.lexists(path) and not is_ours(path):
        raise DataError(
            f"'{shown(path)}' is there already, and was not made by hf-ttr; rename it, and the report is drawn."
        )
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    (labels, shares), (divergences, failures) = figure.subplots(2, 2)
    computed, grey = _hex(COMPUTED_COLOUR), "#8a919c"
    _horizontal(labels, [(_word(label), count) for label, count in summary.labels], computed)
    _finish(labels, "best labels", "videos", "no labels" if not summary.labels else None)
    starts, width = SHARE_EDGES[:-1], SHARE_EDGES[1] - SHARE_EDGES[0]
    shares.bar(starts, summary.share_counts, width, align="edge", color=computed, edgecolor="white")
    shares.set_xlim(0, 1)
    shares.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    if summary.computed_share is not None:
        mean = f"all together {100 * summary.computed_share:.1f} %"
        shares.axvline(summary.computed_share, color=_hex(TEXT_COLOUR), linestyle=":", label=mean)
        shares.legend(fontsize=8, frameon=False)
    _finish(shares, "computed tokens of a video", None, None if any(summary.share_counts) else "no tokens counted")
    counts = summary.checks.counts if summary.checks is not None else ()
    divergences.bar(range(len(counts)), counts, color=computed, edgecolor="white")
    names = [f"{'below' if number == 0 else 'from'} {edge:g}" for number, edge in enumerate(_divergence_names())]
    divergences.set_xticks(range(len(counts)), names[: len(counts)], rotation=40, ha="right")
    title = "divergence from the dense model"
    _finish(divergences, title, None, None if counts else "no checks")
    _horizontal(failures, [(kind, failure.videos) for kind, failure in summary.failures.items()], grey)
    _finish(failures, "errors", "videos", None if summary.failures else "no errors")
    for axis in (shares, divergences):
        axis.set_ylabel("videos", color=_hex(TEXT_COLOUR))
    try:
        with replacing(path) as temporary, warnings.catch_warnings():
            # Of labels in scripts that the font has not, boxes are drawn.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure.savefig(temporary, dpi=110, metadata={"Software": MARK})
    except OSError as error:
        raise unwritten(path, error) from error
    return path


def _divergence_names() -> Sequence[float]:
    """The first bar is of what is below its upper edge."""
    return (DIVERGENCE_EDGES[1], *DIVERGENCE_EDGES[1:-1])


def _horizontal(axis: Any, bars: Sequence[tuple[str, int]], colour: str) -> None:
    """Bars from the top to the bottom."""
    axis.barh(range(len(bars)), [count for _, count in bars], color=colour)
    axis.set_yticks(range(len(bars)), [name for name, _ in bars])
    axis.invert_yaxis()
    axis.xaxis.get_major_locator().set_params(integer=True)


def _finish(axis: Any, title: str, across: str | None, nothing: str | None) -> None:
    """Titles and lines of a plot, or why there is nothing in it."""
    axis.set_title(title, color=_hex(TEXT_COLOUR), fontsize=11, loc="left")
    axis.tick_params(labelsize=8, colors=_hex(TEXT_COLOUR))
    for name, spine in axis.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(_hex(REUSED_COLOUR))
    if across is not None:
        axis.set_xlabel(across, color=_hex(TEXT_COLOUR))
    axis.grid(axis="y" if across is None else "x", color=_hex(REUSED_COLOUR))
    axis.set_axisbelow(True)
    if nothing is not None:
        axis.set_axis_off()
        axis.text(0.5, 0.5, nothing, ha="center", va="center", transform=axis.transAxes, color=_hex(TEXT_COLOUR))


def _word(label: str) -> str:
    """A label in the picture, where dollars would begin a formula."""
    return shown(label, _LONGEST).replace("$", r"\$")


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


__all__ = ["PICTURE", "save_plots"]
