"""Intervals against published values and the equations that define them; agreement against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hf_ttr.answers.statistics import (
    bootstrap_interval,
    kl_divergence,
    paired_difference_interval,
    relative_logit_error,
    same_top_label,
    top_k_agreement,
    wilson_interval,
)


Z = 1.959963984540054
COUNTS = st.integers(0, 60)
# Few distinct numbers, so that there are ties.
LOGITS = st.integers(2, 8).flatmap(
    lambda classes: arrays(np.float64, (2, 3, classes), elements=st.sampled_from([-30.0, -1.5, 0.0, 0.25, 2.0, 50.0]))
)


# ---------------------------------------------------------------------------------------------------------------------
# Intervals
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_as_published(successes, trials, low, high):
    # Newcombe (1998), Two-sided confidence intervals for the single proportion, table I, method 3.
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(COUNTS, st.integers(1, 60))
def test_wilson_interval_solves_the_score_equation(successes, trials):
    successes = min(successes, trials)
    share = successes / trials
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= share <= high <= 1
    for end, bound in ((low, 0), (high, 1)):
        if end != bound:
            assert abs(share - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / trials))


def test_wilson_interval_of_none_and_of_all_ends_there():
    for trials in range(1, 30):
        for confidence in (0.5, 0.8, 0.9, 0.95, 0.999):
            assert wilson_interval(0, trials, confidence).low == 0
            assert wilson_interval(trials, trials, confidence).high == 1


def test_wilson_interval_of_other_confidence():
    narrow, wide = (wilson_interval(30, 100, confidence) for confidence in (0.5, 0.99))
    assert wide.low < narrow.low < 0.3 < narrow.high < wide.high
    # 90 % two-sided: the normal quantile is 1.6449.
    low, high = wilson_interval(0, 10, confidence=0.9)
    assert (low, high) == pytest.approx((0, 1.6448536**2 / (10 + 1.6448536**2)))


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [((1, 1, 7, 12), -0.507, -0.026), ((59, 6, 16, 80), -0.1186, -0.0046)],
    ids=["airway", "myeloma"],
)
def test_paired_difference_interval_as_published(table, low, high):
    # Fagerland, Lydersen, Laake, Statistical analysis of contingency tables, chapter 8: Newcombe's square-and-add.
    digits = len(str(low).partition(".")[2])
    interval = paired_difference_interval(*table)
    assert tuple(round(end, digits) for end in interval) == (low, high)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_paired_difference_interval_is_sound(both, first_only, second_only, neither):
    trials = both + first_only + second_only + neither
    if trials == 0:
        return
    low, high = paired_difference_interval(both, first_only, second_only, neither)
    assert -1 <= low <= (first_only - second_only) / trials <= high <= 1
    # Nothing is certain, even where nothing was seen to differ.
    assert low < high
    assert paired_difference_interval(both, second_only, first_only, neither) == pytest.approx((-high, -low))
    # Failures in the place of successes turn the difference round.
    assert paired_difference_interval(neither, second_only, first_only, both) == pytest.approx((-high, -low))


@pytest.mark.parametrize("probabilities", [(0.6, 0.1, 0.1, 0.2), (0.8, 0.02, 0.08, 0.1), (0.9, 0.0, 0.05, 0.05)])
def test_paired_difference_interval_covers(probabilities):
    trials, covered = 24, 0.0
    truth = probabilities[1] - probabilities[2]
    for both in range(trials + 1):
        for first in range(trials + 1 - both):
            for second in range(trials + 1 - both - first):
                table = (both, first, second, trials - both - first - second)
                chance = math.factorial(trials)
                for count, probability in zip(table, probabilities):
                    chance = chance / math.factorial(count) * probability**count
                low, high = paired_difference_interval(*table)
                covered += chance * (low <= truth <= high)
    assert 0.93 < covered <= 1


def test_paired_difference_interval_is_narrower_than_that_of_separate_clips():
    low, high = paired_difference_interval(both=85, first_only=2, second_only=4, neither=9)
    first, second = wilson_interval(87, 100), wilson_interval(89, 100)
    separate = math.hypot(0.87 - first.low, second.high - 0.89) + math.hypot(first.high - 0.87, 0.89 - second.low)
    assert high - low < 0.7 * separate


def test_bootstrap_interval_of_many_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(3).exponential(size=900)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * Z * values.std() / 30, rel=0.1)


def test_bootstrap_interval_is_that_of_the_drawn_means():
    values = [0.0, 1.0, 5.0]
    generator = np.random.default_rng(7)
    means = sorted(sum(values[i] for i in generator.integers(3, size=3)) / 3 for _ in range(101))
    # With 101 draws, the quantiles 0.1 and 0.9 are draws themselves.
    assert bootstrap_interval(values, confidence=0.8, resamples=101, seed=7) == pytest.approx((means[10], means[90]))


def test_bootstrap_interval_is_the_same_again():
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_interval(values) == bootstrap_interval(list(values))
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_bootstrap_interval_of_one_value():
    assert bootstrap_interval([2.5]) == (2.5, 2.5)


# ---------------------------------------------------------------------------------------------------------------------
# Agreement
# ---------------------------------------------------------------------------------------------------------------------


def loop_softmax(logits):
    largest = max(logits)
    total = math.fsum(math.exp(logit - largest) for logit in logits)
    return [(math.exp(logit - largest) / total, logit - largest - math.log(total)) for logit in logits]


def loop_best(scores, k):
    return sorted(range(len(scores)), key=lambda label: (-scores[label], label))[:k]


@given(LOGITS, st.integers(1, 9))
def test_agreement_against_loops(both, k):
    expected, got = both
    for row in range(len(expected)):
        dense, reuse = expected[row].tolist(), got[row].tolist()
        assert same_top_label(expected, got)[row] == (loop_best(dense, 1) == loop_best(reuse, 1))
        best = loop_best(dense, k)
        share = sum(label in loop_best(reuse, k) for label in best) / len(best)
        assert top_k_agreement(expected, got, k)[row] == pytest.approx(share)
        kl = sum(p * (log_p - log_q) for (p, log_p), (_, log_q) in zip(loop_softmax(dense), loop_softmax(reuse)))
        assert kl_divergence(expected, got)[row] == pytest.approx(kl, abs=1e-12)


@given(LOGITS)
def test_kl_divergence_is_a_divergence(both):
    expected, got = both
    assert (kl_divergence(expected, got) >= 0).all()
    assert kl_divergence(expected, expected + 3.0) == pytest.approx(np.zeros(len(expected)), abs=1e-12)


def test_kl_divergence_of_huge_logits_is_finite():
    assert kl_divergence([1e4, -1e4], [-1e4, 1e4]) == pytest.approx(2e4)


@given(LOGITS)
def test_relative_logit_error_against_loops(both):
    expected, got = both
    rows, classes = expected.shape
    error = sum(abs(a - b) for dense, reuse in zip(expected, got) for a, b in zip(dense, reuse)) / (rows * classes)
    spread = 0.0
    for dense in expected.tolist():
        mean = sum(dense) / classes
        spread += math.sqrt(sum((logit - mean) ** 2 for logit in dense) / classes) / rows
    if spread > 1e-9:
        assert relative_logit_error(expected, got) == pytest.approx(error / spread)


def test_relative_logit_error_does_not_depend_on_the_scale():
    dense, reuse = np.random.default_rng(0).normal(size=(2, 5, 7))
    assert relative_logit_error(dense, reuse) == pytest.approx(relative_logit_error(9 * dense, 9 * reuse))
    assert relative_logit_error([[1.0, -1.0]], [[1.5, -1.5]]) == 0.5


def test_relative_logit_error_without_a_spread():
    assert relative_logit_error([[2.0, 2.0]], [[1.0, 2.0]]) is None


def test_frames_of_clips():
    dense, reuse = np.random.default_rng(1).normal(size=(2, 4, 6, 9))
    for function in (same_top_label, top_k_agreement, kl_divergence):
        assert function(dense, reuse).shape == (4, 6)
        assert function(dense, reuse)[2, 3] == function(dense[2, 3], reuse[2, 3])


# ---------------------------------------------------------------------------------------------------------------------
# Bad input
# ---------------------------------------------------------------------------------------------------------------------

BAD = {
    "no-trials": (lambda: wilson_interval(0, 0), ["trials is 0", "at least 1"]),
    "too-many-successes": (lambda: wilson_interval(3, 2), ["successes is 3", "at most"]),
    "negative-successes": (lambda: wilson_interval(-1, 2), ["successes is -1"]),
    "half-a-success": (lambda: wilson_interval(0.5, 2), ["successes is 0.5", "whole"]),
    "true-success": (lambda: wilson_interval(True, 2), ["successes is True"]),
    "confidence-1": (lambda: wilson_interval(1, 2, 1), ["confidence is 1", "below 1"]),
    "confidence-95": (lambda: bootstrap_interval([1.0], 95), ["confidence is 95"]),
    "confidence-nan": (lambda: paired_difference_interval(1, 1, 1, 1, math.nan), ["confidence is nan"]),
    "empty-table": (lambda: paired_difference_interval(0, 0, 0, 0), ["all 0"]),
    "negative-count": (lambda: paired_difference_interval(1, -1, 0, 0), ["first_only is -1"]),
    "no-values": (lambda: bootstrap_interval([]), ["values is empty"]),
    "table-of-values": (lambda: bootstrap_interval([[1.0]]), ["values", "(1, 1)"]),
    "nan-value": (lambda: bootstrap_interval([1.0, math.nan]), ["values", "NaN"]),
    "no-resamples": (lambda: bootstrap_interval([1.0], resamples=0), ["resamples is 0"]),
    "negative-seed": (lambda: bootstrap_interval([1.0], seed=-1), ["seed is -1"]),
    "unlike-shapes": (lambda: kl_divergence([1.0, 2.0], [1.0]), ["(2,)", "(1,)"]),
    "no-labels": (lambda: same_top_label([], []), ["not empty"]),
    "number": (lambda: same_top_label(1.0, 2.0), ["shapes () and ()"]),
    "ragged": (lambda: kl_divergence([[1.0], [1.0, 2.0]], [[1.0]]), ["the first scores", "array"]),
    "words": (lambda: kl_divergence([1.0], ["a"]), ["the second scores", "array"]),
    "infinite": (lambda: relative_logit_error([[math.inf, 1.0]], [[0.0, 1.0]]), ["the first scores", "infinite"]),
    "k-0": (lambda: top_k_agreement([1.0], [1.0], k=0), ["k is 0"]),
}


@pytest.mark.parametrize(("call", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    for word in words:
        assert word in message
