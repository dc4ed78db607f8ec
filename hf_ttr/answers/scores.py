"""From logits to scores as the model was trained for: of one label, of many at once, or of numbers."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch.nn.functional import logsigmoid


ScoreKind = Literal["softmax", "sigmoid", "none"]
"""What turns logits to scores: of labels that exclude one another, of labels each by itself, or nothing (numbers)."""


def score_kind(problem_type: str | None) -> ScoreKind:
    """
    What turns the logits of a model to scores; the same as in transformers' pipelines.

    Args:
        problem_type (`str`, *optional*): of its config: `"multi_label_classification"`, `"regression"`, or another.
    """
    if problem_type == "multi_label_classification":
        return "sigmoid"
    return "none" if problem_type == "regression" else "softmax"


def to_scores(logits: torch.Tensor, kind: ScoreKind) -> torch.Tensor:
    """
    The scores of logits.

    Args:
        logits (`torch.FloatTensor` of shape `(..., labels)`): of a model.
        kind (`ScoreKind`): what turns them to scores.

    Returns:
        `torch.FloatTensor` of shape `(..., labels)`.
    """
    if kind == "softmax":
        return logits.softmax(-1)
    return logits.sigmoid() if kind == "sigmoid" else logits


def mean_logits(logits: torch.Tensor, kind: ScoreKind) -> torch.Tensor:
    """
    The logits whose scores are the mean of the scores.

    Args:
        logits (`torch.FloatTensor` of shape `(parts, ..., labels)`): of parts of the same video.
        kind (`ScoreKind`): what turns them to scores.

    Returns:
        `torch.DoubleTensor` of shape `(..., labels)`; of softmax, logarithms of the mean scores.
    """
    logits = logits.double()
    if kind == "none":
        return logits.mean(0)
    count = math.log(len(logits))
    if kind == "softmax":
        return logits.log_softmax(-1).logsumexp(0) - count
    yes, no = (logsigmoid(sign * logits).logsumexp(0) for sign in (1, -1))
    return yes - no


def divergence(expected: torch.Tensor, got: torch.Tensor, kind: ScoreKind) -> torch.Tensor:
    """
    Kullback-Leibler divergence of the answers of one model from those of another, in nats.

    Of labels each by itself it is that of independent yes or no answers, summed over the labels; of numbers, that of
    normal distributions of variance 1 around them: half the squared distance.

    Args:
        expected (`torch.FloatTensor` of shape `(..., labels)`): logits of the model that is right, such as the dense
            one.
        got (`torch.FloatTensor` of shape `(..., labels)`): logits of the other.
        kind (`ScoreKind`): what turns them to scores.

    Returns:
        `torch.DoubleTensor` of shape `(...)`, nowhere below 0; NaN where a logit is.
    """
    expected, got = expected.double(), got.double()
    if kind == "none":
        return (expected - got).square().sum(-1) / 2
    if kind == "softmax":
        terms = _weighted(expected.log_softmax(-1), got.log_softmax(-1))
    else:
        yes, no = (_weighted(logsigmoid(sign * expected), logsigmoid(sign * got)) for sign in (1, -1))
        terms = yes + no
    # Rounding can leave it a hair below zero.
    return terms.sum(-1).clamp(min=0.0)


def _weighted(log_expected: torch.Tensor, log_got: torch.Tensor) -> torch.Tensor:
    # What has no probability counts nothing, however far the logarithms are apart.
    return torch.where(log_expected == -torch.inf, 0.0, log_expected.exp() * (log_expected - log_got))


def same_answer(expected: torch.Tensor, got: torch.Tensor, kind: ScoreKind) -> torch.Tensor:
    """
    Where two models give the same answer.

    Args:
        expected, got (`torch.FloatTensor` of shape `(..., labels)`): their logits.
        kind (`ScoreKind`): what turns them to scores.

    Returns:
        `torch.BoolTensor` of shape `(...)`: whether the best label is the same, of equal ones the first; of labels
        each by itself, whether the same ones have scores above one half. False where a logit is NaN.
    """
    known = ~(expected.isnan().any(-1) | got.isnan().any(-1))
    if kind == "sigmoid":
        return known & ((expected > 0) == (got > 0)).all(-1)
    return known & (expected.argmax(-1) == got.argmax(-1))


__all__ = ["ScoreKind", "divergence", "mean_logits", "same_answer", "score_kind", "to_scores"]
