from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from hf_ttr.caching.fingerprint import WeightsFingerprint, weights_digest


def module(seed: int = 0, wide: int = 100) -> nn.Sequential:
    """Weights of one, two and four dimensions, tall and wide, small and large."""
    torch.manual_seed(seed)
    layers = nn.Linear(wide, 3 * wide), nn.LayerNorm(3 * wide), nn.Linear(3 * wide, wide, bias=False)
    return nn.Sequential(nn.Conv2d(3, wide, 8), *layers, nn.BatchNorm1d(wide)).eval()


def test_the_same_weights_have_the_same_digest() -> None:
    first, second = module(), module()
    digest = weights_digest(first)
    assert digest == weights_digest(second) == WeightsFingerprint().of(first) == WeightsFingerprint().of(second)
    assert digest == weights_digest(copy.deepcopy(first)) and len(digest) == 16
    assert len({weights_digest(module(seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize("number", range(9))
def test_every_number_counts(number: int) -> None:
    own = module()
    weight = list(own.state_dict().values())[number]
    before = weights_digest(own)
    weight.view(-1)[weight.numel() // 2] += 1
    assert weights_digest(own) != before


def test_the_place_of_numbers_counts() -> None:
    own = module()
    before = weights_digest(own)
    with torch.no_grad():
        own[1].weight.copy_(own[1].weight.flip(0))
    flipped = weights_digest(own)
    with torch.no_grad():
        own[1].weight.copy_(own[1].weight.flip(1))
    assert len({before, flipped, weights_digest(own)}) == 3


def test_layout_and_mode_do_not_count() -> None:
    own = module()
    before = weights_digest(own)
    assert weights_digest(own.to(memory_format=torch.channels_last)) == before
    with torch.inference_mode():
        assert weights_digest(module()) == WeightsFingerprint().of(module()) == before
    assert weights_digest(own.half()) != before


CHANGES: dict[str, Callable[[torch.Tensor], Any]] = {
    "in place": lambda weight: weight.add_(1),
    "data": lambda weight: weight.data.add_(1),
    "numpy": lambda weight: weight.detach().numpy().__iadd__(1),
    "other data": lambda weight: setattr(weight, "data", weight + 1),
    "some rows": lambda weight: weight.data[-(len(weight) // 8) :].add_(1),
    "some columns": lambda weight: (
        weight.data.flatten(1)[:, : weight[0].numel() // 8].add_(1) if weight.dim() > 1 else weight.data.add_(1)
    ),
}


@pytest.mark.parametrize("name", [name for name, _ in module().named_parameters()])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_however_it_is_made(change: str, name: str) -> None:
    if module().get_parameter(name).dim() == 1 and change not in ("in place", "other data"):
        pytest.skip("only what torch counts is noticed of a bias by itself.")
    own, fingerprint = module(), WeightsFingerprint()
    before = fingerprint.of(own)
    assert fingerprint.of(own) == before
    with torch.no_grad():
        CHANGES[change](own.get_parameter(name))
    after = fingerprint.of(own)
    assert after != before and after == weights_digest(own)


def test_what_is_changed_back_is_the_same_again() -> None:
    own, fingerprint = module(), WeightsFingerprint()
    before = fingerprint.of(own)
    own[1].weight.data.mul_(2)
    assert fingerprint.of(own) != before
    own[1].weight.data.div_(2)
    assert fingerprint.of(own) == before


def test_another_module_in_the_same_place_is_noticed() -> None:
    own, fingerprint = module(), WeightsFingerprint()
    before = fingerprint.of(own)
    own[3] = nn.Linear(300, 100, bias=False)
    assert fingerprint.of(own) != before


def test_a_copy_knows_nothing() -> None:
    own, fingerprint = module(), WeightsFingerprint()
    fingerprint.of(own)
    assert copy.deepcopy(fingerprint)._known is None


def test_quantized_weights_are_looked_at() -> None:
    quantize: Any = torch.ao.quantization.quantize_dynamic
    first, second, other = (quantize(module(seed), {nn.Linear}) for seed in (0, 0, 1))
    fingerprint = WeightsFingerprint()
    assert fingerprint.of(first) == weights_digest(second) == fingerprint.of(first)
    assert fingerprint.of(first) != weights_digest(other)
    first[1] = other[1]
    assert fingerprint.of(first) == weights_digest(first) != weights_digest(second)


def test_weights_that_are_elsewhere_have_a_digest() -> None:
    assert weights_digest(module().to("meta")) == WeightsFingerprint().of(module().to("meta"))


def test_adapters_that_are_switched_are_noticed() -> None:
    peft = pytest.importorskip("peft", reason="adapters are those of peft.")
    config = peft.LoraConfig(target_modules=["1", "3"], init_lora_weights=False)
    own, fingerprint = peft.get_peft_model(module(), config), WeightsFingerprint()
    on = fingerprint.of(own)
    with own.disable_adapter():
        assert fingerprint.of(own) != on
    assert fingerprint.of(own) == on
    own.merge_adapter()
    assert fingerprint.of(own) != on
