"""Fidelity against plain loops, at the smallest sizes, and for bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import hf_ttr.metrics
from hf_ttr.answers.statistics import paired_difference_interval, wilson_interval


LOGIT = st.integers(-40, 40).map(lambda number: number / 8)


@st.composite
def answers(draw):
    """Logits with reuse and dense, and labels."""
    clips, classes = draw(st.integers(1, 7)), draw(st.integers(2, 8))
    rows = st.lists(st.lists(LOGIT, min_size=classes, max_size=classes), min_size=clips, max_size=clips)
    labels = st.lists(st.integers(0, classes - 1), min_size=clips, max_size=clips)
    return draw(rows), draw(rows), draw(labels)


def log_softmax(logits):
    total = math.log(math.fsum(math.exp(logit) for logit in logits))
    return [logit - total for logit in logits]


def best(logits, count):
    return sorted(range(len(logits)), key=lambda label: (-logits[label], label))[:count]


def by_hand(predictions, references, labels):
    """The same results, number by number."""
    clips, classes = len(labels), len(references[0])
    same, shared, divergences, error, spread = 0, 0.0, [], 0.0, 0.0
    table = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for reuse, dense, label in zip(predictions, references, labels):
        same += best(reuse, 1) == best(dense, 1)
        shared += len(set(best(reuse, 5)) & set(best(dense, 5))) / min(5, classes)
        p, q = log_softmax(dense), log_softmax(reuse)
        divergences.append(max(0.0, sum(math.exp(a) * (a - b) for a, b in zip(p, q))))
        error += sum(abs(a - b) for a, b in zip(reuse, dense)) / classes
        mean = sum(dense) / classes
        spread += math.sqrt(sum((logit - mean) ** 2 for logit in dense) / classes)
        table[best(reuse, 1) == [label], best(dense, 1) == [label]] += 1
    ranked = sorted(divergences)
    place = 0.95 * (clips - 1)
    below = math.floor(place)
    above = min(below + 1, clips - 1)
    right, dense_right = table[True, True] + table[True, False], table[True, True] + table[False, True]
    agreement, difference = wilson_interval(same, clips), paired_difference_interval(*table.values())
    return {
        "clips": clips,
        "top_1_agreement": same / clips,
        "top_1_agreement_low": agreement.low,
        "top_1_agreement_high": agreement.high,
        "top_5_agreement": shared / clips,
        "kl_divergence": sum(divergences) / clips,
        "kl_divergence_p95": ranked[below] + (place - below) * (ranked[above] - ranked[below]),
        "relative_logit_error": error / spread if spread else None,
        "accuracy": right / clips,
        "dense_accuracy": dense_right / clips,
        "accuracy_difference": (right - dense_right) / clips,
        "accuracy_difference_low": difference.low,
        "accuracy_difference_high": difference.high,
    }


@given(answers())
def test_against_loops(metric, case):
    predictions, references, labels = case
    results = metric("reuse_fidelity").compute(predictions=predictions, references=references, labels=labels)
    expected = by_hand(predictions, references, labels)
    assert list(results) == list(expected)
    for name, value in expected.items():
        assert results[name] == (None if value is None else pytest.approx(value, abs=1e-12)), name


@given(answers())
def test_added_in_any_way_it_is_the_same(metric, case):
    predictions, references, labels = case
    fidelity = metric("reuse_fidelity")
    expected = fidelity.compute(predictions=predictions, references=references, labels=labels)

    for prediction, reference, label in zip(predictions, references, labels):
        fidelity.add(prediction=prediction, reference=reference, labels=label)
    assert fidelity.compute() == expected

    half = len(labels) // 2
    for part in (slice(half, None), slice(half)):
        if labels[part]:
            fidelity.add_batch(predictions=predictions[part], references=references[part], labels=labels[part])
    assert fidelity.compute() == pytest.approx(expected, nan_ok=True)

    fidelity.add_batch(predictions=predictions, references=references)
    without = fidelity.compute()
    assert without == {name: expected[name] for name in without}
    assert not {"accuracy", "dense_accuracy", "accuracy_difference"} & set(without)


@pytest.mark.parametrize("as_type", [torch.tensor, np.array, np.float32], ids=["torch", "numpy", "float32"])
def test_tensors_and_arrays(as_type, metric):
    predictions, references = [[1.5, 0.25], [0.0, 2.0]], [[1.0, 0.5], [1.0, 0.0]]
    given_as = metric("reuse_fidelity").compute(predictions=as_type(predictions), references=as_type(references))
    assert given_as == metric("reuse_fidelity").compute(predictions=predictions, references=references)


def test_logits_are_not_rounded(metric):
    # In float32 the two would be equal, and the first class the best.
    results = metric("reuse_fidelity").compute(predictions=[[1.0, 1.0 + 1e-12]], references=[[0.0, 1.0]])
    assert results["top_1_agreement"] == 1


def test_one_clip_of_two_classes(metric):
    results = metric("reuse_fidelity").compute(predictions=[[0.0, 1.0]], references=[[1.0, 0.0]], labels=[0])
    assert (results["top_1_agreement"], results["top_5_agreement"]) == (0, 1)
    assert results["kl_divergence"] == results["kl_divergence_p95"] > 0
    assert results["relative_logit_error"] == 2
    assert results["accuracy_difference"] == -1
    assert -1 == results["accuracy_difference_low"] < results["accuracy_difference_high"] < 1
    assert 0 == results["top_1_agreement_low"] < results["top_1_agreement_high"] < 1


def test_the_dense_model_itself_is_perfect(metric):
    logits = np.random.default_rng(0).normal(size=(40, 12)).tolist()
    results = metric("reuse_fidelity").compute(predictions=logits, references=logits, labels=[3] * 40)
    assert (results["top_1_agreement"], results["top_5_agreement"]) == (1, 1)
    assert (results["kl_divergence"], results["relative_logit_error"]) == (0, 0)
    assert results["accuracy_difference"] == 0
    assert results["accuracy_difference_low"] < 0 < results["accuracy_difference_high"]


ROWS = [[1.0, 0.0], [0.0, 1.0]]
BAD = {
    "nothing": ({"predictions": [], "references": []}, ["predictions is empty"]),
    "no-references": ({"predictions": ROWS}, ["references is missing"]),
    "no-predictions": ({"references": ROWS}, ["predictions is missing"]),
    "labels-alone": ({"labels": [0]}, ["predictions is missing"]),
    "fewer-references": ({"predictions": ROWS, "references": ROWS[:1]}, ["2 predictions", "1 references"]),
    "fewer-labels": ({"predictions": ROWS, "references": ROWS, "labels": [0]}, ["2 predictions", "1 labels"]),
    "other-classes": ({"predictions": ROWS, "references": [[0.0] * 3] * 2}, ["2 scores each", "references 3"]),
    "ragged": ({"predictions": [[1.0, 0.0], [1.0]], "references": ROWS}, ["predictions have from 1 to 2"]),
    "no-row": ({"predictions": [[1.0, 0.0], None], "references": ROWS}, ["predictions have from 0 to 2"]),
    "one-class": ({"predictions": [[1.0]], "references": [[1.0]]}, ["1 scores each", "at least 2"]),
    "nan": ({"predictions": [[math.nan, 0.0]], "references": [[0.0, 1.0]]}, ["predictions hold a NaN"]),
    "infinite": ({"predictions": [[0.0, 1.0]], "references": [[0.0, math.inf]]}, ["references hold a NaN or an inf"]),
    "none": ({"predictions": [[None, 0.0]], "references": [[0.0, 1.0]]}, ["predictions hold a NaN"]),
    "some-labels": ({"predictions": ROWS, "references": ROWS, "labels": [1, None]}, ["labels", "1 of 2"]),
    "label-too-large": ({"predictions": ROWS, "references": ROWS, "labels": [1, 2]}, ["labels hold 2", "0 to 1"]),
    "label-negative": ({"predictions": ROWS, "references": ROWS, "labels": [1, -1]}, ["labels hold -1"]),
    "label-word": ({"predictions": ROWS, "references": ROWS, "labels": ["cat", "dog"]}, ["another type", "int64"]),
    "words": ({"predictions": [["a", "b"]], "references": [[0.0, 1.0]]}, ["another type", "float64"]),
    "numbers": ({"predictions": [0, 1], "references": [0, 1]}, ["another type", "List"]),
    "unknown": ({"predictions": ROWS, "references": ROWS, "normalize": True}, ["no input normalize", "labels"]),
}


@pytest.mark.parametrize(("inputs", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(inputs, words, metric):
    with pytest.raises(ValueError) as caught:
        metric("reuse_fidelity").compute(**inputs)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    for word in words:
        assert word in message
    # It can be used again, and nothing is left of what was wrong.
    assert metric("reuse_fidelity").compute(predictions=ROWS, references=ROWS)["clips"] == 2


def test_bad_input_of_add(metric):
    with pytest.raises(ValueError, match=r"^the input references is missing; .*\.$"):
        metric("reuse_fidelity").add(prediction=[0.0, 1.0])
    with pytest.raises(ValueError, match=r"^there is no input timestamps; .*\.$"):
        metric("reuse_fidelity").add(prediction=[0.0, 1.0], reference=[0.0, 1.0], timestamps=1.0)


def test_scores_of_each_label_by_itself() -> None:
    metric = hf_ttr.metrics.load("reuse_fidelity", keep_in_memory=True)
    dense, reuse = [[2.0, -1.0, 0.5], [-3.0, -0.5, 1.0]], [[1.0, 0.1, 0.5], [-2.0, -0.4, 3.0]]
    found = metric.compute(predictions=reuse, references=dense, problem_type="multi_label_classification")
    expected = torch.distributions.kl_divergence(
        *(torch.distributions.Bernoulli(logits=torch.tensor(logits).double()) for logits in (dense, reuse))
    ).sum(-1)
    assert found["kl_divergence"] == pytest.approx(expected.mean().item())
    assert found["top_1_agreement"] == 0.5  # the second label of the first clip is above one half with reuse alone
    with pytest.raises(ValueError, match="labels are given, but with problem_type 'multi_label_classification'"):
        metric.compute(predictions=reuse, references=dense, labels=[0, 1], problem_type="multi_label_classification")


def test_numbers_have_no_agreement() -> None:
    metric = hf_ttr.metrics.load("reuse_fidelity", keep_in_memory=True)
    found = metric.compute(predictions=[[1.0], [2.0]], references=[[1.5], [4.0]], problem_type="regression")
    assert found["top_1_agreement"] is None and found["top_5_agreement"] is None
    assert found["kl_divergence"] == pytest.approx((0.5**2 / 2 + 2**2 / 2) / 2)
    with pytest.raises(ValueError, match="problem_type is 'other', but must be one of single_label_classification"):
        metric.compute(predictions=[[1.0]], references=[[1.5]], problem_type="other")
