"""What is promised of answers, and how many of them it takes to promise it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol


OF_OTHERS = 2**0.5
"""The mean over as many other videos scatters as much as the one that was measured: their difference, by this more."""


class Bounds(Protocol):
    """What was measured, and what it keeps to with some confidence."""

    @property
    def agreement(self) -> float:
        """Share of the answers with the dense model's label."""

    @property
    def agreement_bound(self) -> float:
        """Below it."""

    @property
    def kl(self) -> float:
        """Mean divergence from the dense scores, in nats."""

    @property
    def kl_bound(self) -> float:
        """Above it."""


@dataclass(frozen=True)
class Target:
    """
    What is promised.

    Args:
        agreement (`float`, *optional*): least share of the frames (of windows: clips) with the dense model's label;
            of labels each by itself, with the same labels above one half.
        kl (`float`, *optional*): largest mean divergence from the dense scores, in nats.
        confidence (`float`): with which both are promised, above 0.5 and below 1.

    Raises:
        ValueError: if one is out of range, or nothing is promised; one sentence.
    """

    agreement: float | None = None
    kl: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.agreement is None and self.kl is None:
            raise ValueError("a target is an agreement, a kl, or both; give one.")
        if self.agreement == 1:
            raise ValueError(
                "agreement is 1, which no number of frames can promise, as the next one may differ; give one below 1: "
                "0.99 takes some 400 frames, 0.999 some 4,000."
            )
        if self.agreement is not None and not 0 < self.agreement < 1:
            raise ValueError(f"agreement is {self.agreement}, but must be a share above 0 and below 1.")
        if self.kl is not None and not 0 < self.kl < math.inf:
            raise ValueError(f"kl is {self.kl}, but must be a finite number above 0.")
        if not 0.5 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}, but must be above 0.5 and below 1.")

    def is_met(self, found: Bounds, by_bound: bool) -> bool:
        """Whether what was found keeps the promise: by its confidence bounds, or by what was measured."""
        agreement = found.agreement_bound if by_bound else found.agreement
        kl = found.kl_bound if by_bound else found.kl
        return (self.agreement is None or agreement >= self.agreement) and (self.kl is None or kl <= self.kl)

    @property
    def frames_needed(self) -> int:
        """
        How many frames it takes to promise the agreement if all of them agree; more if some do not.

        Example:

        ```python
        >>> from hf_ttr.answers.promise import Target

        >>> Target(agreement=0.99).frames_needed
        380
        ```
        """
        if self.agreement is None:
            return 1
        square = self._quantile**2
        return max(1, math.ceil(square * (OF_OTHERS / (1 - self.agreement) - 1)))

    def highest_agreement(self, frames: int) -> float:
        """The agreement that so many frames can promise if all of them agree; below 0 where they are too few."""
        square = self._quantile**2
        return 1 - OF_OTHERS * square / (frames + square)

    def growth(self, found: Bounds) -> float | None:
        """
        About how many times as many videos, of which the same is measured, take the bounds to the target.

        Returns:
            At most 1 where they are there; `None` where no number is enough, as what was measured is not better than
            the target.
        """
        factors = []
        if self.agreement is not None:
            # Where all agree, the bound nears 1 as the number of frames; otherwise as its root.
            power = 1 if found.agreement == 1 else 2
            factors.append((found.agreement - found.agreement_bound, found.agreement - self.agreement, power))
        if self.kl is not None:
            factors.append((found.kl_bound - found.kl, self.kl - found.kl, 2))
        if not all(room > 0 and math.isfinite(width) for width, room, _ in factors):
            return None
        return max((width / room) ** power for width, room, power in factors)

    @property
    def _quantile(self) -> float:
        return NormalDist().inv_cdf(self.confidence)


__all__ = ["OF_OTHERS", "Bounds", "Target"]
