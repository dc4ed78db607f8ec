from __future__ import annotations

import torch

from hf_ttr.fingerprint import WeightsFingerprint


def weights(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))


def test_the_same_weights_have_the_same_digest() -> None:
    digest = WeightsFingerprint().of(weights(), weights(1))
    assert digest == WeightsFingerprint().of(weights(), weights(1))
    assert len(digest) == 12


def test_other_weights_have_another() -> None:
    digests = {WeightsFingerprint().of(weights(first), weights(last)) for first in range(3) for last in range(3)}
    assert len(digests) == 9


def test_a_change_in_place_is_noticed() -> None:
    fingerprint, own = WeightsFingerprint(), weights()
    before = fingerprint.of(own)
    assert fingerprint.of(own) == before
    own.mul_(2)
    assert fingerprint.of(own) != before
    own.div_(2)
    assert fingerprint.of(own) == before


def test_another_tensor_is_noticed() -> None:
    fingerprint = WeightsFingerprint()
    assert fingerprint.of(weights()) != fingerprint.of(weights(1))


def test_weights_of_inference_mode_have_a_digest() -> None:
    with torch.inference_mode():
        own = weights()
        assert WeightsFingerprint().of(own) == WeightsFingerprint().of(weights())


def test_quantized_weights_are_not_looked_at() -> None:
    assert WeightsFingerprint().of(weights(), lambda: weights()) == "quantized"
