"""The best polyline against brute force: every piece summed point by point, every set of corners tried."""

import itertools
import math

import pytest
import torch

from hf_ttr.planning.bidirectional import best_corners, polyline_errors
from hf_ttr.planning.plan import NEVER


AGES = (1, 4, 2, NEVER, 9)


def trajectories(points: int) -> torch.Tensor:
    """Random walks of shape `(len(AGES), points, 5)`, centred as the planner centres them."""
    generator = torch.Generator().manual_seed(points)
    walks = torch.randn(len(AGES), points, 5, generator=generator).cumsum(1)
    origin = [1 if age == NEVER else 0 for age in AGES]
    return walks - walks[torch.arange(len(AGES)), origin][:, None]


def moments(age: int, points: int) -> list[int]:
    return [-age, *range(points - 1)]


def piece(walk: torch.Tensor, time: list[int], left: int, right: int, max_age: int | None) -> float:
    too_long = time[left] <= -NEVER or (max_age is not None and time[right] - time[left] > max_age)
    if right > left + 1 and too_long:
        return math.inf
    error = 0.0
    for point in range(left + 1, right):
        alpha = (time[point] - time[left]) / (time[right] - time[left])
        error += (walk[point] - (1 - alpha) * walk[left] - alpha * walk[right]).square().sum().item()
    return error


def held(walk: torch.Tensor, time: list[int], corner: int, max_age: int | None) -> float:
    last = len(time) - 1
    if time[corner] <= -NEVER:
        return math.inf
    if corner < last and max_age is not None and time[last] - time[corner] >= max_age:
        return math.inf
    return (walk[corner + 1 :] - walk[corner]).square().sum().item()


@pytest.mark.parametrize("points", [2, 5, 7], ids=lambda points: f"{points}-points")
@pytest.mark.parametrize("max_age", [None, 20, 3, 1], ids=lambda max_age: f"max-age-{max_age}")
def test_errors_of_every_piece(points: int, max_age: int | None) -> None:
    walks = trajectories(points)
    segments, tail = polyline_errors(walks @ walks.transpose(1, 2), torch.tensor(AGES), max_age)
    for number, (walk, age) in enumerate(zip(walks, AGES)):
        time = moments(age, points)
        for left, right in itertools.combinations(range(points), 2):
            gap = right - left
            found = segments[number, left, gap - 1].item() if gap <= segments.shape[2] else math.inf
            assert found == pytest.approx(piece(walk, time, left, right, max_age), rel=1e-3, abs=1e-3)
        for corner in range(points):
            assert tail[number, corner].item() == pytest.approx(held(walk, time, corner, max_age), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("price", [0.5, 3.0, 30.0], ids=lambda price: f"price-{price:g}")
@pytest.mark.parametrize("max_age", [None, 3], ids=lambda max_age: f"max-age-{max_age}")
def test_no_other_polyline_costs_less(price: float, max_age: int | None) -> None:
    points = 7
    walks = trajectories(points)
    segments, tail = polyline_errors(walks @ walks.transpose(1, 2), torch.tensor(AGES), max_age)
    prices = torch.full((2, len(AGES)), price)
    prices[1] = 1e6  # an alternative that must not disturb the first
    corners = best_corners(segments, tail, prices)[0]
    for walk, age, chosen in zip(walks, AGES, corners):
        time = moments(age, points)

        def cost(inner: tuple[int, ...], walk: torch.Tensor = walk, time: list[int] = time) -> float:
            path = (0, *inner)
            pieces = sum(piece(walk, time, left, right, max_age) for left, right in itertools.pairwise(path))
            return len(inner) * price + pieces + held(walk, time, path[-1], max_age)

        candidates = (inner for size in range(points) for inner in itertools.combinations(range(1, points), size))
        found = tuple(chosen[1:].nonzero().squeeze(-1).add(1).tolist())
        assert bool(chosen[0])
        assert cost(found) == pytest.approx(min(map(cost, candidates)), rel=1e-4, abs=1e-3)
