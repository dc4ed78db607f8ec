"""What the tests of the methods share: what a profiler counts, and how near two results must be."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.methods import Method


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def profiled(method: Method, pixels: torch.Tensor) -> float:
    """Multiply-adds of a clip, by torch's counter, which knows the products of plain attention alone."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        method.clip(pixels)
    return counter.get_total_flops() / 2
