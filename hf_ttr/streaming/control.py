"""What moves the threshold of a stream: too little time, and too much disagreement with the dense model."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..checks import is_number
from .result import Divergence, is_count


@dataclass
class LatencyControl:
    """
    Raises the thresholds of all streams while results come too late, and lowers them again.

    It looks at the 95th percentile of the last results. Up it goes fast and down slowly, so that it does not swing.

    Args:
        budget_ms: how late results may come, in milliseconds; `None` leaves the thresholds alone.
        most: the largest factor.

    Attributes:
        factor: of the thresholds, at least 1.
    """

    budget_ms: float | None
    most: float
    factor: float = 1.0
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=40))

    UP, DOWN, COMFORT = 1.25, 1.05, 0.7

    def observe(self, latency_ms: float) -> None:
        """Takes the latency of a result."""
        if self.budget_ms is None:
            return
        self._recent.append(latency_ms)
        if len(self._recent) < self._recent.maxlen // 2:  # type: ignore[operator]
            return
        late = percentile(self._recent, 95)
        if late > self.budget_ms and self.factor < self.most:
            self.factor = min(self.factor * self.UP, self.most)
        elif late < self.COMFORT * self.budget_ms and self.factor > 1:
            self.factor = max(self.factor / self.DOWN, 1.0)
        else:
            return
        # What comes next is judged on its own.
        self._recent.clear()


@dataclass
class FidelityGuard:
    """
    Holds one stream to the disagreement with the dense model that its user accepts.

    The divergence grows about as the square of the threshold, so one check that finds too much tells how far to come
    down. Then, as in the beginning, the next checks come sooner.

    Args:
        every: frames between two dense checks; `None` for none.
        bound: largest Kullback-Leibler divergence, in nats; `None` only reports.
        limit: the threshold may not exceed it; it is lowered when a check finds more than the bound, and rises again
            slowly while checks find much less, up to a little below what was too much last.

    Attributes:
        checks, exceeded: number of checks, and of those that found too much.
    """

    every: int | None
    bound: float | None
    limit: float
    checks: int = 0
    exceeded: int = 0
    _highest: float = field(init=False)
    _ceiling: float = field(init=False)
    _since: int = field(default=0, init=False)
    _doubts: int = field(default=3, init=False)

    SAFETY, STEEPEST, LOWEST = 0.7, 0.2, 1e-3
    COMFORT, UP, FORGET = 0.25, 1.1, 1.03
    SOONER, CHECKS_SOONER = 5, 3

    def __post_init__(self) -> None:
        self._highest = self._ceiling = self.limit

    def is_due(self, frames: int) -> bool:
        """Whether to check a call with so many frames."""
        if self.every is None:
            return False
        every = max(1, self.every // self.SOONER) if self._doubts and self.bound is not None else self.every
        self._since += frames
        if self._since < every:
            return False
        self._since %= every
        return True

    def observe(self, divergence: Divergence, threshold: float) -> None:
        """Takes what a check found, and the threshold with which that came about."""
        self.checks += 1
        if self.bound is None:
            return
        if not divergence.kl <= self.bound:
            self.exceeded += 1
            self._doubts = self.CHECKS_SOONER
            step = max(self.STEEPEST, self.SAFETY * math.sqrt(self.bound / divergence.kl))
            self.limit = max(threshold * step, self.LOWEST * self._highest)
            self._ceiling = self.SAFETY * threshold
            return
        self._doubts = max(0, self._doubts - 1)
        self._ceiling = min(self._ceiling * self.FORGET, self._highest)
        if divergence.kl < self.COMFORT * self.bound:
            self.limit = min(self.limit * self.UP, max(self._ceiling, self.limit))

    def state(self) -> dict[str, float | int]:
        """What to hand to `restore` in another process."""
        return {name: getattr(self, name) for name in _GUARD_STATE}

    def restore(self, state: dict[str, float | int]) -> None:
        """
        Goes on from a state.

        Raises:
            ValueError: if it is none.
        """
        if not isinstance(state, dict) or set(state) != set(_GUARD_STATE):
            raise ValueError("the state of the checks has other fields")
        for name, value in state.items():
            is_limit = name in ("limit", "_ceiling")
            if not (is_number(value) and value >= 0 if is_limit else is_count(value)):
                raise ValueError(f"the state of the checks has {name.lstrip('_')} {value!r}")
            setattr(self, name, value)
        self.limit = min(self.limit, self._highest)


_GUARD_STATE = ("checks", "exceeded", "limit", "_ceiling", "_since", "_doubts")


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
