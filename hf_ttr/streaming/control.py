"""What moves the threshold of a stream: too little time, and too much disagreement with the dense model."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from .result import Divergence


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

    Args:
        every: frames between two dense checks; `None` for none.
        bound: largest Kullback-Leibler divergence, in nats; `None` only reports.
        limit: the threshold may not exceed it; it is lowered when a check finds more than the bound, and rises again
            while checks find less than half of it.

    Attributes:
        checks, exceeded: number of checks, and of those that found too much.
    """

    every: int | None
    bound: float | None
    limit: float
    checks: int = 0
    exceeded: int = 0
    _highest: float = field(init=False)
    _since: int = field(default=0, init=False)

    DOWN, UP, LOWEST = 0.6, 1.15, 1e-3

    def __post_init__(self) -> None:
        self._highest = self.limit

    def is_due(self, frames: int) -> bool:
        """Whether to check a call with so many frames."""
        if self.every is None:
            return False
        self._since += frames
        if self._since < self.every:
            return False
        self._since %= self.every
        return True

    def observe(self, divergence: Divergence, threshold: float) -> None:
        """Takes what a check found, and the threshold with which that came about."""
        self.checks += 1
        if self.bound is None:
            return
        if divergence.kl > self.bound:
            self.exceeded += 1
            self.limit = max(threshold * self.DOWN, self.LOWEST * self._highest)
        elif divergence.kl < self.bound / 2:
            self.limit = min(self.limit * self.UP, self._highest)

    def state(self) -> dict[str, float | int]:
        """What to hand to `restore` in another process."""
        return {"checks": self.checks, "exceeded": self.exceeded, "limit": self.limit, "since": self._since}

    def restore(self, state: dict[str, float | int]) -> None:
        """Goes on from a state."""
        self.checks, self.exceeded = int(state["checks"]), int(state["exceeded"])
        self.limit, self._since = min(float(state["limit"]), self._highest), int(state["since"])


def percentile(values: deque[float] | list[float], percent: float) -> float:
    """The smallest value that at least so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
