"""Scores, divergences and agreement follow what the model was trained for."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from hf_ttr.answers.scores import divergence, mean_logits, same_answer, score_kind, to_scores


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


def test_kinds_are_those_of_the_pipelines() -> None:
    kinds = {"multi_label_classification": "sigmoid", "regression": "none", "single_label_classification": "softmax"}
    assert {name: score_kind(name) for name in kinds} == kinds and score_kind(None) == "softmax"


def test_divergence_is_that_of_the_distributions() -> None:
    expected, got = logits(5, 4), logits(5, 4, seed=1)
    for kind, true in (
        ("softmax", kl_divergence(Categorical(logits=expected), Categorical(logits=got))),
        ("sigmoid", kl_divergence(Bernoulli(logits=expected), Bernoulli(logits=got)).sum(-1)),
        ("none", kl_divergence(Normal(expected, 1.0), Normal(got, 1.0)).sum(-1)),
    ):
        torch.testing.assert_close(divergence(expected, got, kind), true)
        assert (divergence(expected, expected, kind) == 0).all()


def test_divergence_of_nan_is_nan_and_of_extremes_no_nan() -> None:
    fine = torch.zeros(1, 2)
    for kind in ("softmax", "sigmoid", "none"):
        assert divergence(fine, torch.tensor([[0.0, torch.nan]]), kind).isnan()
        assert not same_answer(torch.tensor([[0.0, torch.nan]]), torch.tensor([[0.0, torch.nan]]), kind)
    assert divergence(torch.tensor([0.0, -torch.inf]), torch.zeros(2), "softmax") == pytest.approx(0.6931472)
    assert divergence(torch.tensor([800.0]), torch.tensor([800.0]), "sigmoid") == 0


def test_mean_logits_have_the_mean_of_the_scores() -> None:
    of_parts = logits(3, 2, 4)
    for kind in ("softmax", "sigmoid", "none"):
        torch.testing.assert_close(to_scores(mean_logits(of_parts, kind), kind), to_scores(of_parts, kind).mean(0))


def test_the_same_answer() -> None:
    expected, got = torch.tensor([2.0, 1.0, -1.0]), torch.tensor([3.0, -1.0, -2.0])
    assert same_answer(expected, got, "softmax") and not same_answer(expected, got, "sigmoid")
    assert same_answer(expected, got.flip(0).flip(0) + torch.tensor([0.0, 3.0, 0.0]), "sigmoid")
