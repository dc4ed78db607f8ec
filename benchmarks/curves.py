"""Arithmetic on curves of fidelity against cost: equal fidelity, equal cost, fronts, percentiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


Point = tuple[float, float]
"""Cost (a share of the dense model's) and KL divergence."""
SMALLEST = 1e-9
"""In place of a KL of zero, which has no logarithm."""


@dataclass
class Cost:
    """
    What a method has to spend for a given KL.

    Attributes:
        share: of the dense model's cost.
        at_most: whether even the cheapest point measured is good enough, so that less would do.
        mixed: whether no point measured is good enough, and the dense model takes a part of the frames.
    """

    share: float
    at_most: bool = False
    mixed: bool = False


def cost_at_kl(points: Sequence[Point], target: float) -> Cost | None:
    """
    The least cost at which the curve comes down to a KL, interpolated between points on logarithmic axes.

    Returns:
        `None` where it never does.
    """
    ordered = _ordered(points)
    if ordered and ordered[0][1] <= target:
        return Cost(ordered[0][0], at_most=True)
    for (low, low_kl), (high, high_kl) in zip(ordered, ordered[1:]):
        if high_kl <= target < low_kl:
            part = (math.log(target) - math.log(low_kl)) / (math.log(high_kl) - math.log(low_kl))
            return Cost(math.exp(math.log(low) + part * (math.log(high) - math.log(low))))
    return None


def cost_or_mixed(points: Sequence[Point], target: float) -> Cost:
    """
    `cost_at_kl`; where the curve never comes down to the KL, that of its dearest point on a part of the frames and of
    the dense model on the others. Cost and KL of such a mixture are means, so any method can have it.
    """
    cost = cost_at_kl(points, target)
    if cost is None:
        share, kl = max(_ordered(points), default=(1.0, 0.0))
        cost = Cost(1 - (1 - share) * target / kl if share < 1 else 1.0, mixed=True)
    return cost


def kl_at_cost(points: Sequence[Point], share: float) -> float | None:
    """The KL at a cost, interpolated between neighbouring points on logarithmic axes; `None` outside the curve."""
    logarithm = value_at_cost([(cost, math.log(kl)) for cost, kl in _ordered(points)], share)
    return None if logarithm is None else math.exp(logarithm)


def value_at_cost(points: Sequence[Point], share: float) -> float | None:
    """A value at a cost, linear in the logarithm of the cost between neighbours; `None` outside the curve."""
    ordered = sorted(points)
    for (low, low_value), (high, high_value) in zip(ordered, ordered[1:]):
        if low <= share <= high:
            if high == low:
                return min(low_value, high_value)
            part = (math.log(share) - math.log(low)) / (math.log(high) - math.log(low))
            return low_value + part * (high_value - low_value)
    return None


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points than which no other is as cheap and as good, by rising cost."""
    front: list[Point] = []
    for point in sorted(set(points)):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def percentile(values: Sequence[float], share: float) -> float:
    """
    The value below which a share (0 to 1) of the values lies, linear between neighbours.

    Raises:
        ValueError: if there are too few values for it: a percentile above which not one whole value lies is made of
            the largest one alone, which should then be said instead.
    """
    if 0 < share < 1 and len(values) * (1 - share) < 1 - 1e-9:
        raise ValueError(f"{len(values)} values have no percentile {100 * share:g}; show the largest of them.")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _ordered(points: Sequence[Point]) -> list[Point]:
    return sorted((share, max(kl, SMALLEST)) for share, kl in points)
