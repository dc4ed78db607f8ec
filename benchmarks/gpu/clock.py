"""Time and memory on a device whose work is asynchronous."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


WARM_UP = 3
"""Rounds before anything is timed: code is compiled and memory taken in them."""


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(call: Callable[[], Any], device: torch.device) -> float:
    """Wall-clock of one call, until its last kernel has ended: what a user waits for."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return 1e3 * (time.perf_counter() - start)


def in_turn(ways: dict[str, Callable[[], Any]], device: torch.device, rounds: int) -> dict[str, list[float]]:
    """
    Milliseconds of several ways to do the same, which all run once in every round, so that what else the machine does
    hits all.

    Args:
        ways: calls by name.
        device: on which they run.
        rounds (`int`): how often, after `WARM_UP` rounds that are not counted.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(WARM_UP + rounds):
        for name, way in ways.items():
            spent = milliseconds(way, device)
            if number >= WARM_UP:
                found[name].append(spent)
    return found


def in_short(spent: list[float]) -> dict[str, float]:
    """Median, fastest and slowest of some milliseconds."""
    return {"milliseconds": statistics.median(spent), "fastest": min(spent), "slowest": max(spent)}


def peak_mebibytes(call: Callable[[], Any], device: torch.device) -> float | None:
    """Most memory that was taken on a GPU during a call, weights included; `None` elsewhere."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    call()
    synchronize(device)
    return torch.cuda.max_memory_allocated(device) / 2**20
