"""The best runs against brute force: every error summed time by time, every division tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseConfig
from hf_ttr.planning.runs import (
    HELD,
    best_runs,
    choose_runs,
    drift,
    pairwise_distances,
    representative_fractions,
    representatives,
    run_costs,
)
from hf_ttr.planning.window_plan import is_computed


GRID = (2, 3)
POSITIONS = 6


def settings(**changes: Any) -> TemporalReuseConfig:
    """The plainest settings: the price of a run against every position's own error."""
    plain = {"max_age": None, "context_weight": 0, "drift_weight": 0, "representative": "middle"}
    if "compute_budget" not in changes:
        plain["threshold"] = 0.5
    return TemporalReuseConfig(**{**plain, **changes})


def random_costs(count: int, times: int, known: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances of random points, and errors of what is held: some infinite, or all."""
    generator = torch.Generator().manual_seed(times)
    distances = pairwise_distances(torch.randn(count, times, 3, generator=generator))
    held = torch.full((count, times), torch.inf)
    if known:
        held = torch.rand(count, times, generator=generator) * 6
        held[torch.rand(count, times, generator=generator) < 0.3] = torch.inf
    return distances, held


def walks(batch: int, times: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, times, POSITIONS, 4, generator=generator).mul(0.4).cumsum(1)


def run_error(distances: torch.Tensor, held: torch.Tensor, start: int, end: int, middle: int) -> float:
    return sum(min(float(distances[time, middle]), float(held[time])) for time in range(start, end))


def divisions(start: int, times: int) -> Iterator[list[tuple[int, int] | int]]:
    """Every way to cover the times by runs (start, end) and single times that are held."""
    if start == times:
        yield []
        return
    for rest in divisions(start + 1, times):
        yield [start, *rest]
    for end in range(start + 1, times + 1):
        for rest in divisions(end, times):
            yield [(start, end), *rest]


def middle_of(start: int, end: int, fraction: float) -> int:
    return start + math.floor(fraction * (end - start))


FRACTIONS = pytest.mark.parametrize(
    "fractions", [[0.0] * 4, [0.5] * 4, [0.125, 0.625, 0.875, 0.375]], ids=["start", "middle", "spread"]
)
KNOWN = pytest.mark.parametrize("known", [False, True], ids=["new", "held"])


@FRACTIONS
@KNOWN
@pytest.mark.parametrize("times", [1, 2, 5, 8])
def test_costs_are_the_sums_of_the_errors(times: int, known: bool, fractions: list[float]) -> None:
    distances, held = random_costs(4, times, known)
    middles = representatives(times, torch.tensor(fractions))
    costs = run_costs(torch.minimum(distances, held[..., None]).cumsum(1), middles)
    for number, start, length in itertools.product(range(4), range(times), range(1, times + 1)):
        found = costs[number, start, length - 1].item()
        if start + length > times:
            assert found == math.inf
            continue
        middle = middle_of(start, start + length, fractions[number])
        assert middles[number, start, length - 1] == middle
        expected = run_error(distances[number], held[number], start, start + length, middle)
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


@FRACTIONS
@KNOWN
@pytest.mark.parametrize("price", [0.01, 0.5, 3.0, 30.0], ids=lambda price: f"price-{price:g}")
def test_no_other_division_costs_less(price: float, known: bool, fractions: list[float]) -> None:
    times, count = 6, 4
    distances, held = random_costs(count, times, known)
    prices = torch.full((2, count), price)
    prices[1] = 1e6  # an alternative that must not disturb the first
    sources = best_runs(distances, held, torch.tensor(fractions))(prices)[0]
    for number in range(count):
        own, left, fraction = distances[number], held[number], fractions[number]

        def cost(
            division: list, own: torch.Tensor = own, left: torch.Tensor = left, fraction: float = fraction
        ) -> float:
            return sum(
                float(left[part])
                if isinstance(part, int)
                else price + run_error(own, left, *part, middle_of(*part, fraction))
                for part in division
            )

        best = min(map(cost, divisions(0, times)))
        chosen = sources[number].tolist()
        mine = price * sum(source == time for time, source in enumerate(chosen))
        for time, source in enumerate(chosen):
            mine += float(left[time]) if source == HELD else min(float(own[time, source]), float(left[time]))
            # What stands for a slot stands for itself, and is no farther than what was left.
            assert source == HELD or chosen[source] == source
            assert source in (HELD, time) or own[time, source] <= left[time]
        assert mine == pytest.approx(best, rel=1e-4, abs=1e-4)


@FRACTIONS
def test_a_run_is_one_stretch_of_time(fractions: list[float]) -> None:
    distances, held = random_costs(4, 6, known=False)
    for own in best_runs(distances, held, torch.tensor(fractions))(torch.ones(1, 4))[0].tolist():
        stretches = [source for source, _ in itertools.groupby(own)]
        assert stretches == sorted(set(stretches))


@pytest.mark.parametrize(
    ("mode", "representative", "expected"),
    [
        ("bidirectional", "middle", [0.5] * 6),
        ("bidirectional", "interpolate", [0.5] * 6),
        ("bidirectional", "start", [0.0] * 6),
        ("causal", "middle", [0.0] * 6),
        ("causal", "spread", [0.0] * 6),
        ("bidirectional", "spread", [0.1, 0.3, 0.5, 0.5, 0.7, 0.9]),
    ],
)
def test_where_the_tokens_lie_in_their_runs(mode: str, representative: str, expected: list[float]) -> None:
    config = settings(mode=mode, representative=representative)
    assert representative_fractions(GRID, config).tolist() == pytest.approx(expected)


def test_distances_of_all_pairs() -> None:
    points = torch.randn(2, 3, 5, 4) + 100
    expected = (points[..., :, None, :] - points[..., None, :, :]).square().sum(-1)
    torch.testing.assert_close(pairwise_distances(points), expected, atol=1e-4, rtol=1e-4)


def test_the_same_points_have_no_distance() -> None:
    points = torch.randn(4, 1, 16).repeat(1, 5, 1) * 1000
    assert not pairwise_distances(points).any()


def test_drift_grows_with_the_square_of_the_time() -> None:
    expected = [[0, 1, 4], [1, 0, 1], [4, 1, 0]]
    torch.testing.assert_close(
        drift(3, settings(drift_weight=0.5), torch.device("cpu")) * 2, torch.tensor(expected).float()
    )


def chosen(*args: Any) -> torch.Tensor:
    """What stands for each slot, without its errors."""
    return choose_runs(*args)[0]


def test_a_slot_stands_for_itself() -> None:
    sources = torch.tensor([[[0, HELD], [0, 1], [2, 1]]])
    assert is_computed(sources).tolist() == [[[True, False], [False, True], [True, False]]]


@pytest.mark.parametrize(("mode", "representative", "time"), [
    ("bidirectional", "middle", 2), ("bidirectional", "interpolate", 2), ("bidirectional", "start", 0),
    ("causal", "middle", 0), ("causal", "interpolate", 0),
])  # fmt: skip
def test_a_still_picture_takes_one_token(mode: str, representative: str, time: int) -> None:
    config = settings(mode=mode, representative=representative)
    sources = chosen(torch.ones(2, 4, POSITIONS, 3), None, GRID, config)
    assert (sources == time).all()


def test_drift_divides_a_still_picture() -> None:
    features = torch.ones(1, 8, POSITIONS, 3)
    counts = [
        is_computed(chosen(features, None, GRID, settings(drift_weight=weight))).sum((1, 2)).item() / POSITIONS
        for weight in (0, 0.03, 0.3, 10)
    ]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (1, 8)


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_what_is_held_costs_nothing(known: bool) -> None:
    features = walks(1, 4)
    held = torch.zeros(1, 4, POSITIONS)
    held[0, :, 0] = held[0, 1, 1] = torch.inf
    sources = chosen(features, held, GRID, settings(threshold=1e-3))
    assert (sources[0, :, 2:] == HELD).all()
    assert sources[0, :, 0].tolist() == [0, 1, 2, 3]
    assert sources[0, :, 1].tolist() == [HELD, 1, HELD, HELD]


def test_within_a_run_the_nearer_one_is_taken() -> None:
    # The second time is far, and the third was left by an earlier window; one token at the first would do for both.
    features = torch.tensor([0.0, 0.3, 0.4]).view(1, 3, 1, 1).repeat(1, 1, POSITIONS, 1)
    held = torch.tensor([torch.inf, 0.01, torch.inf]).view(1, 3, 1).repeat(1, 1, POSITIONS)
    sources = chosen(features, held, GRID, settings(mode="causal", threshold=1.0))
    assert sources[0, :, 0].tolist() == [0, HELD, 0]


@pytest.mark.parametrize("representative", ["middle", "start"])
@pytest.mark.parametrize("budget", [0.2, 0.3, 0.6, 1.0])
def test_a_budget_is_met_by_each_stream(budget: float, representative: str) -> None:
    features = walks(3, 8)
    features[2] = features[2, :1]
    config = settings(compute_budget=budget, representative=representative)
    shares = is_computed(chosen(features, None, GRID, config, budget)).float().mean((1, 2))
    assert (shares <= budget).all()
    assert (shares[:2] > budget - 0.08).all()
    assert shares[2] == 1 / 8


def test_too_small_a_budget_leaves_a_token_for_each_position() -> None:
    sources = chosen(walks(2, 8), None, GRID, settings(compute_budget=0.01), 0.01)
    assert (is_computed(sources).sum(1) == 1).all()


def test_a_budget_leaves_alone_what_is_under_the_threshold() -> None:
    by_threshold = chosen(walks(1, 8), None, GRID, settings(threshold=0.8))
    both = chosen(walks(1, 8), None, GRID, settings(threshold=0.8, compute_budget=1), 1.0)
    assert torch.equal(both, by_threshold)


def test_change_around_a_position_counts() -> None:
    features = torch.zeros(1, 4, POSITIONS, 1)
    features[0, 2:, 0] = 2.0
    plain = is_computed(chosen(features, None, GRID, settings(threshold=0.5))).sum(1)[0]
    spread = is_computed(chosen(features, None, GRID, settings(threshold=0.5, context_weight=3, context_size=3)))
    assert plain.tolist() == [2, 1, 1, 1, 1, 1]
    # All but those in the last column see the first position.
    assert spread.sum(1)[0].tolist() == [2, 2, 1, 2, 2, 1]


@pytest.mark.parametrize("budget", [None, 0.3], ids=["threshold", "budget"])
def test_streams_do_not_know_of_each_other(budget: float | None) -> None:
    features = walks(3, 6)
    held = torch.rand(3, 6, POSITIONS, generator=torch.Generator().manual_seed(2))
    held[1] = held[2, :2] = torch.inf
    config = settings(threshold=0.3, context_weight=0.5)
    together = chosen(features, held, GRID, config, budget)
    for stream in range(3):
        part = slice(stream, stream + 1)
        assert torch.equal(chosen(features[part], held[part], GRID, config, budget), together[part])


def test_errors_are_those_of_what_stands_for_a_slot() -> None:
    features = torch.tensor([0.0, 0.3, 0.4]).view(1, 3, 1, 1).repeat(1, 1, POSITIONS, 1)
    held = torch.tensor([torch.inf, 0.01, torch.inf]).view(1, 3, 1).repeat(1, 1, POSITIONS)
    config = settings(mode="causal", threshold=1.0, context_weight=0, drift_weight=0)
    _, errors = choose_runs(features, held, GRID, config)
    torch.testing.assert_close(errors[0, :, 0], torch.tensor([0.0, 0.01, 0.16]))
    sources, errors = choose_runs(features, held * 0, GRID, config)
    assert (sources[0, 1] == HELD).all()
    assert (errors[0, 1] == 0).all()
