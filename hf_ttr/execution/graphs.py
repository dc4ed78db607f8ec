"""Work whose shapes are fixed, launched by one call: CUDA graphs, and what stands for them where there is no GPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch


WARM_UP = 3
"""Runs before a capture: what is made on first use must not be captured."""


class Graphs(ABC):
    """A way to run work of fixed shapes again. The work reads and writes tensors that stay where they are."""

    @abstractmethod
    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """What runs the work again. It may be run by this, more than once: it must do the same each time."""

    def read(self, numbers: torch.Tensor) -> list[int]:
        """
        Numbers that the host has to know before it can go on: here alone it waits for the device in a step.

        Args:
            numbers (`torch.LongTensor` of shape `(n,)`): what captured work left.
        """
        found: list[int] = numbers.tolist()
        return found


class CudaGraphs(Graphs):
    """
    CUDA graphs, which share one pool of memory.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Graphs.capture`."""
        # On a stream of its own, as torch's documents ask.
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                work()
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            work()
        return graph.replay


class NoGraphs(Graphs):
    """Runs the work as it is: steps of fixed shapes can be tried, and tested, on any device."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Graphs.capture`."""
        return work


def graphs_for(device: torch.device) -> Graphs:
    """Those of a device."""
    return CudaGraphs(device) if device.type == "cuda" else NoGraphs()
