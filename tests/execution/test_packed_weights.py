from __future__ import annotations

import copy
import gc

import pytest
import torch
from torch import nn

from hf_ttr.execution.linear import has_onednn
from hf_ttr.execution.packed_weights import PackedWeights


pytestmark = pytest.mark.skipif(not has_onednn(), reason="torch was built without oneDNN.")


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(256, 512)


@torch.no_grad()
def test_a_weight_is_packed_once_until_it_changes(layer: nn.Linear) -> None:
    packed = PackedWeights()
    first = packed.of(layer.weight)
    assert packed.of(layer.weight) is first
    layer.weight.mul_(2)
    assert packed.of(layer.weight) is not first and len(packed) == 1


def test_a_weight_that_is_gone_takes_its_copy_along() -> None:
    layer, packed = nn.Linear(256, 512), PackedWeights()
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
        assert PackedWeights().of(torch.randn(512, 256)) is None
