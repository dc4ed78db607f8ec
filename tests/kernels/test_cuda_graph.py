from __future__ import annotations

import pytest
import torch
from torch import nn

from hf_ttr.kernels.cuda_graph import CudaGraphRunner
from hf_ttr.kernels.row_buckets import RowBuckets


def test_other_devices_call_the_function_itself() -> None:
    calls = []

    def double(rows: torch.Tensor) -> torch.Tensor:
        calls.append(rows)
        return rows * 2

    runner = CudaGraphRunner(double)
    rows = torch.randn(3, 4)
    with torch.inference_mode():
        assert torch.equal(runner(rows), rows * 2)
    assert calls[0] is rows


def test_gradients_flow_through() -> None:
    rows = torch.randn(3, 4, requires_grad=True)
    CudaGraphRunner(torch.sigmoid)(rows).sum().backward()
    assert rows.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device to capture a graph on.")
def test_replays_give_what_calls_give() -> None:
    layer = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)).cuda()
    calls = []

    def run(rows: torch.Tensor) -> torch.Tensor:
        calls.append(len(rows))
        return layer(rows)

    runner, buckets = CudaGraphRunner(run), RowBuckets()
    with torch.inference_mode():
        outputs = []
        for count in (50, 60, 130, 64, 140):
            rows = torch.randn(count, 64, device="cuda")
            outputs.append((runner(buckets.pad(rows))[:count], layer(rows)))
        for output, expected in outputs:
            torch.testing.assert_close(output, expected)
    # Two sizes, each run twice to warm up and once to be captured.
    assert calls == [64] * 3 + [192] * 3
