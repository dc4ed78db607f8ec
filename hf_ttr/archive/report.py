"""The report of an archive: tables on the terminal, and a picture."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from ..cards.text import large, small
from ..display import shown
from ..evaluation.held_folder import unwritten
from ..evaluation.metadata import DataError
from ..storage.files import replacing
from ..storage.ownership import MARK
from ..tables import plain_table, ratio
from ..visualization.sheet import COMPUTED_COLOUR, REUSED_COLOUR, TEXT_COLOUR, Colour, percent
from .summary import DIVERGENCE_EDGES, SHARE_EDGES, Checks, Summary, summarise


PICTURE = "report.png"

SHOWN_LABELS = 10
"""Labels in the table; the picture has more."""

_LONGEST = 28
"""Characters of a label in the picture."""


def print_report(summary: Summary) -> None:
    """Prints figures, labels and errors to stdout."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    model = summary.about.get("model")
    name = f", model {model}" if isinstance(model, str) else ""
    console.print(
        Text(shown(f"{_count(summary.videos, 'video')} in {summary.folder}{name}", None), "bold"), soft_wrap=True
    )
    for rows, headings in (
        (_figures(summary), ("", "", "")),
        (_labels(summary), ("label", "videos", "")),
        (_failures(summary), ("error", "videos", "for example")),
    ):
        if not rows:
            continue
        table = plain_table()
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in rows:
            # Paths and labels are text, not markup.
            table.add_row(*(Text(shown(cell)) for cell in row))
        console.print()
        console.print(table)
    console.print()
    for remark in _remarks(summary):
        console.print(Text(remark, "dim"))


Row = tuple[str, str, str]


def _figures(summary: Summary) -> list[Row]:
    good = summary.videos - summary.failed
    rows = [("videos with a result", f"{good:,}", percent(good / summary.videos) if summary.videos else "")]
    if not good:
        return rows
    speed = summary.times_real_time
    rows += [
        ("frames", f"{summary.frames:,}", ""),
        ("length", _span(summary.video_seconds), ""),
        ("model time", _span(summary.seconds), "" if speed is None else f"{_rounded(speed)} h of video per hour"),
        ("decoding beside it", _span(summary.decoding_seconds), ""),
    ]
    if summary.computed_share is not None:
        rows.append(("tokens computed", f"{100 * summary.computed_share:.1f} %", ""))
    if summary.multiply_adds and summary.dense_multiply_adds:
        before, after = summary.dense_multiply_adds, summary.multiply_adds
        rows.append(("multiply-adds", large(after), f"{ratio(before / after, 'fewer', 'more')} than {large(before)}"))
    return rows if summary.checks is None else rows + _checks(summary.checks)


def _checks(checks: Checks) -> list[Row]:
    rows = [("dense checks", f"{checks.videos:,}", f"{_span(checks.seconds)} of the dense model")]
    if checks.agreement is not None:
        low, high = checks.agreement
        bounds = f"({100 * low:.1f} to {100 * high:.1f})"
        rows.append(("same answer", f"{100 * checks.same_answers / checks.answers:.1f} %", bounds))
    worst = f"worst {small(checks.worst_divergence)}: {checks.worst_path}"
    return [*rows, ("divergence", small(checks.mean_divergence), worst)]


def _labels(summary: Summary) -> list[Row]:
    good = max(summary.videos - summary.failed, 1)
    return [(label, f"{count:,}", percent(count / good)) for label, count in summary.labels[:SHOWN_LABELS]]


def _failures(summary: Summary) -> list[Row]:
    return [
        (
            kind,
            f"{failure.videos:,}",
            failure.error if failure.path in failure.error else f"{failure.path}: {failure.error}",
        )
        for kind, failure in summary.failures.items()
    ]


def _remarks(summary: Summary) -> Iterator[str]:
    if not summary.videos:
        yield "There are no results yet."
    if summary.unknown_lengths:
        yield f"The length of {_count(summary.unknown_lengths, 'video')} is not known, and not in the sum."
    if summary.failed:
        yield "Videos with an error are tried again with --resume."
    if summary.checks is not None and summary.checks.agreement is not None:
        yield "In brackets: 95 % interval over the videos that were checked."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _span(seconds: float) -> str:
    """A time, in the unit that fits."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else small(value)


def save_plots(summary: Summary, folder: str | os.PathLike[str]) -> str:
    """
    Draws labels, computed shares, divergences of the checks and errors to a PNG, `report.png`.

    Args:
        summary: what to draw.
        folder: where to; it has to be there.

    Returns:
        `str`: the path of the picture.

    Raises:
        DataError: if matplotlib is not installed, or the picture cannot be written; one sentence.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("the plots are drawn with matplotlib; pip install matplotlib.") from error
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
    path = os.path.join(folder, PICTURE)
    try:
        with replacing(path) as temporary:
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


__all__ = ["PICTURE", "Summary", "print_report", "save_plots", "summarise"]
