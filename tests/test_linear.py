import pytest
import torch
from torch import nn

from hf_ttr.linear import COLUMNS, FEW_ROWS, MIN_WEIGHTS, FewRowsLinear, transposed_linear


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


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("rows", [1, 7, COLUMNS, 50, 4 * COLUMNS - 1, FEW_ROWS, 300], ids=lambda rows: f"{rows}-rows")
def test_the_product_is_the_same(calls: list[int], rows: int, bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(256, MIN_WEIGHTS // 256, bias=bias)
    states = torch.randn(1, rows, 256)
    with torch.no_grad():
        expected = layer(states)
        with FewRowsLinear():
            found = layer(states)
    # Full columns go to the transposed product, many rows to BLAS.
    assert calls == ([rows] if rows in (1, 7, 50) else [])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    if rows > FEW_ROWS:
        assert torch.equal(found, expected)


def test_no_rows_at_all(layer: nn.Linear) -> None:
    with torch.no_grad(), FewRowsLinear():
        assert layer(torch.zeros(1, 0, 256)).shape == (1, 0, MIN_WEIGHTS // 256)


@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 6), (6,)], ids=str)
@pytest.mark.parametrize("padding", [0, 3], ids=["full", "padded"])
def test_the_transposed_product(shape: tuple[int, ...], padding: int) -> None:
    rows, weight, bias = torch.randn(shape), torch.randn(4, 6), torch.randn(4)
    expected = nn.functional.linear(rows, weight, bias)
    torch.testing.assert_close(transposed_linear(rows, weight, bias, padding), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_other_dtypes_run_as_ever(layer: nn.Linear, calls: list[int], dtype: torch.dtype) -> None:
    layer = layer.to(dtype)
    states = torch.randn(3, 256, dtype=dtype)
    with torch.no_grad(), FewRowsLinear():
        found = layer(states)
    assert torch.equal(found, layer(states)) and calls == []


def test_gradients_flow_as_ever(layer: nn.Linear, calls: list[int]) -> None:
    with FewRowsLinear():
        layer(torch.randn(3, 256)).sum().backward()
    assert layer.weight.grad is not None and calls == []


def test_outside_the_context_nothing_changes(layer: nn.Linear, calls: list[int]) -> None:
    with torch.no_grad():
        with FewRowsLinear():
            pass
        layer(torch.randn(3, 256))
    assert calls == []
