"""Wall-clock of two ways to do the same, interleaved, so that what else the machine does hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare_times(
    dense: Callable[[], Any], reuse: Callable[..., Any], rounds: int, prepare: Callable[[], Any] | None = None
) -> dict[str, float]:
    """
    Median of the ratios of neighbouring runs, after a pair to warm up.

    Args:
        dense, reuse: the two ways.
        rounds (`int`): pairs that are timed.
        prepare: called before each run of `reuse` and not timed; what it returns is its argument.
    """
    return compare_in_turn(dense, {"reuse": reuse}, rounds, prepare)["reuse"]


def compare_in_turn(
    dense: Callable[[], Any],
    ways: dict[str, Callable[..., Any]],
    rounds: int,
    prepare: Callable[[], Any] | None = None,
) -> dict[str, dict[str, float]]:
    """As `compare_times`, of several ways by name, which all run once in every round, after the dense one."""
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        dense_seconds = seconds(dense)
        for name, way in ways.items():
            arguments = [] if prepare is None else [prepare()]
            pair = (dense_seconds, seconds(lambda: way(*arguments)))  # noqa: B023
            if number:
                pairs[name].append(pair)
    return {
        name: {
            "dense_seconds": statistics.median(pair[0] for pair in own),
            "reuse_seconds": statistics.median(pair[1] for pair in own),
            "wall_clock_ratio": statistics.median(pair[0] / pair[1] for pair in own),
        }
        for name, own in pairs.items()
    }


def realised(values: dict[str, Any]) -> dict[str, Any]:
    """The same values with the gain in wall-clock over the gain in multiply-adds."""
    return {**values, "realised": values["wall_clock_ratio"] / values["multiply_add_ratio"]}
