from __future__ import annotations

import pytest

from hf_ttr.streaming.control import FidelityGuard, LatencyControl, percentile
from hf_ttr.streaming.result import Divergence


@pytest.mark.parametrize(
    "values, percent, expected",
    [([3.0], 95, 3.0), ([1.0, 2.0], 50, 1.0), ([2.0, 1.0], 51, 2.0), (list(map(float, range(1, 101))), 95, 95.0)],
)
def test_percentile(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def feed(control: LatencyControl, latency: float, times: int) -> float:
    for _ in range(times):
        control.observe(latency)
    return control.factor


def test_late_results_raise_the_factor_up_to_the_bound_and_good_ones_lower_it() -> None:
    control = LatencyControl(budget_ms=100, most=3.0)
    assert feed(control, 99, 100) == 1.0
    assert feed(control, 150, 40) > 1.0
    assert feed(control, 150, 1000) == 3.0
    assert feed(control, 90, 1000) == 3.0  # neither too late nor comfortable: nothing swings
    assert feed(control, 50, 5000) == 1.0


def test_a_few_late_results_do_not_matter() -> None:
    control = LatencyControl(budget_ms=100, most=3.0)
    for number in range(1000):
        control.observe(5000.0 if number % 50 == 0 else 80.0)
    assert control.factor == 1.0


def test_without_a_budget_nothing_moves() -> None:
    assert feed(LatencyControl(None, 4.0), 1e9, 1000) == 1.0


def test_checks_are_due_after_so_many_frames() -> None:
    guard = FidelityGuard(every=10, bound=None, limit=0.4)
    assert [guard.is_due(1) for _ in range(25)] == [number % 10 == 9 for number in range(25)]
    assert [guard.is_due(4) for _ in range(5)] == [False, True, False, True, False]
    assert [guard.is_due(25), guard.is_due(4), guard.is_due(6)] == [True, False, True]
    assert not any(FidelityGuard(None, None, 0.4).is_due(100) for _ in range(5))


def test_the_limit_falls_by_what_the_check_says() -> None:
    guard = FidelityGuard(every=10, bound=0.1, limit=0.4)
    guard.observe(Divergence(0.4, True), threshold=0.2)
    # Four times too much: half the threshold, and a little less to be safe.
    assert guard.limit == pytest.approx(0.2 * 0.5 * 0.7) and guard.exceeded == 1
    guard.observe(Divergence(1000.0, False), threshold=guard.limit)
    assert guard.limit == pytest.approx(0.07 * 0.2)
    for _ in range(100):
        guard.observe(Divergence(1000.0, False), threshold=guard.limit)
    assert guard.limit == pytest.approx(0.0004)


def test_the_limit_rises_slowly_to_a_little_below_what_was_too_much() -> None:
    guard = FidelityGuard(every=10, bound=0.1, limit=0.4)
    guard.observe(Divergence(0.4, True), threshold=0.2)
    guard.observe(Divergence(0.05, True), threshold=0.07)  # well, but not well enough for more
    assert guard.limit == pytest.approx(0.07)
    limits = []
    for _ in range(100):
        guard.observe(Divergence(0.01, True), threshold=guard.limit)
        limits.append(guard.limit)
    assert limits[0] == pytest.approx(0.07 * 1.1) and limits == sorted(limits)
    assert all(limit <= 0.7 * 0.2 * 1.03 ** (number + 2) + 1e-9 for number, limit in enumerate(limits))
    assert limits[-1] == 0.4


def test_checks_come_sooner_in_doubt() -> None:
    guard = FidelityGuard(every=10, bound=0.1, limit=0.4)

    def frames_to_next(kl: float) -> int:
        frames = next(number for number in range(1, 100) if guard.is_due(1))
        guard.observe(Divergence(kl, True), threshold=guard.limit)
        return frames

    found = [frames_to_next(kl) for kl in (0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0)]
    assert found == [2, 2, 2, 10, 10, 10, 2, 2, 2, 10]


def test_without_a_bound_checks_only_report() -> None:
    guard = FidelityGuard(every=1, bound=None, limit=0.4)
    guard.observe(Divergence(9.0, False), threshold=0.1)
    assert (guard.limit, guard.checks, guard.exceeded) == (0.4, 1, 0)


def test_state_goes_on() -> None:
    guard, other = (FidelityGuard(every=10, bound=0.1, limit=0.4) for _ in range(2))
    guard.observe(Divergence(0.2, True), threshold=0.1)
    guard.is_due(1)
    other.restore(guard.state())
    assert other == guard
    assert other.is_due(1)
