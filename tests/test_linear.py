import pytest
import torch
from torch import nn

from hf_ttr.linear import MIN_WEIGHTS, OneDNNLinear


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(256, MIN_WEIGHTS // 256)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of rows that oneDNN was given."""
    seen: list[int] = []
    kernel = torch.ops.mkldnn._linear_pointwise

    def spy(rows: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(rows.shape[-2])
        return kernel(rows, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", spy)
    return seen


@pytest.mark.parametrize("rows", [1, 7, 50, 300], ids=lambda rows: f"{rows}-rows")
def test_the_product_is_the_same(layer: nn.Linear, calls: list[int], rows: int) -> None:
    states = torch.randn(1, rows, 256)
    with torch.no_grad():
        expected = layer(states)
        with OneDNNLinear():
            found = layer(states)
    assert calls == [rows]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_dtypes_run_as_ever(layer: nn.Linear, calls: list[int], dtype: torch.dtype) -> None:
    layer = layer.to(dtype)
    states = torch.randn(3, 256, dtype=dtype)
    with torch.no_grad(), OneDNNLinear():
        found = layer(states)
    assert torch.equal(found, layer(states)) and calls == []


def test_gradients_flow_as_ever(layer: nn.Linear, calls: list[int]) -> None:
    with OneDNNLinear():
        layer(torch.randn(3, 256)).sum().backward()
    assert layer.weight.grad is not None and calls == []


def test_outside_the_context_nothing_changes(layer: nn.Linear, calls: list[int]) -> None:
    with torch.no_grad():
        with OneDNNLinear():
            pass
        layer(torch.randn(3, 256))
    assert calls == []
