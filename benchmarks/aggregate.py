"""From the cells of a sweep to curves: means over videos at each setting, and how methods compare on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from .curves import Cost, Point, cost_or_mixed, value_at_cost


@dataclass
class Mean:
    """
    A method at one setting, the mean over the subjects (videos, or one set of clips).

    Attributes:
        setting: of the method.
        values: means of what the cells hold; `time` is the wall-clock over the dense one.
        worst, worst_kl: the subject of the largest KL.
    """

    setting: float
    values: dict[str, float]
    worst: str
    worst_kl: float


Curves = dict[str, list[Mean]]
"""By method, from the cheapest setting up."""


def subjects_of(result: dict[str, Any], name: str) -> list[str]:
    """The subjects of a set, in the order of their names."""
    return sorted({row["key"][3] for row in result["rows"] if row["key"][0].endswith(f" {name}")})


def curves_of(result: dict[str, Any], name: str, subjects: Sequence[str] | None = None) -> Curves:
    """
    The curves of all methods on a set.

    Args:
        result: a part of sweeps.
        name: of the set, the last word of the first field of the keys.
        subjects: the subjects to take; by default all. A setting that was not measured on each is left out.
    """
    subjects = subjects_of(result, name) if subjects is None else subjects
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        if row["key"][0].endswith(f" {name}") and row["key"][3] in subjects:
            groups.setdefault((row["key"][1], row["key"][2]), []).append(row)
    curves: Curves = {}
    for (method, setting), rows in groups.items():
        if len(rows) == len(subjects):
            curves.setdefault(method, []).append(_mean(float(setting), rows))
    return {method: sorted(curve, key=lambda entry: entry.values["share"]) for method, curve in curves.items()}


def _mean(setting: float, rows: list[dict[str, Any]]) -> Mean:
    rows = [{**row, "time": row["seconds"] / row["dense_seconds"]} for row in rows]
    # Of one clip there is no worst.
    shared = set.intersection(*(set(row) for row in rows))
    names = [name for name, value in rows[0].items() if isinstance(value, (int, float)) and name in shared]
    worst = max(rows, key=lambda row: row["kl"])
    return Mean(
        setting,
        {name: fmean(row[name] for row in rows) for name in names},
        worst.get("worst", worst["key"][3]),
        worst.get("worst_kl", worst["kl"]),
    )


def points(curve: Iterable[Mean], cost: str = "share") -> list[Point]:
    """Cost (`"share"` of the multiply-adds, or `"time"`) and KL of each setting."""
    return [(entry.values[cost], entry.values["kl"]) for entry in curve]


def value_at(curve: Iterable[Mean], name: str, share: float) -> float | None:
    """Another mean at a share of the multiply-adds, between settings as `value_at_cost` has it."""
    return value_at_cost([(entry.values["share"], entry.values[name]) for entry in curve], share)


def is_baseline(methods: dict[str, Any], key: str) -> bool:
    """Whether a method is neither of this package nor the dense model."""
    return not methods[key]["ours"] and not key.startswith("dense")


FRAME_BY_FRAME = (
    "random_drop",
    "tome",
    "tome_published",
    "vid_tldr",
    "vid_tldr_published",
    "pitome",
    "ats",
    "pruning",
)
"""Methods that run in batches, but look at each frame of a ViT by itself; a stream could have them, too."""


def is_online(methods: dict[str, Any], key: str) -> bool:
    """Whether a method knows no future: it sees a frame, and what came before. None does where windows are seen."""
    frames = any(method["stream"] for method in methods.values())
    return bool(methods[key]["stream"]) or (frames and key in FRAME_BY_FRAME)


def rivals(methods: dict[str, Any], ours: str) -> list[str]:
    """The baselines of a method: one that knows no future is compared with such as know none, others with all."""
    online = is_online(methods, ours)
    return [key for key in methods if is_baseline(methods, key) and (is_online(methods, key) or not online)]


def best_baseline(curves: Curves, keys: Iterable[str], target: float) -> tuple[str, Cost] | None:
    """The cheapest of some methods at a KL; one that does not get there may be mixed with the dense model."""
    found = [(key, cost_or_mixed(points(curves[key]), target)) for key in keys if key in curves]
    return min(found, key=lambda pair: pair[1].share, default=None)


@dataclass
class Versus:
    """
    A method of this package and its best rival on one video, or on the mean of some, at equal KL.

    Attributes:
        video: which.
        own, best: the costs.
        rival: the short name of the other method.
    """

    video: str
    own: Cost
    best: Cost
    rival: str

    @property
    def quotient(self) -> float:
        """The cost over that of the rival; where either is a bound, of the cheapest settings that were measured."""
        return self.own.share / self.best.share


def versus(curves: Curves, methods: dict[str, Any], ours: str, target: float, video: str = "") -> Versus | None:
    """A method of this package against the best of its `rivals` on the same curves; `None` without either."""
    found = best_baseline(curves, rivals(methods, ours), target) if ours in curves else None
    if found is None:
        return None
    return Versus(video, cost_or_mixed(points(curves[ours]), target), found[1], found[0])


def versus_by_video(result: dict[str, Any], names: Iterable[str], ours: str, target: float) -> list[Versus]:
    """`versus` on each video of some sets."""
    found = [
        versus(curves_of(result, name, [video]), result["methods"], ours, target, video)
        for name in names
        for video in subjects_of(result, name)
    ]
    return [one for one in found if one is not None]
