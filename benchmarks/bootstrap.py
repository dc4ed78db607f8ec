"""
Intervals of figures that are means over videos: the percentile bootstrap (Efron, 1979).

The videos are drawn with replacement, as many as there are, and the figure is worked out anew from each draw. That
says how far it would move with other videos of the same kind; it knows nothing of videos of another kind, and takes
those of one camera, or of one data set, for as different as any.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .aggregate import rivals, subjects_of
from .curves import SMALLEST
from .store import ResultError


RESAMPLES = 10_000
SEED = 0
CONFIDENCE = 0.95
Interval = tuple[float, float]


def draws(count: int) -> np.ndarray:
    """
    How often each of `count` videos is drawn.

    Returns:
        `np.ndarray` of shape `(RESAMPLES, count)`, each row a draw, with sum 1: a product with it gives means.
    """
    # This generator's numbers are the same in every version of numpy.
    return np.random.RandomState(SEED).multinomial(count, [1 / count] * count, size=RESAMPLES) / count


def interval(values: np.ndarray) -> Interval:
    """The percentiles between which the confidence lies, of a figure in each draw."""
    low, high = np.percentile(values, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return float(low), float(high)


def of_mean(values: Iterable[float]) -> Interval:
    """The interval of a mean."""
    found = np.array(list(values))
    return interval(draws(len(found)) @ found)


def of_share(share: float, count: int) -> Interval:
    """The interval of a share of clips, such as an accuracy: how many there are says which values were drawn from."""
    return interval(np.random.RandomState(SEED).binomial(count, round(share * count) / count, size=RESAMPLES) / count)


def of_median(values: Iterable[float]) -> Interval:
    """The interval of a median."""
    found = np.array(list(values))
    chosen = np.random.RandomState(SEED).randint(len(found), size=(RESAMPLES, len(found)))
    return interval(np.median(found[chosen], axis=1))


def costs_at_kl(shares: np.ndarray, kls: np.ndarray, target: float) -> np.ndarray:
    """
    `curves.cost_or_mixed` of many curves at once.

    Args:
        shares, kls (`np.ndarray` of shape `(draws, settings)`): the curves.
        target: the KL.

    Returns:
        `np.ndarray` of shape `(draws,)`: the shares of the dense model's cost.
    """
    order = np.argsort(shares, axis=1, kind="stable")
    shares = np.take_along_axis(shares, order, axis=1)
    kls = np.maximum(np.take_along_axis(kls, order, axis=1), SMALLEST)
    mixed = np.where(shares[:, -1] < 1, 1 - (1 - shares[:, -1]) * target / kls[:, -1], 1.0)
    good = kls <= target
    high = np.argmax(good, axis=1)
    low = np.maximum(high - 1, 0)
    (low_share, low_kl), (high_share, high_kl) = (
        [np.log(np.take_along_axis(array, place[:, None], axis=1)[:, 0]) for array in (shares, kls)]
        for place in (low, high)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(high > 0, (np.log(target) - low_kl) / (high_kl - low_kl), 0.0)
    return np.where(good.any(axis=1), np.exp(low_share + part * (high_share - low_share)), mixed)


class Resampled:
    """
    The curves of a set of videos in every draw.

    Args:
        result: a part of sweeps, with a row for every method, setting and video.
        name: of the set, the last word of the first field of the keys.

    Attributes:
        videos (`list[str]`): the videos.
        draws (`np.ndarray` of shape `(draws, videos)`): see `draws`.
        settings: by method, for each setting that was measured on every video, the rows by video.
    """

    def __init__(self, result: dict[str, Any], name: str) -> None:
        self.methods = result["methods"]
        self.videos = subjects_of(result, name)
        self.draws = draws(len(self.videos))
        self.found: dict[tuple[str, float], np.ndarray] = {}
        rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        for row in result["rows"]:
            if row["key"][0].endswith(f" {name}"):
                rows.setdefault((row["key"][1], row["key"][2]), {})[row["key"][3]] = row
        self.settings: dict[str, list[dict[str, dict[str, Any]]]] = {}
        for (method, _), by_video in rows.items():
            if len(by_video) == len(self.videos):
                self.settings.setdefault(method, []).append(by_video)

    def means(self, key: str, value: str) -> np.ndarray:
        """
        The mean of a value of a method over the videos of each draw, `(draws, settings)`.

        Raises:
            ResultError: if no setting of the method was measured on every video.
        """
        if key not in self.settings:
            raise ResultError(f"no setting of {key} was measured on every video.")
        return self.draws @ np.array([[rows[video][value] for rows in self.settings[key]] for video in self.videos])

    def costs(self, key: str, target: float) -> np.ndarray:
        """What a method needs for a KL in each draw, `(draws,)`."""
        if (key, target) not in self.found:
            self.found[key, target] = costs_at_kl(self.means(key, "share"), self.means(key, "kl"), target)
        return self.found[key, target]

    def best(self, ours: str, target: float) -> np.ndarray:
        """What the best rival of a method needs, in each draw the one that is best there, `(draws,)`."""
        measured = [key for key in rivals(self.methods, ours) if key in self.settings]
        return np.min([self.costs(key, target) for key in measured], axis=0)

    def value(self, key: str, value: str, target: float) -> np.ndarray:
        """A value of a method at the cost that it needs for a KL, in each draw, `(draws,)`."""
        return self.value_at(key, value, self.costs(key, target))

    def value_at(self, key: str, value: str, cost: np.ndarray | float) -> np.ndarray:
        """A value of a method at a cost, or one for each draw, in each draw, `(draws,)`."""
        shares, values = self.means(key, "share"), self.means(key, value)
        order = np.argsort(shares, axis=1, kind="stable")
        shares, values = (np.take_along_axis(array, order, axis=1) for array in (np.log(shares), values))
        at = np.broadcast_to(np.log(cost), len(shares))
        return np.array([np.interp(*curve) for curve in zip(at, shares, values)])
