"""Intervals, against cases worked out by hand and against the curves of single draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.bootstrap import Resampled, costs_at_kl, draws, of_mean, of_median, of_share
from benchmarks.curves import cost_or_mixed


def test_the_interval_of_a_mean_is_that_of_the_binomial() -> None:
    # How often the one of eight is drawn is binomial with n = 8, p = 1/8, whose distribution function is 0.34 at 0,
    # 0.93 at 2 and 0.99 at 3, so that 2.5 % lie at 0 and 97.5 % at 3, of 8.
    assert of_mean([1.0, *[0.0] * 7]) == (0.0, 3 / 8)
    assert of_share(1 / 8, 8) == (0.0, 3 / 8)
    # Two videos: means of 0, 1/2 and 1 with probabilities of 1/4, 1/2 and 1/4.
    assert of_mean([0.0, 1.0]) == (0.0, 1.0) and of_mean([0.3] * 4) == pytest.approx((0.3, 0.3))
    # The median of three is the largest where two or three of them are: with a probability of 7/27.
    assert of_median([1.0, 2.0, 3.0]) == (1.0, 3.0)
    assert np.allclose(draws(5).sum(axis=1), 1) and np.array_equal(draws(5), draws(5))


def test_costs_of_many_curves_are_those_of_each() -> None:
    random = np.random.RandomState(1)
    shares, kls = random.uniform(0.05, 1, (300, 5)), random.uniform(0, 0.2, (300, 5)) ** 2
    found = costs_at_kl(shares, kls, 0.01)
    expected = [cost_or_mixed(list(zip(*curve)), 0.01) for curve in zip(shares.tolist(), kls.tolist())]
    assert found == pytest.approx([cost.share for cost in expected])
    assert {(cost.at_most, cost.mixed) for cost in expected} == {(False, False), (True, False), (False, True)}


def test_the_rival_of_each_draw_is_the_best_there() -> None:
    methods: dict[str, Any] = {
        name: {"title": name, "stream": True, "ours": name == "causal"} for name in ("causal", "stc", "stgt")
    }
    costs = {"causal": (0.2, 0.2), "stc": (0.3, 0.9), "stgt": (0.9, 0.3)}
    rows = [
        {"key": ["vit real", name, f"{kl:g}", video], "share": cost if kl == 0.02 else 1.0, "kl": kl}
        for name, pair in costs.items()
        for video, cost in zip("ab", pair)
        for kl in (0.02, 0.001)
    ]
    found = Resampled({"methods": methods, "rows": rows}, "real")
    assert found.costs("causal", 0.02) == pytest.approx(0.2)
    # Both videos: 0.6 of either rival; one of them twice: 0.3 of the one that is good there.
    assert set(np.round(found.best("causal", 0.02), 6)) == {0.3, 0.6}
