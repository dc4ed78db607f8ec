"""What was measured of a checkpoint, out of the summary of an evaluation or a file of benchmark results."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from ..answers.statistics import wilson_interval
from ..configuration import TemporalReuseConfig, default_threshold
from ..display import shown


EVERY_MODEL = ("mode", "threshold", "compute_budget", "max_age", "context_weight", "context_size")
FRAMES_ONLY = ("frame_skipping", "dense_outputs", "saliency_weight", "scene_cut")
CLIPS_ONLY = ("representative", "drift_weight", "window_weight", "sliding")
"""Settings that any model reads, that one of frames reads, and that one of clips reads; all read `reduction`."""
WALL_CLOCK = "wall-clock"
TIMING = "timing.json"
"""What an evaluation writes beside its summary, as it differs from run to run."""
_SHARES = ("top5_agreement", "computed_share")
_AMOUNTS = (
    "kl",
    "logit_error",
    "multiply_adds",
    "dense_multiply_adds",
    "multiply_add_ratio",
    "seconds",
    "dense_seconds",
    "speed_up",
    "clips_per_second",
)
_INTERVALS = ("accuracy", "dense_accuracy", "accuracy_difference", "top1_agreement")


@dataclass
class Interval:
    """A share, and the bounds of its confidence interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of_share(cls, value: float, count: int) -> Interval:
        """
        Wilson's interval of 95 % for a share of `count` clips.

        Example:

        ```python
        >>> from hf_ttr.cards.figures import Interval

        >>> found = Interval.of_share(0.9, 100)
        >>> f"{found.low:.3f} to {found.high:.3f}"
        '0.826 to 0.945'
        ```
        """
        low, high = wilson_interval(round(value * count), count)
        return cls(value, low, high)


@dataclass
class Figures:
    """
    What one evaluation gave; `None` is what was not measured.

    Attributes:
        dataset, split, clips: on what.
        model_name: what the evaluation calls the model.
        settings: those of reuse, with their values in force.
        protocol, machine: in words, as pairs of a name and a value.
        command: what was run.
        interval: how the intervals were found.
        scores: what turns logits to scores, see `hf_ttr.answers.scores.score_kind`.
        clock: what the seconds are of.
        accuracy, dense_accuracy, accuracy_difference, top1_agreement: of the clips, as shares.
        frame_agreement, frame_kl: of the frames, of a model that gives them labels.
        metrics: the other metrics by their names in the summary of an evaluation; seconds are of all clips.
        thresholds: other thresholds on the same clips, by rising threshold.
    """

    dataset: str
    clips: int
    split: str | None = None
    model_name: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    command: str | None = None
    interval: str = "confidence interval"
    scores: str = "softmax"
    clock: str = WALL_CLOCK
    accuracy: Interval | None = None
    dense_accuracy: Interval | None = None
    accuracy_difference: Interval | None = None
    top1_agreement: Interval | None = None
    frame_agreement: float | None = None
    frame_kl: float | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    thresholds: list[dict[str, float | None]] = field(default_factory=list)

    @property
    def is_of_one_clip(self) -> bool:
        """Whether there is nothing to take a mean of."""
        return self.clips == 1


@dataclass
class SpeedFigures:
    """
    Wall-clock of a model of the same kind and width with random weights.

    Attributes:
        model: what was timed.
        command, machine: how, and where, in words.
        rows: `name`, `computed_share`, `multiply_add_ratio`, `dense_seconds`, `reuse_seconds`, `wall_clock_ratio`.
    """

    model: str
    command: str | None
    machine: dict[str, str]
    rows: list[dict[str, Any]]


def settings_in_force(settings: TemporalReuseConfig, is_window_model: bool) -> dict[str, Any]:
    """
    The settings that the model reads, with their values in force; `threshold` is `None` where the budget decides it.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseConfig
    >>> from hf_ttr.cards.figures import settings_in_force

    >>> settings_in_force(TemporalReuseConfig(), is_window_model=True)["threshold"]
    0.4
    ```
    """
    names = (*EVERY_MODEL, *(CLIPS_ONLY if is_window_model else FRAMES_ONLY), "reduction")
    found = {name: value for name, value in settings.to_dict().items() if name in names}
    if settings.threshold is None and settings.compute_budget is None:
        found["threshold"] = default_threshold(is_window_model)
    return {name: found[name] for name in names}


def evaluation_figures(
    path: str | os.PathLike[str], parent_name: str, is_window_model: bool, classes: Collection[str]
) -> Figures:
    """
    Reads the summary of an evaluation.

    Args:
        path: the JSON file.
        parent_name: what the model's kind is called, such as `"ViT"`.
        is_window_model: whether it sees windows of frames.
        classes: the names of its classes.

    Raises:
        ValueError: one sentence, if it is no such file, not finished, or of a model of another kind.
    """
    summary = read_json(path)
    name = os.fspath(path)
    beside = os.path.join(os.path.dirname(name), TIMING)
    if isinstance(summary, dict) and isinstance(summary.get("metrics"), dict) and os.path.isfile(beside):
        timing = read_json(beside)
        if not isinstance(timing, dict) or not isinstance(timing.get("metrics"), dict):
            raise ValueError(
                f"'{shown(beside)}' is not what an evaluation writes beside its summary; remove it, or run the "
                "evaluation again."
            )
        summary = {**timing, **summary, "metrics": {**timing["metrics"], **summary["metrics"]}}

    def foreign(reason: str) -> ValueError:
        return ValueError(
            f"'{shown(name)}' is not the summary of an evaluation ({reason}); pass the JSON that `hf-ttr evaluate` "
            "writes."
        )

    if not isinstance(summary, dict):
        raise foreign("it holds no object")
    for key in ("model", "dataset", "metrics"):
        if not isinstance(summary.get(key), dict):
            raise foreign(f"it has no object {key!r}")
    if summary.get("finished") is not True:
        raise ValueError(f"The evaluation of '{shown(name)}' has not finished; run its command again to the end.")
    model_class, dataset = summary["model"].get("class"), summary["dataset"]
    if isinstance(model_class, str) and model_class not in classes:
        raise ValueError(
            f"'{shown(name)}' is of a {shown(model_class, 60)}, but the model of the card is a {parent_name}; pass "
            "the evaluation of this model."
        )
    clips = dataset.get("clips")
    if not isinstance(dataset.get("name"), str) or type(clips) is not int or clips < 1:
        raise foreign("its 'dataset' has no name or no number of clips")
    try:
        figures = Figures(
            dataset["name"],
            clips,
            split=_text(dataset.get("split")),
            model_name=_text(summary["model"].get("name")),
            settings=_evaluated_settings(summary.get("settings"), is_window_model),
            protocol=_words(summary.get("protocol")),
            machine=_words(summary.get("machine")),
            command=_text(summary.get("command")),
            scores="sigmoid" if summary.get("scores") == "sigmoid" else "softmax",
        )
        for metric in _INTERVALS:
            setattr(figures, metric, _interval(summary["metrics"], metric))
        for metric in (*_SHARES, *_AMOUNTS):
            figures.metrics[metric] = _number(summary["metrics"], metric, 0, 1 if metric in _SHARES else None)
    except ValueError as error:
        raise foreign(str(error).rstrip(".")) from error
    if isinstance(summary.get("processes"), int):
        figures.protocol["processes"] = str(summary["processes"])
    if isinstance(summary.get("skipped"), list):
        figures.protocol["videos that could not be read"] = str(len(summary["skipped"]))
    return figures


def benchmark_figures(
    path: str | os.PathLike[str], model_name: str, settings: dict[str, Any], is_window_model: bool
) -> list[Figures]:
    """
    Finds what a file of benchmark results holds of a model with its settings: one entry for each set of clips.

    Args:
        path: the JSON file that `python -m benchmarks run` writes.
        model_name: what the parts of the file call the model.
        settings: as `settings_in_force` gives them.
        is_window_model: whether the model sees windows of frames.

    Raises:
        ValueError: if it is no such file; one sentence.
    """
    defaults = settings_in_force(TemporalReuseConfig(), is_window_model)
    free = ("mode", "threshold")
    if any(settings[name] != defaults[name] for name in settings if name not in free) or settings["mode"] == "off":
        return []
    # What the methods of the benchmarks are called.
    method = {"bidirectional": "bidirectional", "causal": "causal"}[settings["mode"]]
    if is_window_model:
        if method == "causal":
            return []
        method = "reuse"
    found = []
    try:
        for part in _parts(path):
            if part.get("model") != model_name:
                continue
            for name, by_threshold in _sets(part, method).items():
                if settings["threshold"] in by_threshold:
                    found.append(_sweep(part, name, by_threshold, settings, is_window_model))
    except (_MalformedError, KeyError, TypeError, ZeroDivisionError) as error:
        raise _no_results(path, error) from error
    return found


def random_weights_speed(path: str | os.PathLike[str], parent_name: str, hidden_size: int) -> SpeedFigures | None:
    """
    The wall-clock of a model of the same kind and width with random weights, out of a file of benchmark results.

    Raises:
        ValueError: if it is no such file; one sentence.
    """
    wanted = f"{parent_name}, hidden size {hidden_size}, random weights"
    for part in _parts(path):
        rows = [cell for cell in part["cells"].values() if "wall_clock_ratio" in cell and "name" in cell]
        if part.get("model") == wanted and rows:
            try:
                for row in rows:
                    for name in ("dense_seconds", "reuse_seconds", "wall_clock_ratio", "multiply_add_ratio"):
                        _number(row, name, 0)
            except _MalformedError as error:
                raise _no_results(path, error) from error
            return SpeedFigures(wanted, _text(part.get("command")), _words(part.get("machine")), rows)
    return None


def read_json(path: str | os.PathLike[str]) -> Any:
    """
    Reads a JSON file.

    Raises:
        ValueError: one sentence, if it is not there or no JSON.
    """
    name = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise ValueError(f"'{shown(name)}' cannot be read ({error.strerror or error}); check the path.") from error
    # What is nested too deeply, and whole numbers of thousands of digits, end in these too.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"'{shown(name)}' is no JSON file ({type(error).__name__}); pass a complete copy.") from error


class _MalformedError(ValueError):
    """A value that is not what the file should hold; the message goes into a sentence."""


def _parts(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    results = read_json(path)
    try:
        parts = [part for suite in results["suites"].values() for part in suite.values()]
        if not all(isinstance(cell, dict) for part in parts for cell in part["cells"].values()):
            raise TypeError
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_results(path, error) from error
    yield from parts


def _no_results(path: str | os.PathLike[str], error: BaseException) -> ValueError:
    return ValueError(
        f"'{shown(os.fspath(path))}' is not a file of benchmark results ({_reason(error)}); pass the JSON that "
        "`python -m benchmarks run` writes."
    )


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, _MalformedError) else f"its parts are none, {type(error).__name__}"


def _sets(part: dict[str, Any], method: str) -> dict[str, dict[float, list[dict[str, Any]]]]:
    """The cells of a method of a sweep, by the set of clips and the threshold."""
    sets: dict[str, dict[float, list[dict[str, Any]]]] = {}
    for key, cell in part["cells"].items():
        fields = key.split(" | ")
        if len(fields) == 4 and fields[1] == method and "kl" in cell:
            try:
                threshold = float(fields[2])
            except ValueError as error:
                raise _MalformedError(f"the cell {key!r} has no threshold") from error
            sets.setdefault(fields[0], {}).setdefault(threshold, []).append({**cell, "subject": fields[3]})
    return sets


def _sweep(
    part: dict[str, Any],
    name: str,
    by_threshold: dict[float, list[dict[str, Any]]],
    settings: dict[str, Any],
    is_window_model: bool,
) -> Figures:
    """The figures of a set of clips, at the threshold of the model, with those at others."""
    rows = by_threshold[settings["threshold"]]
    clips = sum(row.get("clips", 1) for row in rows)
    subjects = sorted({row["subject"] for row in rows})
    what = f"{subjects[0]}, " if len(subjects) == 1 and not subjects[0].endswith(" clips") else ""
    found = _means(rows)

    def interval(metric: str) -> Interval | None:
        value = found.get(metric)
        return None if value is None else Interval.of_share(value, clips)

    figures = Figures(
        f"{what}set {name!r} of the hf-ttr benchmarks",
        clips,
        model_name=part["model"],
        settings=settings,
        machine=_words(part.get("machine")),
        command=_text(part.get("command")),
        interval="Wilson's interval of 95%",
        # So that what else runs on the machine does not count.
        clock="processor time, one thread",
        accuracy=interval("accuracy"),
        dense_accuracy=interval("dense_accuracy"),
        top1_agreement=interval("clip_agreement"),
        frame_agreement=None if is_window_model else found["agreement"],
        frame_kl=None if is_window_model else found["kl"],
        metrics={
            "kl": found["clip_kl"],
            "multiply_add_ratio": 1 / _required(found, "share"),
            "seconds": sum(_required(row, "seconds") for row in rows),
            "dense_seconds": sum(_required(row, "dense_seconds") for row in rows),
        },
    )
    figures.metrics["speed_up"] = _required(figures.metrics, "dense_seconds") / _required(figures.metrics, "seconds")
    if figures.accuracy is not None and figures.dense_accuracy is not None:
        figures.accuracy_difference = Interval(figures.accuracy.value - figures.dense_accuracy.value)
    for threshold, others in sorted(by_threshold.items()):
        if len(others) == len(rows):
            values = _means(others)
            chosen = {name: values.get(name) for name in ("share", "clip_kl", "clip_agreement", "accuracy")}
            figures.thresholds.append({"threshold": threshold, **chosen})
    return figures


def _means(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    names = ("share", "kl", "clip_kl", "agreement", "clip_agreement", "accuracy", "dense_accuracy")
    return {
        name: mean(_required(row, name) for row in rows) if all(name in row for row in rows) else None
        for name in names
    }


def _required(values: dict[str, Any], name: str) -> float:
    # Rounding can leave a divergence a hair below zero.
    value = _number(values, name, -1e-6)
    if value is None:
        raise _MalformedError(f"there is no {name!r}")
    return max(0.0, value)


def _evaluated_settings(settings: Any, is_window_model: bool) -> dict[str, Any]:
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise _MalformedError("its 'settings' are no object")
    return settings_in_force(TemporalReuseConfig(**settings), is_window_model)


def _interval(metrics: dict[str, Any], name: str) -> Interval | None:
    found = metrics.get(name)
    if found is None:
        return None
    if not isinstance(found, dict):
        raise _MalformedError(f"its {name!r} is no object with a value")
    least = -1 if name == "accuracy_difference" else 0
    value, low, high = (_number(found, part, least, 1, f"{name}.{part}") for part in ("value", "low", "high"))
    if value is None:
        return None
    if low is None or high is None:
        return Interval(value)
    if not low <= high:
        raise _MalformedError(f"the bounds of its {name!r} are in the wrong order")
    return Interval(value, low, high)


def _number(
    values: dict[str, Any], name: str, least: float, most: float | None = None, called: str | None = None
) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    called = called or name
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _MalformedError(f"its {called!r} is no number")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value) or value < least or (most is not None and value > most):
        raise _MalformedError(f"its {called!r} is {value:g}, which is out of range")
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _words(values: Any) -> dict[str, str]:
    """The entries of a flat object as text, without those that are empty."""
    if not isinstance(values, dict):
        return {}
    return {
        str(name): str(value)
        for name, value in values.items()
        if isinstance(value, (str, int, float)) and str(value).strip()
    }
