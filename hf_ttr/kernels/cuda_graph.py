"""CUDA graphs: the launches of a function, recorded once for each shape of its inputs and replayed after that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class CudaGraphRunner:
    """
    Runs a function of tensors; on a CUDA device by replaying the graph of its kernels.

    With few rows a layer's kernels are shorter than the time it takes to launch them, and a replay launches all at
    once. Inputs of new shapes or dtypes cost a capture, so pad rows with `RowBuckets`. Under autograd and on other
    devices the function is called as it is.

    Args:
        function:
            Takes tensors of one device and returns a tensor. It must launch the same kernels for the same shapes,
            whatever the values (no `.item()`, no `nonzero`), and running it again must not change its result: a
            capture runs it a few times.
    """

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        self.function = function
        self._captured: dict[tuple, CapturedCall] = {}
        self._stream: torch.cuda.Stream | None = None
        self._pool: Any = None

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The function's result, in memory of its own."""
        if not inputs or inputs[0].device.type != "cuda" or torch.is_grad_enabled():
            return self.function(*inputs)
        key = tuple((states.shape, states.dtype, states.device) for states in inputs)
        if key not in self._captured:
            if self._stream is None:
                self._stream = torch.cuda.Stream(inputs[0].device)
                # Graphs run one after the other and leave nothing behind but their output, so they share memory.
                self._pool = torch.cuda.graph_pool_handle()
            self._captured[key] = CapturedCall(self.function, inputs, self._stream, self._pool)
        return self._captured[key].replay(inputs)


class CapturedCall:
    """
    One graph, and the memory from which it reads and to which it writes.

    Args:
        function, inputs: the call to capture.
        stream: the stream on which to capture.
        pool: the memory pool of the graph, of `torch.cuda.graph_pool_handle`.
    """

    def __init__(
        self,
        function: Callable[..., torch.Tensor],
        inputs: tuple[torch.Tensor, ...],
        stream: torch.cuda.Stream,
        pool: Any,
    ) -> None:
        # Tensors made in inference mode could not be written outside it.
        with torch.inference_mode(False):
            self._inputs = [torch.empty(states.shape, dtype=states.dtype, device=states.device) for states in inputs]
        self._copy_in(inputs)
        current = torch.cuda.current_stream(stream.device)
        stream.wait_stream(current)
        # What a first run sets up (handles, compiled kernels) must not be captured.
        with torch.cuda.stream(stream):
            for _ in range(2):
                function(*self._inputs)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, stream=stream):
            self._output = function(*self._inputs)
        current.wait_stream(stream)

    def replay(self, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The result for other inputs of the same shapes and dtypes."""
        self._copy_in(inputs)
        self._graph.replay()
        return self._output.clone()

    def _copy_in(self, inputs: tuple[torch.Tensor, ...]) -> None:
        for own, states in zip(self._inputs, inputs):
            own.copy_(states)
