from __future__ import annotations

import copy
import gc

import pytest
import torch
from torch import nn

from hf_ttr.linear import MIN_WEIGHTS, FewRowsLinear, few_rows_linear, has_onednn
from hf_ttr.packed_weights import PACKED_ROWS, PackedWeights


pytestmark = pytest.mark.skipif(not has_onednn(), reason="torch was built without oneDNN.")


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(256, MIN_WEIGHTS // 256)


@pytest.mark.parametrize("rows", [1, 16, 49, PACKED_ROWS, PACKED_ROWS + 1, 300], ids=lambda rows: f"{rows}-rows")
@torch.no_grad()
def test_the_product_is_the_same(layer: nn.Linear, rows: int) -> None:
    packed = PackedWeights()
    states = torch.randn(1, rows, 256)
    with FewRowsLinear(packed):
        found = layer(states)
    torch.testing.assert_close(found, layer(states), rtol=1e-5, atol=1e-5)
    # Many rows do not need the packed copy, and none is made for them.
    assert len(packed) == (1 if rows <= PACKED_ROWS else 0)


@torch.no_grad()
def test_a_weight_is_packed_once_until_it_changes(layer: nn.Linear) -> None:
    packed = PackedWeights()
    first = packed.of(layer.weight)
    assert packed.of(layer.weight) is first
    layer.weight.mul_(2)
    states = torch.randn(1, 5, 256)
    with FewRowsLinear(packed):
        torch.testing.assert_close(layer(states), nn.functional.linear(states, layer.weight, layer.bias))
    assert packed.of(layer.weight) is not first and len(packed) == 1
    layer.weight.data = torch.randn_like(layer.weight)
    with FewRowsLinear(packed):
        found = layer(states)
    torch.testing.assert_close(found, layer(states), rtol=1e-5, atol=1e-5)


def test_a_weight_that_is_gone_takes_its_copy_along() -> None:
    layer, packed = nn.Linear(256, MIN_WEIGHTS // 256), PackedWeights()
    assert packed.of(layer.weight) is not None
    del layer
    gc.collect()
    assert len(packed) == 0


def test_a_copy_starts_empty(layer: nn.Linear) -> None:
    packed = PackedWeights()
    packed.of(layer.weight)
    assert len(copy.deepcopy(packed)) == 0 and len(packed) == 1


def test_weights_of_inference_mode_are_left_alone() -> None:
    with torch.inference_mode():
        layer, states, packed = nn.Linear(256, MIN_WEIGHTS // 256), torch.randn(1, 5, 256), PackedWeights()
        assert packed.of(layer.weight) is None
        with FewRowsLinear(packed):
            found = layer(states)
        torch.testing.assert_close(found, layer(states), rtol=1e-5, atol=1e-5)


def test_compiled_layers_keep_their_own_products(layer: nn.Linear) -> None:
    layers = nn.ModuleList([layer])
    assert isinstance(few_rows_linear(layers, None), FewRowsLinear)
    layer.compile(backend="eager")
    assert not isinstance(few_rows_linear(layers, None), FewRowsLinear)
