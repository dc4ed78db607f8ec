"""What the rows of a run add up to."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..answers.scores import ScoreKind
from ..answers.statistics import (
    Interval,
    bootstrap_interval,
    kl_divergence,
    paired_difference_interval,
    relative_logit_error,
    same_top_label,
    top_k_agreement,
    wilson_interval,
)
from ..display import shown
from ..machine import processor_name
from .rows import LARGEST, ClipRow


_NOTES: dict[ScoreKind, list[str]] = {
    "softmax": [],
    "sigmoid": [
        "The model gives each label a score of its own, so there is no accuracy; top1_agreement counts the videos "
        "with the same labels above one half."
    ],
    "none": [
        "The model gives numbers and not labels, so there is neither accuracy nor agreement; kl is half the squared "
        "distance from the numbers of the dense model."
    ],
}


_SHOWN = 3
"""Labels of the model in a sentence."""


def summarise(
    rows: list[ClipRow], labels: Mapping[str, int], about: Mapping[str, Any], kind: ScoreKind = "softmax"
) -> dict[str, Any]:
    """
    The figures of a run that do not differ from run to run.

    Args:
        rows: of the videos, at least one of which could be read.
        labels: names of the model's classes, in lower case, and their numbers.
        about: the model, data set, protocol and settings.
        kind (`ScoreKind`): what turns the model's logits to scores, see `hf_ttr.answers.scores.score_kind`.

    Returns:
        What `about` says; the number of videos; `metrics`, with 95 % confidence intervals where videos are drawn:
        accuracy with reuse and dense and the difference of the two (where all classes of the videos are the model's),
        top-1 and top-5 agreement with the dense model, mean divergence from it in nats, error of logits relative to
        their spread, computed share, multiply-adds; `skipped`, the videos that could not be read; `scores`, the kind;
        and `notes`, sentences on what is `None` among the metrics for what the model was trained for.
    """
    good = [row for row in rows if row.logits is not None]
    logits = np.array([row.logits for row in good])
    dense = None if any(row.dense_logits is None for row in good) else np.array([row.dense_logits for row in good])
    metrics: dict[str, Any] = {
        # A label of a video says nothing on whether several labels, or numbers, are right.
        **_accuracies(good, logits, dense, labels if kind == "softmax" else {}),
        **_fidelity(logits, dense, kind),
        **_costs(good),
    }
    return {
        **about,
        "dataset": {**about["dataset"], "clips": len(rows)},
        "metrics": metrics,
        "skipped": [{"video": row.video, "error": row.error} for row in rows if row.error is not None],
        "scores": kind,
        "notes": [*_NOTES[kind], *(_unlabelled(good, labels) if kind == "softmax" else [])],
        "finished": True,
    }


def timing(
    rows: list[ClipRow], about: Mapping[str, Any], processes: int, done: int, wall_seconds: float
) -> dict[str, Any]:
    """
    What differs from run to run: seconds of the model, with reuse and dense, and on what machine they were taken.

    Args:
        rows, about: as in `summarise`.
        processes: of the run.
        done: videos that were done since it began, or was gone on with.
        wall_seconds: for these, decoding and the dense model included.
    """
    import torch

    good = [row for row in rows if row.seconds is not None]
    seconds = sum(row.seconds or 0.0 for row in good)
    dense = sum(row.dense_seconds or 0.0 for row in good) if about["compare_dense"] else None
    return {
        "processes": processes,
        "machine": {
            "cpu": processor_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        },
        "metrics": {
            "seconds": round(seconds, 3),
            "dense_seconds": None if dense is None else round(dense, 3),
            "speed_up": None if dense is None or not seconds else round(min(dense / seconds, LARGEST), 3),
            "clips_per_second": round(done / wall_seconds, 3) if done else None,
        },
    }


def _accuracies(
    rows: list[ClipRow], logits: np.ndarray, dense: np.ndarray | None, labels: Mapping[str, int]
) -> dict[str, Any]:
    expected = [labels.get((row.label or "").lower(), -1) for row in rows]
    if min(expected, default=-1) < 0:
        # Of videos whose classes the model does not know there is no accuracy.
        return {"accuracy": None, "dense_accuracy": None, "accuracy_difference": None}
    right = logits.argmax(-1) == expected
    result: dict[str, Any] = {"accuracy": _share(right), "dense_accuracy": None, "accuracy_difference": None}
    if dense is not None:
        dense_right = dense.argmax(-1) == expected
        counts = [int((one & other).sum()) for one in (right, ~right) for other in (dense_right, ~dense_right)]
        both, reuse_only, dense_only, neither = counts
        interval = paired_difference_interval(both, reuse_only, dense_only, neither)
        result["dense_accuracy"] = _share(dense_right)
        result["accuracy_difference"] = _entry(float(right.mean() - dense_right.mean()), interval)
    return result


def _unlabelled(rows: list[ClipRow], labels: Mapping[str, int]) -> list[str]:
    """Why there is no accuracy, where that is for the labels of the videos."""
    without = [row.video for row in rows if not row.label]
    if without:
        return [
            f"There is no accuracy, as {len(without)} of {len(rows)} videos have no label (the first: "
            f"{shown(without[0])}); put them into folders named by their labels, or add a metadata.csv."
        ]
    unknown = [row.label for row in rows if row.label and row.label.lower() not in labels]
    if unknown:
        names = ", ".join(f"'{shown(name, 40)}'" for name in list(labels)[:_SHOWN])
        rest = f" and {len(labels) - _SHOWN:,} more" if len(labels) > _SHOWN else ""
        return [
            f"There is no accuracy, as the label '{shown(unknown[0], 40)}' of {unknown.count(unknown[0])} of "
            f"{len(rows)} videos is none of the model's ({names}{rest}); name the videos' labels as the model does."
        ]
    return []


def _fidelity(logits: np.ndarray, dense: np.ndarray | None, kind: ScoreKind) -> dict[str, Any]:
    if dense is None:
        return dict.fromkeys(("top1_agreement", "top5_agreement", "kl", "kl_low", "kl_high", "logit_error"))
    divergence = kl_divergence(dense, logits, kind)
    low, high = bootstrap_interval(divergence)
    has_labels = kind != "none"
    return {
        "top1_agreement": _share(same_top_label(dense, logits, kind)) if has_labels else None,
        "top5_agreement": round(float(top_k_agreement(dense, logits).mean()), 6) if has_labels else None,
        "kl": _rounded(float(divergence.mean())),
        "kl_low": _rounded(low),
        "kl_high": _rounded(high),
        "logit_error": _rounded(relative_logit_error(dense, logits)),
    }


def _costs(rows: list[ClipRow]) -> dict[str, Any]:
    names = ("computed_tokens", "total_tokens", "multiply_adds", "dense_multiply_adds")
    computed, total, spent, dense = (sum(getattr(row, name) for row in rows) for name in names)
    return {
        # Mode "off" counts nothing.
        "computed_share": round(computed / total, 6) if total else 1.0,
        "multiply_adds": spent,
        "dense_multiply_adds": dense,
        "multiply_add_ratio": round(dense / spent, 4) if spent else 1.0,
    }


def _share(hits: np.ndarray) -> dict[str, float]:
    return _entry(float(hits.mean()), wilson_interval(int(hits.sum()), len(hits)))


def _entry(value: float, interval: Interval) -> dict[str, float]:
    return {"value": round(value, 6), "low": round(interval.low, 6), "high": round(interval.high, 6)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
