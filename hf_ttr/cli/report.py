"""Prints a comparison as a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..display import shown
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
    from rich.table import Table
    from rich.text import Text

    dense, reuse, agreement = comparison.dense, comparison.reuse, comparison.agreement
    is_counted = comparison.multiply_adds is not None
    table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    if dense is not None:
        table.add_column("dense")
    table.add_column(_column(comparison.settings) if is_counted else "dense")
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
        row("multiply-adds", _giga(before), _giga(after), _times(before / after, "fewer", "more"))
        if dense is None:
            row("dense multiply-adds", "", _giga(before))
    for name, attribute in (("model time", "model_seconds"), ("with decoding", "seconds")):
        after_time = getattr(reuse, attribute)
        before_time = None if dense is None else getattr(dense, attribute)
        gain = "" if before_time is None else _times(before_time / after_time, "faster", "slower")
        row(name, "" if before_time is None else _time(before_time), _time(after_time), gain)

    console = Console()
    console.print(Text(_headline(comparison), "bold"), soft_wrap=True)
    console.print()
    console.print(table)
    console.print()
    if agreement is not None:
        console.print(Text(_agreement(agreement, comparison)))
    for remark in _remarks(comparison):
        console.print(Text(remark, "dim"))


def _headline(comparison: Comparison) -> str:
    parts = [f"{len(comparison.frame_indices)} frames of {comparison.video}", f"model {comparison.model}"]
    return shown(", ".join([*parts, settings_text(comparison.settings)]), None)


def settings_text(settings: dict[str, Any]) -> str:
    """The settings of reuse that matter most, in a few words."""
    parts = ["no reuse"]
    if settings["mode"] != "off":
        parts = [f"{settings['mode']} reuse"]
        parts += [
            f"{name.replace('compute_', '')} {settings[name]:g}" for name in _DECISIVE if settings[name] is not None
        ]
    return ", ".join(parts + [method["method"] for method in settings["reduction"]])


def _column(settings: dict[str, Any]) -> str:
    """What the run that is compared with the dense one has."""
    return "with reuse" if settings["mode"] != "off" else "with fewer tokens"


_DECISIVE = ("threshold", "compute_budget")


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
    if comparison.dense is None:
        yield f"Time of one run on {comparison.device}, without a warm-up."
    else:
        yield f"Times are medians of {comparison.runs} runs on {comparison.device}, after a warm-up."


def _label(measurement: Measurement, rank: int) -> str:
    entry = measurement.labels[rank]
    return f"{entry['score']:.3f} {shown(entry['label'])}"


def _giga(multiply_adds: int) -> str:
    return f"{multiply_adds / 1e9:.3g} G" if multiply_adds >= 1e8 else f"{multiply_adds / 1e6:.3g} M"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def _times(ratio: float, better: str, worse: str) -> str:
    return f"{ratio:.1f}x {better}" if ratio >= 1 else f"{1 / ratio:.1f}x {worse}"
