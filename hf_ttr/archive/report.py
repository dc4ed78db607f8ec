"""The report of an archive on the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from ..cards.text import large, small
from ..display import shown
from ..tables import plain_table, ratio
from ..visualization.sheet import percent
from .plots import save_plots
from .summary import Checks, Summary, summarise


SHOWN_LABELS = 10
"""Labels in the table; the picture has more."""


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
        table.show_header = any(headings)
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
    mean, worst = (
        "no number" if value is None else small(value) for value in (checks.mean_divergence, checks.worst_divergence)
    )
    return [*rows, ("divergence", mean, f"worst {worst}: {checks.worst_path}")]


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


__all__ = ["Summary", "print_report", "save_plots", "summarise"]
