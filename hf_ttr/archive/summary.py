"""What the rows of an archive add up to."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..answers.statistics import Interval, wilson_interval
from .results import about_of, columns_of, read_rows
from .row import ERROR_KINDS


LABELS = 20
"""Of the labels, so many of the most frequent ones are kept."""

SHARE_EDGES = tuple(number / 20 for number in range(21))
"""Between which computed shares are counted."""

DIVERGENCE_EDGES = (0.0, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, float("inf"))
"""Between which divergences are counted."""

_COLUMNS = (
    *("path", "frames", "duration", "seconds", "decoding_seconds", "computed_tokens", "total_tokens"),
    *("multiply_adds", "dense_multiply_adds", "dense_seconds", "divergence", "same_answer", "error", "error_kind"),
    *("computed_share", "labels"),
)


@dataclass(frozen=True)
class Failure:
    """
    Videos without a result, for one kind of reason.

    Attributes:
        videos: how many there are.
        path, error: of one of them.
    """

    videos: int
    path: str
    error: str


@dataclass(frozen=True)
class Checks:
    """
    What the dense model said of the videos that were chosen for a check.

    Attributes:
        videos: how many there are.
        answers, same_answers: of how many of them there are answers to compare, and how many of these are the same.
        agreement: 95 % interval (Wilson) of the share of the same; `None` where there are none to compare.
        mean_divergence, worst_divergence: of the answers; `None` where one is no number, which is the worst.
        worst_path: the video with the worst.
        seconds: that the dense model took.
        counts: of divergences between `DIVERGENCE_EDGES`.
    """

    videos: int
    answers: int
    same_answers: int
    agreement: Interval | None
    mean_divergence: float | None
    worst_divergence: float | None
    worst_path: str
    seconds: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Summary:
    """
    An archive in figures.

    Attributes:
        folder: of its results.
        about: what they are of.
        videos, frames: all that have a row, and the frames of them that the model saw.
        failures: by kind, in the order of `ERROR_KINDS`.
        video_seconds: of the videos with a result whose length is known.
        unknown_lengths: how many videos with a result have another.
        seconds, decoding_seconds: of the model, and of decoding and preparing beside it.
        times_real_time: seconds of video for each second of the model; `None` where nothing is known of it.
        computed_share: of all tokens; `None` where none were counted.
        multiply_adds, dense_multiply_adds: of all videos.
        checks: of the dense model; `None` where there were none.
        labels: the most frequent best labels, and of how many videos they are.
        share_counts: of the computed shares of videos between `SHARE_EDGES`.
    """

    folder: str
    about: dict[str, Any]
    videos: int
    frames: int
    failures: dict[str, Failure]
    video_seconds: float
    unknown_lengths: int
    seconds: float
    decoding_seconds: float
    times_real_time: float | None
    computed_share: float | None
    multiply_adds: int
    dense_multiply_adds: int
    checks: Checks | None
    labels: list[tuple[str, int]]
    share_counts: tuple[int, ...]

    @property
    def failed(self) -> int:
        """How many videos have no result."""
        return sum(failure.videos for failure in self.failures.values())


def summarise(folder: str | os.PathLike[str]) -> Summary:
    """
    The figures of the results in a folder, also while they are written.

    They are read part by part, without embeddings.

    Raises:
        DataError: if there are none, or they cannot be read; one sentence.
    """
    folder = os.fspath(folder)
    about = about_of(folder)
    present = columns_of(folder)
    sums = _Sums()
    for table in read_rows(folder, [name for name in _COLUMNS if name in present]):
        sums.add(table)
    total = sums.total
    return Summary(
        folder=folder,
        about=about,
        videos=sums.videos,
        frames=int(total["frames"]),
        failures={kind: sums.failures[kind] for kind in sorted(sums.failures, key=_rank)},
        video_seconds=sums.video_seconds,
        unknown_lengths=sums.unknown_lengths,
        seconds=float(total["seconds"]),
        decoding_seconds=float(total["decoding_seconds"]),
        times_real_time=sums.video_seconds / sums.timed_seconds if sums.timed_seconds else None,
        computed_share=total["computed_tokens"] / total["total_tokens"] if total["total_tokens"] else None,
        multiply_adds=int(total["multiply_adds"]),
        dense_multiply_adds=int(total["dense_multiply_adds"]),
        checks=sums.checks(),
        labels=sorted(sums.labels.items(), key=lambda entry: (-entry[1], entry[0]))[:LABELS],
        share_counts=tuple(sums.share_counts.tolist()),
    )


def _rank(kind: str) -> tuple[int, str]:
    return (ERROR_KINDS.index(kind) if kind in ERROR_KINDS else len(ERROR_KINDS), kind)


_SUMMED = ("frames", "seconds", "decoding_seconds", "computed_tokens", "total_tokens", "multiply_adds")


@dataclass
class _Sums:
    """What the parts that were read so far add up to."""

    videos: int = 0
    total: Counter[str] = field(default_factory=Counter)
    failures: dict[str, Failure] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    video_seconds: float = 0.0
    timed_seconds: float = 0.0
    unknown_lengths: int = 0
    checked: int = 0
    answers: int = 0
    same_answers: int = 0
    divergence: float = 0.0
    worst: tuple[float, str] = (-1.0, "")
    share_counts: np.ndarray = field(default_factory=lambda: np.zeros(len(SHARE_EDGES) - 1, int))
    divergence_counts: np.ndarray = field(default_factory=lambda: np.zeros(len(DIVERGENCE_EDGES) - 1, int))

    def add(self, table: Any) -> None:
        """Adds a part."""
        from pyarrow import compute

        self.videos += len(table)
        for name in (*_SUMMED, "dense_multiply_adds", "dense_seconds"):
            # Arrow's sum of whole numbers begins anew beyond 64 bits.
            self.total[name] += sum(table[name].drop_null().to_pylist())
        self._add_failures(table.filter(compute.is_valid(table["error"])))
        good = table.filter(compute.is_null(table["error"]))
        timed = good.filter(compute.is_valid(good["duration"]))
        self.video_seconds += compute.sum(timed["duration"]).as_py() or 0.0
        self.timed_seconds += compute.sum(timed["seconds"]).as_py() or 0.0
        self.unknown_lengths += len(good) - len(timed)
        self.share_counts += _counts(good["computed_share"].drop_null().to_numpy(), SHARE_EDGES)
        self._add_checks(good.filter(compute.or_(*map(compute.is_valid, (good["divergence"], good["dense_seconds"])))))
        if "labels" in table.column_names:
            labelled = good.filter(compute.greater(compute.list_value_length(good["labels"]), 0))
            for entry in compute.value_counts(compute.list_element(labelled["labels"], 0)).to_pylist():
                self.labels[entry["values"]] += entry["counts"]

    def _add_failures(self, failed: Any) -> None:
        for path, error, kind in zip(*(failed[name].to_pylist() for name in ("path", "error", "error_kind"))):
            known = self.failures.get(kind or "unknown", Failure(0, path, error))
            self.failures[kind or "unknown"] = Failure(known.videos + 1, known.path, known.error)

    def _add_checks(self, checked: Any) -> None:
        from pyarrow import compute

        if not len(checked):
            return
        self.checked += len(checked)
        # A row may have none of what is no number, which is as far as can be.
        divergences = np.nan_to_num(checked["divergence"].to_numpy(), nan=np.inf, posinf=np.inf)
        self.divergence += float(divergences.sum())
        self.divergence_counts += _counts(divergences, DIVERGENCE_EDGES)
        worst = int(np.argmax(divergences))
        self.worst = max(self.worst, (float(divergences[worst]), checked["path"][worst].as_py()))
        self.answers += len(checked) - checked["same_answer"].null_count
        self.same_answers += compute.sum(checked["same_answer"]).as_py() or 0

    def checks(self) -> Checks | None:
        """What checks add up to."""
        if not self.checked:
            return None
        return Checks(
            videos=self.checked,
            answers=self.answers,
            same_answers=self.same_answers,
            agreement=wilson_interval(self.same_answers, self.answers) if self.answers else None,
            mean_divergence=_if_finite(self.divergence / self.checked),
            worst_divergence=_if_finite(self.worst[0]),
            worst_path=self.worst[1],
            seconds=float(self.total["dense_seconds"]),
            counts=tuple(self.divergence_counts.tolist()),
        )


def _if_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _counts(numbers: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """How many numbers lie between edges, those beyond at the ends."""
    places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    return np.bincount(places, minlength=len(edges) - 1)


__all__ = ["DIVERGENCE_EDGES", "SHARE_EDGES", "Checks", "Failure", "Summary", "summarise"]
