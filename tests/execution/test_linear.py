import copy
import pickle

import pytest
import torch
from torch import nn

from hf_ttr.execution.linear import MIN_WEIGHTS, PACKED_ROWS, PackedLinear, has_onednn, pack_linear, unpack_linear
from hf_ttr.execution.packed_weights import PackedWeights


pytestmark = pytest.mark.skipif(not has_onednn(), reason="torch was built without oneDNN.")


def plain(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(256, MIN_WEIGHTS // 256, bias=bias)


def packed(bias: bool = True) -> PackedLinear:
    layer = plain(bias)
    pack_linear(layer, PackedWeights())
    assert isinstance(layer, PackedLinear)
    return layer


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
@pytest.mark.parametrize("rows", [0, 1, 49, PACKED_ROWS, PACKED_ROWS + 1], ids=lambda rows: f"{rows}-rows")
@torch.no_grad()
def test_the_product_is_the_same(calls: list[int], rows: int, bias: bool) -> None:
    layer, states = packed(bias), torch.randn(1, rows, 256)
    torch.testing.assert_close(layer(states), plain(bias)(states), rtol=1e-5, atol=1e-5)
    # Many rows do not need the packed copy, and none is made for them.
    is_few = 0 < rows <= PACKED_ROWS
    assert calls == ([rows] if is_few else []) and len(layer.packed_weights) == is_few


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@torch.no_grad()
def test_other_dtypes_run_as_ever(calls: list[int], dtype: torch.dtype) -> None:
    states = torch.randn(3, 256, dtype=dtype)
    assert torch.equal(packed().to(dtype)(states), plain().to(dtype)(states)) and calls == []


def test_gradients_flow_as_ever(calls: list[int]) -> None:
    layer = packed()
    layer(torch.randn(3, 256)).sum().backward()
    assert layer.weight.grad is not None and calls == []


@torch.no_grad()
def test_compiled_code_leaves_it_alone(calls: list[int]) -> None:
    layer, states = packed(), torch.randn(3, 256)
    found = torch.compile(layer, backend="eager")(states)
    assert torch.equal(found, plain()(states)) and calls == []


@torch.no_grad()
def test_a_layer_is_made_plain_again(calls: list[int]) -> None:
    layer, states = packed(), torch.randn(3, 256)
    unpack_linear(layer)
    assert type(layer) is nn.Linear and not hasattr(layer, "packed_weights")
    assert torch.equal(layer(states), plain()(states)) and calls == []
    other = nn.LayerNorm(2)
    unpack_linear(other)
    assert type(other) is nn.LayerNorm


@torch.no_grad()
def test_a_changed_weight_is_packed_anew() -> None:
    layer, states = packed(), torch.randn(1, 5, 256)
    layer(states)
    for change in (lambda: layer.weight.mul_(2), lambda: setattr(layer.weight, "data", torch.randn(512, 256))):
        change()
        expected = nn.functional.linear(states, layer.weight, layer.bias)
        torch.testing.assert_close(layer(states), expected, rtol=1e-5, atol=1e-5)
    assert len(layer.packed_weights) == 1


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))], ids=["copy", "pickle"]
)
@torch.no_grad()
def test_copies_pack_for_themselves(again: object) -> None:
    layer, states = packed(), torch.randn(1, 5, 256)
    expected = layer(states)
    other = again(layer)  # type: ignore[operator]
    assert len(other.packed_weights) == 0 and other.state_dict().keys() == plain().state_dict().keys()
    torch.testing.assert_close(other(states), expected)
    assert len(other.packed_weights) == len(layer.packed_weights) == 1


def test_weights_of_inference_mode_are_left_alone(calls: list[int]) -> None:
    with torch.inference_mode():
        layer, states = packed(), torch.randn(1, 5, 256)
        assert torch.equal(layer(states), nn.functional.linear(states, layer.weight, layer.bias)) and calls == []
