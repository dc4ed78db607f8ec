"""From logits to scores as the model was trained for: of one label, of many at once, or of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
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


class RunningMean:
    """
    Logits whose scores are the mean of the scores of all that was added, with memory for one of them.

    Args:
        kind (`ScoreKind`): what turns them to scores.
    """

    def __init__(self, kind: ScoreKind) -> None:
        self.kind, self.count = kind, 0
        self._sums: tuple[torch.Tensor, ...] = ()

    def add(self, logits: torch.Tensor) -> None:
        """Takes logits `(parts, ..., labels)`."""
        logits = logits.double()
        if self.kind == "softmax":
            sums: tuple[torch.Tensor, ...] = (logits.log_softmax(-1).logsumexp(0),)
        elif self.kind == "sigmoid":
            sums = (logsigmoid(logits).logsumexp(0), logsigmoid(-logits).logsumexp(0))
        else:
            sums = (logits.sum(0),)
        join = torch.add if self.kind == "none" else torch.logaddexp
        self._sums = tuple(join(*pair) for pair in zip(self._sums, sums)) if self._sums else sums
        self.count += len(logits)

    @property
    def logits(self) -> torch.Tensor:
        """`torch.DoubleTensor` of shape `(..., labels)`; of softmax, logarithms of the mean scores."""
        if self.kind == "none":
            return self._sums[0] / self.count
        if self.kind == "sigmoid":
            return self._sums[0] - self._sums[1]
        return self._sums[0] - math.log(self.count)


def mean_logits(logits: torch.Tensor, kind: ScoreKind) -> torch.Tensor:
    """
    The logits whose scores are the mean of the scores.

    Args:
        logits (`torch.FloatTensor` of shape `(parts, ..., labels)`): of parts of the same video.
        kind (`ScoreKind`): what turns them to scores.

    Returns:
        `torch.DoubleTensor` of shape `(..., labels)`; of softmax, logarithms of the mean scores.
    """
    running = RunningMean(kind)
    running.add(logits)
    return running.logits


def best_labels(scores: torch.Tensor, top_k: int, names: Mapping[int, str]) -> list[tuple[str, float]]:
    """
    The best labels with their scores, best first.

    Args:
        scores (`torch.FloatTensor` of shape `(labels,)`): of all labels.
        top_k (`int`): how many, as far as there are any.
        names: of the labels, as a config has them.
    """
    best = scores.topk(min(top_k, len(scores)))
    return [
        (str(names.get(number, f"LABEL_{number}")), score)
        for score, number in zip(best.values.tolist(), best.indices.tolist())
    ]


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


__all__ = [
    "RunningMean",
    "ScoreKind",
    "best_labels",
    "divergence",
    "mean_logits",
    "same_answer",
    "score_kind",
    "to_scores",
]
