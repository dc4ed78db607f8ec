"""Prints what an evaluation gave as a table, dense beside reuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..cards.text import large, small
from ..display import shown
from ..tables import duration, plain_table, ratio
from .report import column_heading, settings_text


if TYPE_CHECKING:
    from ..evaluation import Evaluation

Metrics = Mapping[str, Any]


def print_evaluation(done: Evaluation, settings: dict[str, Any]) -> None:
    """
    Prints accuracy, agreement, cost and time to stdout, and why what is missing is missing.

    Args:
        done: the run.
        settings: those of reuse in force, see `hf_ttr.cards.figures.settings_in_force`.
    """
    from rich.console import Console
    from rich.text import Text

    summary, metrics = done.summary, {**done.summary["metrics"], **done.timing["metrics"]}
    has_dense = summary["compare_dense"]
    table = plain_table()
    for heading in ("", *(["dense"] if has_dense else []), column_heading(settings), ""):
        table.add_column(heading)
    for name, dense, reuse, gain in (*_labels(metrics), *_costs(metrics)):
        if reuse:
            table.add_row(*map(Text, (name, *([dense] if has_dense else []), reuse, gain)))
    console = Console()
    console.print(Text(_headline(done, settings), "bold"), soft_wrap=True)
    console.print()
    console.print(table)
    console.print()
    for remark in _remarks(done, metrics):
        console.print(Text(remark, "dim"))
    console.print(Text(f"summary.json and clips.parquet are in {shown(done.folder, None)}"), soft_wrap=True)


def _headline(done: Evaluation, settings: dict[str, Any]) -> str:
    summary, protocol = done.summary, done.summary["protocol"]
    split = "" if summary["dataset"]["split"] is None else f", split {summary['dataset']['split']}"
    clips = "1 clip" if protocol["num_clips"] == 1 else f"{protocol['num_clips']} clips"
    views = "" if protocol["views"] == 1 else f" in {protocol['views']} views"
    count = f"{len(done.rows):,} video{'' if len(done.rows) == 1 else 's'}"
    parts = [f"{count} of {summary['dataset']['name']}{split}", f"{clips} of {protocol['num_frames']} frames{views}"]
    return shown(", ".join([*parts, f"model {summary['model']['name']}", settings_text(settings)]), None)


Row = tuple[str, str, str, str]
"""Name, dense, with reuse, and what is gained; a row without the third is left out."""


def _labels(metrics: Metrics) -> list[Row]:
    accuracy, difference, kl = metrics["accuracy"], metrics["accuracy_difference"], metrics["kl"]
    gain = "" if difference is None else f"{100 * difference['value']:+.1f} pt ({_bounds(difference, '+.1f')})"
    bounds = "" if kl is None else f"({small(metrics['kl_low'])} to {small(metrics['kl_high'])})"
    dense = metrics["dense_accuracy"]
    top5, error = metrics["top5_agreement"], metrics["logit_error"]
    return [
        # The bounds of the dense model are in the JSON: a line has 80 characters.
        ("accuracy", "" if dense is None else _percent(dense["value"]), _interval(accuracy) or "none", gain),
        ("same top label", "", _interval(metrics["top1_agreement"]), ""),
        ("same among top 5", "", "" if top5 is None else _percent(top5), ""),
        ("KL divergence", "", "" if kl is None else small(kl), bounds),
        ("error of logits", "", "" if error is None else f"{small(error)} of their spread", ""),
    ]


def _costs(metrics: Metrics) -> list[Row]:
    before, after, seconds = metrics["dense_multiply_adds"], metrics["multiply_adds"], metrics["seconds"]
    speed, dense_seconds = metrics["speed_up"], metrics["dense_seconds"]
    # Mode "off" counts nothing.
    cost = ratio(before / after, "fewer", "more") if after else ""
    return [
        ("tokens computed", "100 %", _percent(metrics["computed_share"]), ""),
        ("multiply-adds", large(before), large(after) if after else "", cost),
        (
            "model time",
            "" if dense_seconds is None else duration(dense_seconds),
            duration(seconds),
            ratio(speed, "faster", "slower") if speed else "",
        ),
    ]


def _remarks(done: Evaluation, metrics: Metrics) -> list[str]:
    remarks = list(done.summary["notes"])
    good = len(done.rows) - len(done.broken)
    if not done.summary["compare_dense"]:
        remarks.append("The dense model was not run, so how alike the two answer was not measured.")
    machine = done.timing["machine"]["device"]
    rate = metrics["clips_per_second"]
    speed = "" if rate is None else f", {small(rate)} videos per second with decoding and all"
    count = f"{good:,} video{'' if good == 1 else 's'}"
    remarks.append(f"Sums over {count}, on {machine}{speed}. In brackets: 95 % intervals over videos.")
    return remarks


def _interval(entry: Mapping[str, float] | None) -> str:
    return "" if entry is None else f"{_percent(entry['value'])} ({_bounds(entry, '.1f')})"


def _bounds(entry: Mapping[str, float], form: str) -> str:
    return f"{100 * entry['low']:{form}} to {100 * entry['high']:{form}}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
