"""The sections of a card that say what was measured, and what was not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .figures import WALL_CLOCK, Figures, Interval, SpeedFigures
from .text import (
    NOT_MEASURED,
    large,
    markdown,
    points,
    seconds,
    share,
    small,
    table,
    times,
)


def listed(facts: Mapping[str, str]) -> str:
    """A list of names and values; both are Markdown."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def setting_text(settings: Mapping[str, Any]) -> str:
    """Mode and threshold or budget in a few words."""
    if not settings:
        return "settings not given"
    parts = [f"mode {settings['mode']}"]
    for name in ("threshold", "compute_budget"):
        if settings[name] is not None:
            parts.append(f"{name.replace('compute_', '')} {settings[name]:g}")
    return ", ".join([*parts, *(f"with {method['method']}" for method in settings["reduction"])])


def fidelity_section(
    all_figures: Sequence[Figures],
    settings: Mapping[str, Any],
    trained: tuple[float | None, int | None],
    is_window_model: bool,
) -> str:
    """
    What reuse costs: a table for each evaluation; empty if nothing is known.

    Args:
        all_figures: of the evaluations.
        settings: those of the checkpoint.
        trained: accuracy of the dense model when it was trained, and on how many clips.
        is_window_model: whether the model gives labels to clips alone.
    """
    blocks: list[str] = []
    accuracy, clips = trained
    if accuracy is not None and clips is not None:
        text = interval_text(Interval.of_share(accuracy, clips))
        blocks.append(
            f"When the model was trained, its accuracy was {text} on {clips} held-out clips, with every token "
            "computed; in brackets Wilson's interval of 95%."
        )
    for figures in all_figures:
        blocks.append(_about(figures, settings))
        blocks.append(_fidelity_table(figures))
        if any(interval is not None and interval.low is not None for interval in _intervals(figures)):
            blocks.append(f"In brackets: {figures.interval}.")
        if len(figures.thresholds) > 1:
            blocks += ["Other thresholds on the same clips:", _threshold_table(figures, settings)]
    return "\n\n".join(blocks)


def speed_section(all_figures: Sequence[Figures], random_weights: SpeedFigures | None) -> str:
    """What reuse saves: a table for each evaluation, and what was timed with random weights; empty without both."""
    blocks: list[str] = []
    for figures in all_figures:
        blocks.append(f"On {markdown(figures.dataset)}, {_clips(figures)}:")
        blocks.append(_speed_table(figures))
        blocks.append(f"Machine: {_words(figures.machine)}.")
    if random_weights is not None:
        blocks.append(
            f"Speed alone, with random weights ({markdown(random_weights.model)}), and not with those of this model; "
            f"wall-clock on {_words(random_weights.machine)}. Seconds, and the ratio, are medians of several rounds:"
        )
        blocks.append(
            table(
                ("what", "tokens computed", "multiply-adds", "dense", "with reuse", "wall-clock, ratio"),
                (
                    (
                        markdown(str(row["name"])),
                        share(row.get("computed_share")),
                        times(row.get("multiply_add_ratio"), "fewer"),
                        seconds(row.get("dense_seconds")),
                        seconds(row.get("reuse_seconds")),
                        times(row.get("wall_clock_ratio"), "faster"),
                    )
                    for row in random_weights.rows
                ),
            )
        )
    return "\n\n".join(blocks)


def interval_text(interval: Interval | None) -> str:
    """A share with its bounds."""
    if interval is None:
        return NOT_MEASURED
    bounds = "" if interval.low is None or interval.high is None else f" ({interval.low:.1%} to {interval.high:.1%})"
    return f"{interval.value:.1%}{bounds}"


def _difference_text(interval: Interval | None) -> str:
    if interval is None:
        return NOT_MEASURED
    if interval.low is None or interval.high is None:
        return points(interval.value)
    return f"{points(interval.value)} ({points(interval.low)} to {points(interval.high)})"


def _about(figures: Figures, settings: Mapping[str, Any]) -> str:
    split = "" if figures.split is None else f", split {markdown(figures.split)}"
    facts = {"Data": f"{markdown(figures.dataset)}{split}, {_clips(figures)}"}
    if figures.model_name is not None:
        facts["Model"] = markdown(figures.model_name)
    same = "those of this checkpoint" if figures.settings == settings else "not those of this checkpoint"
    facts["Settings"] = f"{markdown(setting_text(figures.settings))} ({same})" if figures.settings else "not given"
    if figures.protocol:
        facts["Protocol"] = _words(figures.protocol)
    return listed(facts)


def _clips(figures: Figures) -> str:
    return "1 clip" if figures.is_of_one_clip else f"{figures.clips} clips"


def _words(values: Mapping[str, str]) -> str:
    if not values:
        return NOT_MEASURED
    return ", ".join(f"{markdown(name.replace('_', ' '))} {markdown(value)}" for name, value in values.items())


def _intervals(figures: Figures) -> Iterable[Interval | None]:
    return figures.accuracy, figures.dense_accuracy, figures.accuracy_difference, figures.top1_agreement


def _fidelity_table(figures: Figures) -> str:
    metrics = figures.metrics
    # Where each label has a score of its own, several can be right.
    labels = "labels above one half" if figures.scores == "sigmoid" else "first label"
    rows = [
        ("accuracy", interval_text(figures.dense_accuracy), interval_text(figures.accuracy)),
        ("difference of accuracy", "", _difference_text(figures.accuracy_difference)),
        (f"clips with the same {labels}", "", interval_text(figures.top1_agreement)),
        ("agreement of the first five labels", "", share(metrics.get("top5_agreement"))),
        ("KL divergence, clips", "", small(metrics.get("kl"))),
        ("error of the logits", "", small(metrics.get("logit_error"))),
    ]
    if figures.frame_agreement is not None or figures.frame_kl is not None:
        rows += [
            ("frames with the same first label", "", share(figures.frame_agreement)),
            ("KL divergence, frames", "", small(figures.frame_kl)),
        ]
    return table(("", "dense", "with reuse"), rows)


def _threshold_table(figures: Figures, settings: Mapping[str, Any]) -> str:
    rows = []
    for row in figures.thresholds:
        is_ours = row["threshold"] == settings["threshold"]
        cells = (
            f"{row['threshold']:g}",
            share(row["share"]),
            small(row["clip_kl"]),
            share(row["clip_agreement"]),
            share(row["accuracy"]),
        )
        rows.append([f"**{cell}**" if is_ours else cell for cell in cells])
    head = ("threshold", "multiply-adds of the dense", "KL divergence, clips", "same first label", "accuracy")
    return table(head, rows)


def _speed_table(figures: Figures) -> str:
    metrics = figures.metrics
    return table(
        ("", "dense", "with reuse"),
        (
            ("tokens computed", share(1.0), share(metrics.get("computed_share"))),
            ("multiply-adds", large(metrics.get("dense_multiply_adds")), large(metrics.get("multiply_adds"))),
            ("multiply-adds, ratio", "", times(metrics.get("multiply_add_ratio"), "fewer")),
            *([] if figures.clock == WALL_CLOCK else [(WALL_CLOCK, NOT_MEASURED, NOT_MEASURED)]),
            (figures.clock, seconds(metrics.get("dense_seconds")), seconds(metrics.get("seconds"))),
            (f"{figures.clock}, ratio", "", times(metrics.get("speed_up"), "faster")),
            ("clips per second", "", small(metrics.get("clips_per_second"))),
        ),
    )


__all__ = ["fidelity_section", "interval_text", "listed", "setting_text", "speed_section"]
