"""What settings are asked: whether a value is a number of some kind."""

from __future__ import annotations

from math import isfinite
from typing import Any


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, and not a truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and not a truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
