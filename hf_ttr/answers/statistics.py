"""How alike two models answer, and how sure one can be of it: agreement, divergence, confidence intervals."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

from ..checks import is_number, is_whole
from .scores import ScoreKind, divergence, same_answer


NUMBERS_AT_ONCE = 1 << 18
"""How many values `bootstrap_interval` draws in one go."""


class Interval(NamedTuple):
    """
    A confidence interval.

    Attributes:
        low, high (`float`): its ends.
    """

    low: float
    high: float


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """
    Wilson's score interval of a proportion (1927), without continuity correction.

    Unlike the textbook interval it has a width where everything, or nothing, is a success, and does not leave [0, 1].

    Args:
        successes (`int`): how many trials were one.
        trials (`int`): how many there were, at least 1.
        confidence (`float`): above 0 and below 1.

    Raises:
        ValueError: if one is out of range.

    Example:

    ```python
    >>> from hf_ttr.answers.statistics import wilson_interval

    >>> low, high = wilson_interval(successes=81, trials=263)
    >>> f"{low:.4f} to {high:.4f}"
    '0.2553 to 0.3662'
    ```
    """
    _check_count("trials", trials, least=1)
    _check_count("successes", successes)
    if successes > trials:
        raise ValueError(f"successes is {successes}, but must be at most the number of trials, {trials}.")
    z = _normal_quantile(confidence)
    center = successes + z**2 / 2
    half_width = z * sqrt(successes * (trials - successes) / trials + z**2 / 4)
    # Rounding must not leave the proportion itself outside.
    low = 0.0 if successes == 0 else (center - half_width) / (trials + z**2)
    high = 1.0 if successes == trials else (center + half_width) / (trials + z**2)
    return Interval(low, high)


def paired_difference_interval(
    both: int, first_only: int, second_only: int, neither: int, confidence: float = 0.95
) -> Interval:
    """
    Newcombe's interval of the difference of two proportions on the same trials (1998, method 10: square and add).

    Such as the accuracies of two models on the same clips: what counts is on how many one is right and the other is
    not. It puts together the Wilson intervals of the two proportions and how the two go together (phi, with Newcombe's
    correction), does not leave [-1, 1], and has a width where the two never differ.

    Args:
        both, neither (`int`): trials in which both succeeded, and in which neither did.
        first_only, second_only (`int`): trials in which one alone succeeded.
        confidence (`float`): above 0 and below 1.

    Returns:
        The interval of the first proportion minus the second.

    Raises:
        ValueError: if one is out of range, or there are no trials.

    Example:

    ```python
    >>> from hf_ttr.answers.statistics import paired_difference_interval

    >>> low, high = paired_difference_interval(both=59, first_only=6, second_only=16, neither=80)
    >>> f"{low:.4f} to {high:.4f}"
    '-0.1186 to -0.0046'
    ```
    """
    counts = {"both": both, "first_only": first_only, "second_only": second_only, "neither": neither}
    for name, count in counts.items():
        _check_count(name, count)
    trials = sum(counts.values())
    if trials == 0:
        raise ValueError(f"{', '.join(counts)} are all 0; a difference needs at least one trial.")
    first, second = both + first_only, both + second_only
    first_low, first_high = wilson_interval(first, trials, confidence)
    second_low, second_high = wilson_interval(second, trials, confidence)
    first_share, second_share = first / trials, second / trials

    association = float(both * neither - first_only * second_only)
    if association > 0:
        association = max(association - trials / 2, 0.0)
    spread = first * (trials - first) * second * (trials - second)
    phi = association / sqrt(spread) if spread else 0.0

    difference = (first_only - second_only) / trials
    below = _square_and_add(first_share - first_low, second_high - second_share, phi)
    above = _square_and_add(first_high - first_share, second_share - second_low, phi)
    return Interval(max(difference - below, -1.0), min(difference + above, 1.0))


def bootstrap_interval(values: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """
    Percentile bootstrap interval of a mean: the same numbers give the same interval.

    One value has an interval without a width, and few values have one that is too narrow.

    Args:
        values (array of shape `(values,)`): finite numbers, at least one.
        confidence (`float`): above 0 and below 1.
        resamples (`int`): how often as many values are drawn, at least 1.
        seed (`int`): of the draws, at least 0.

    Raises:
        ValueError: if one is out of range.

    Example:

    ```python
    >>> from hf_ttr.answers.statistics import bootstrap_interval

    >>> low, high = bootstrap_interval([0.0, 1.0, 2.0, 3.0] * 25)
    >>> f"{low:.2f} to {high:.2f}"
    '1.28 to 1.72'
    ```
    """
    numbers = _finite("values", values, dimensions=1)
    if not numbers.size:
        raise ValueError("values is empty; a mean needs at least one.")
    _check_confidence(confidence)
    _check_count("resamples", resamples, least=1)
    _check_count("seed", seed)
    generator = np.random.default_rng(seed)
    # Some draws at a time: all at once would take memory for values times resamples.
    at_once = max(1, NUMBERS_AT_ONCE // numbers.size)
    means = np.concatenate(
        [
            numbers[generator.integers(numbers.size, size=(min(at_once, resamples - done), numbers.size))].mean(1)
            for done in range(0, resamples, at_once)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def same_top_label(first: ArrayLike, second: ArrayLike, kind: ScoreKind = "softmax") -> np.ndarray:
    """
    Where two models give the same label; of equal scores the first label counts.

    Args:
        first, second (arrays of shape `(..., labels)`): their logits, or any scores.
        kind (`ScoreKind`): what turns logits to scores, see `hf_ttr.answers.scores.score_kind`; of labels each by
            itself (`"sigmoid"`), the same ones must have scores above one half.

    Returns:
        Array of truth values of shape `(...)`.

    Raises:
        ValueError: if the shapes differ, or a number is not finite.
    """
    return same_answer(*_tensors(first, second), kind).numpy()


def top_k_agreement(expected: ArrayLike, got: ArrayLike, k: int = 5) -> np.ndarray:
    """
    Share of the best `k` labels of one model that are among the best `k` of another, in any order.

    Args:
        expected, got (arrays of shape `(..., labels)`): logits, or any scores; of equal ones the first label counts.
        k (`int`): at least 1; all labels where there are fewer, whose share is 1.

    Returns:
        Array of shape `(...)`.

    Raises:
        ValueError: if the shapes differ, a number is not finite, or k is out of range.

    Example:

    ```python
    >>> from hf_ttr.answers.statistics import top_k_agreement

    >>> top_k_agreement([[3.0, 2.0, 1.0, 0.0]], [[3.0, 0.0, 1.0, 2.0]], k=2)
    array([0.5])
    ```
    """
    _check_count("k", k, least=1)
    expected, got = _pair(expected, got)
    k = min(k, expected.shape[-1])
    chosen = [np.zeros(scores.shape, dtype=bool) for scores in (expected, got)]
    for scores, marks in zip((expected, got), chosen):
        np.put_along_axis(marks, np.argsort(-scores, axis=-1, kind="stable")[..., :k], True, axis=-1)
    return (chosen[0] & chosen[1]).sum(-1) / k


def kl_divergence(expected: ArrayLike, got: ArrayLike, kind: ScoreKind = "softmax") -> np.ndarray:
    """
    Kullback-Leibler divergence of the scores of one model from those of another, in nats.

    Args:
        expected (array of shape `(..., labels)`): logits of the model that is right, such as the dense one.
        got (array of the same shape): logits of the other.
        kind (`ScoreKind`): what turns logits to scores; how they are compared says `hf_ttr.answers.scores.divergence`.

    Returns:
        Array of shape `(...)`, nowhere below 0.

    Raises:
        ValueError: if the shapes differ, or a number is not finite.

    Example:

    ```python
    >>> from hf_ttr.answers.statistics import kl_divergence

    >>> kl_divergence([[0.0, 0.0]], [[1.0, 0.0]]).round(4)
    array([0.1201])
    ```
    """
    return divergence(*_tensors(expected, got), kind).numpy()


def relative_logit_error(expected: ArrayLike, got: ArrayLike) -> float | None:
    """
    Mean absolute error of logits, relative to their spread.

    The spread is the standard deviation (population) of the expected logits over the labels of each row, averaged over
    the rows; so 0.1 says that a logit is off by a tenth of what sets labels apart.

    Args:
        expected (array of shape `(rows, labels)`): logits of the model that is right, such as the dense one.
        got (array of the same shape): logits of the other.

    Returns:
        The error, or `None` where the expected logits of every row are all equal.

    Raises:
        ValueError: if the shapes differ, or a number is not finite.
    """
    expected, got = _pair(expected, got)
    spread = expected.std(-1).mean()
    return float(np.abs(got - expected).mean() / spread) if spread else None


def _square_and_add(first: float, second: float, phi: float) -> float:
    # Rounding can leave the square a hair below zero.
    return sqrt(max(first**2 - 2 * phi * first * second + second**2, 0.0))


def _normal_quantile(confidence: float) -> float:
    _check_confidence(confidence)
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _tensors(first: ArrayLike, second: ArrayLike) -> tuple[torch.Tensor, torch.Tensor]:
    arrays = _pair(first, second)
    return torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1])


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    arrays = _finite("the first scores", first), _finite("the second scores", second)
    shapes = [array.shape for array in arrays]
    if shapes[0] != shapes[1] or not arrays[0].ndim or not arrays[0].size:
        raise ValueError(f"the scores have the shapes {shapes[0]} and {shapes[1]}; pass two of the same, not empty.")
    return arrays


def _finite(name: str, values: ArrayLike, dimensions: int | None = None) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} cannot be read as an array; pass numbers, as many in each row.") from None
    if dimensions is not None and array.ndim != dimensions:
        raise ValueError(f"{name} has the shape {array.shape}, but must have {dimensions} dimension.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds a NaN or an infinite number; pass finite ones.")
    return array


def _check_count(name: str, value: int, least: int = 0) -> None:
    if not (is_whole(value) and value >= least):
        raise ValueError(f"{name} is {value!r}, but must be a whole number of at least {least}.")


def _check_confidence(confidence: float) -> None:
    if not (is_number(confidence) and 0 < confidence < 1):
        raise ValueError(f"confidence is {confidence!r}, but must be a number above 0 and below 1.")
