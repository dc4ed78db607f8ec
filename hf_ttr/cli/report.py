"""Prints a comparison as a table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..display import shown
from ..tables import duration, plain_table, ratio
from .comparison import Agreement, Comparison, Measurement


if TYPE_CHECKING:
    from collections.abc import Callable


@contextmanager
def progress_on_stderr() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what is being done; nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("Starting") as status:
        yield lambda step: status.update(escape(step))


def print_comparison(comparison: Comparison, top_k: int) -> None:
    """Prints labels, cost, time and agreement to stdout."""
    from rich.console import Console
    from rich.text import Text

    dense, reuse, agreement = comparison.dense, comparison.reuse, comparison.agreement
    is_counted = comparison.multiply_adds is not None
    table = plain_table()
    table.add_column("")
    if dense is not None:
        table.add_column("dense")
    table.add_column(column_heading(comparison.settings) if is_counted else "dense")
    table.add_column("")

    def row(name: str, dense_cell: str, reuse_cell: str, gain: str = "") -> None:
        # Labels come from a checkpoint: they are text, not markup.
        cells = [name, reuse_cell, gain] if dense is None else [name, dense_cell, reuse_cell, gain]
        table.add_row(*map(Text, cells))

    for rank in range(min(top_k, len(reuse.labels))):
        row("label" if rank == 0 else "", "" if dense is None else _label(dense, rank), _label(reuse, rank))
    before, after = comparison.dense_multiply_adds, comparison.multiply_adds
    if before is not None and after is not None:
        row("tokens computed", "100 %", f"{100 * comparison.computed_share:.1f} %")
        for name, share in comparison.reduced_shares.items():
            row(f"tokens {name}", "0 %", f"{100 * share:.1f} %", "by the last layer")
        row("multiply-adds", _giga(before), _giga(after), ratio(before / after, "fewer", "more"))
        if dense is None:
            row("dense multiply-adds", "", _giga(before))
    for name, attribute in (("model time", "model_seconds"), ("with decoding", "seconds")):
        after_time = getattr(reuse, attribute)
        before_time = None if dense is None else getattr(dense, attribute)
        gain = "" if before_time is None else ratio(before_time / after_time, "faster", "slower")
        row(name, "" if before_time is None else duration(before_time), duration(after_time), gain)

    console = Console()
    console.print(Text(_headline(comparison), "bold"), soft_wrap=True)
    if (why := _why_slower(comparison)) is not None:
        console.print(Text(why))
    console.print()
    console.print(table)
    console.print()
    if agreement is not None:
        console.print(Text(_agreement(agreement, comparison)))
    for remark in _remarks(comparison):
        console.print(Text(remark, "dim"))


class ComparisonTable:
    """A line for each of several videos, and what they come to together."""

    def __init__(self) -> None:
        self.comparisons: list[Comparison] = []

    def add(self, comparison: Comparison) -> None:
        """Adds a video."""
        self.comparisons.append(comparison)

    def print(self) -> None:
        """Prints the table to stdout, where there is a video in it."""
        if not self.comparisons:
            return
        from rich.console import Console
        from rich.text import Text

        first = self.comparisons[0]
        has_dense = first.dense is not None
        headings = ["video", "label", "computed", "multiply-adds"]
        table = plain_table()
        for heading in headings + ["dense label"] * has_dense:
            table.add_column(heading, overflow="fold", no_wrap=heading in ("computed", "multiply-adds"))
        folder = _common_folder([one.video for one in self.comparisons])
        for one in self.comparisons:
            before, after = one.dense_multiply_adds, one.multiply_adds
            cells = [
                one.video.removeprefix(folder),
                _label(one.reuse, 0),
                f"{100 * one.computed_share:.1f} %",
                "" if before is None or after is None else ratio(before / after, "fewer", "more"),
            ]
            if has_dense and one.dense is not None:
                agreement = one.agreement
                is_same = agreement is not None and agreement.same_top_label
                cells.append("the same" if is_same else _label(one.dense, 0))
            table.add_row(*map(Text, cells))
        console = Console()
        where = [f"{len(first.frame_indices)} frames each of videos in {folder}"] if folder else []
        head = ", ".join([*where, f"model {first.model}", settings_text(first.settings)])
        console.print(Text(head, "bold"), soft_wrap=True)
        console.print()
        console.print(table)
        console.print()
        console.print(Text(self._total()))
        if (hint := next(filter(None, map(_hint, self.comparisons)), None)) is not None:
            console.print(Text(hint, "dim"))

    def _total(self) -> str:
        before = sum(one.dense_multiply_adds or 0 for one in self.comparisons)
        after = sum(one.multiply_adds or 0 for one in self.comparisons)
        parts = [f"{len(self.comparisons)} videos"]
        if before and after:
            parts.append(f"{ratio(before / after, 'fewer', 'more')} multiply-adds in all")
        agreements = [one.agreement for one in self.comparisons if one.agreement is not None]
        if agreements and agreements[0].same_top_label is not None:
            same = sum(bool(one.same_top_label) for one in agreements)
            parts.append(f"{same} of {len(agreements)} with the dense model's top label")
        return "; ".join(parts) + "."


def _common_folder(videos: list[str]) -> str:
    """What the paths of all have in front, up to a separator; nothing where they share none."""
    common = os.path.commonprefix(videos)
    return common[: common.rfind("/") + 1]


def _headline(comparison: Comparison) -> str:
    parts = [f"{len(comparison.frame_indices)} frames of {comparison.video}{_distance(comparison)}"]
    parts += [f"model {comparison.model}", settings_text(comparison.settings)]
    return shown(", ".join(parts), None)


def _distance(comparison: Comparison) -> str:
    """How far frames are apart, and from when to when they are."""
    gap, fps = comparison.seconds_between_frames, comparison.info.fps
    if gap is None or not fps:
        return ""
    first, last = (comparison.frame_indices[index] / fps for index in (0, -1))
    return f" ({_gap(gap)} apart, {first:.2f} to {last:.2f} s)"


def _gap(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 0.1 else f"{seconds:.2g} s"


def settings_text(settings: dict[str, Any]) -> str:
    """The settings of reuse that matter most, in a few words."""
    parts = ["no reuse"]
    if settings["mode"] != "off":
        parts = [f"{settings['mode']} reuse"]
        parts += [
            f"{name.replace('compute_', '')} {settings[name]:g}" for name in _DECISIVE if settings[name] is not None
        ]
    return ", ".join(parts + [method["method"] for method in settings["reduction"]])


def print_windows(windows: Iterable[tuple[str, str, float, float]]) -> None:
    """
    Prints what the windows of a stream cost.

    Args:
        windows: of each, its frames, its label, the share of the tokens that were computed, and how many times fewer
            multiply-adds that took.
    """
    from rich.console import Console
    from rich.text import Text

    table = plain_table()
    for heading in ("window", "label", "computed", "multiply-adds"):
        table.add_column(heading)
    for frames, label, share, saved in windows:
        cells = (frames, shown(label), f"{100 * share:.1f} %", ratio(saved, "fewer", "more"))
        table.add_row(*map(Text, cells))
    Console().print(table)


def column_heading(settings: dict[str, Any]) -> str:
    """What the run that is compared with the dense one has."""
    return "with reuse" if settings["mode"] != "off" else "with fewer tokens"


_DECISIVE = ("threshold", "compute_budget")

MUCH = 0.5
"""Share of the tokens above which a hint says why so many were computed."""


def _agreement(agreement: Agreement, comparison: Comparison) -> str:
    subject = "Reuse" if comparison.settings["mode"] != "off" else "The model with fewer tokens"
    frames = len(comparison.frame_indices)
    if agreement.same_top_label is None:
        # Half the squared distance is what stands for a divergence of numbers.
        return f"{subject} moves the numbers of the clip by {(2 * agreement.clip_kl) ** 0.5:.2g} in all."
    label, another = "top label", "another top label"
    if agreement.scores == "sigmoid":
        label, another = "labels above one half", "other labels above one half"
    verdict = f"the same {label}" if agreement.same_top_label else another
    if agreement.frames_with_same_top_label is None:
        return f"{subject} gives the clip {verdict}; KL divergence of the clip {agreement.clip_kl:.2g}."
    same = round(agreement.frames_with_same_top_label * frames)
    return (
        f"{subject} gives the clip {verdict}, and {same} of {frames} frames the same {label}; "
        f"mean KL divergence of the frames {agreement.mean_frame_kl:.2g}."
    )


def _remarks(comparison: Comparison) -> Iterator[str]:
    distinct = len(set(comparison.frame_indices))
    if distinct < len(comparison.frame_indices):
        yield (
            f"The choice of frames went past the end of the video: {distinct} are different, the others repeat the "
            "last one, which costs almost nothing with reuse."
        )
    if (hint := _hint(comparison)) is not None:
        yield hint
    if comparison.is_warm:
        yield f"Times are medians of {comparison.runs} runs on {comparison.device}, after a warm-up."
    else:
        order = "" if comparison.dense is None else " of each, the one with reuse first"
        yield f"Times of one run{order}, on {comparison.device}, without a warm-up; --timing measures them."


SMALL = 10e9
"""Multiply-adds of a dense call, below which what is not counted, such as the choice of tokens, can weigh more."""


def _why_slower(comparison: Comparison) -> str | None:
    """Where less was computed in more time: that it was, and why."""
    before, after, dense = comparison.dense_multiply_adds, comparison.multiply_adds, comparison.dense
    if before is None or after is None or dense is None or after >= before:
        return None
    if comparison.reuse.model_seconds <= dense.model_seconds:
        return None
    why = (
        f"the model is so small ({_giga(before)} multiply-adds) that choosing tokens takes longer than computing them"
        if before < SMALL
        else "other work on this machine, or a first run, can be the reason"
    )
    return f"{ratio(before / after, 'fewer', 'more')} multiply-adds, and slower here all the same: {why}."


def _hint(comparison: Comparison) -> str | None:
    """What to do where much is computed because frames are far apart."""
    gap = comparison.seconds_between_frames
    if gap is None or comparison.frame_sampling_rate == 1 or comparison.computed_share <= MUCH:
        return None
    return (
        f"Much is computed, as the frames are {_gap(gap)} apart; with --frame-sampling-rate 1 they follow each other, "
        "and more is reused."
    )


def _label(measurement: Measurement, rank: int) -> str:
    entry = measurement.labels[rank]
    return f"{entry['score']:.3f} {shown(entry['label'])}"


def _giga(multiply_adds: int) -> str:
    return f"{multiply_adds / 1e9:.3g} G" if multiply_adds >= 1e8 else f"{multiply_adds / 1e6:.3g} M"
