"""Stability against plain loops, whatever the order, and for bad input."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hf_ttr.metrics


@st.composite
def streams_of_steps(draw):
    """Steps of streams in any order: name, timestamp in eighths of a second, scores with reuse, dense scores."""
    classes = draw(st.integers(1, 4))
    scores = st.lists(st.integers(0, 8).map(lambda number: number / 8), min_size=classes, max_size=classes)
    steps = []
    for name in draw(st.lists(st.sampled_from(["gate", "door", "7", ""]), min_size=1, unique=True)):
        for time in draw(st.lists(st.integers(0, 80), min_size=1, max_size=6, unique=True)):
            steps.append((name, time, draw(scores), draw(scores)))
    return draw(st.permutations(steps))


def as_inputs(steps, dense=True):
    inputs = {
        "predictions": [scores for _, _, scores, _ in steps],
        "streams": [name for name, *_ in steps],
        "timestamps": [time / 8 for _, time, *_ in steps],
    }
    return {**inputs, "references": [scores for *_, scores in steps]} if dense else inputs


def by_hand(steps, which):
    """The figures of the scores with reuse (2) or of the dense ones (3), in exact fractions."""
    seconds, changes, variation, longest = Fraction(0), 0, Fraction(0), Fraction(0)
    for name in {step[0] for step in steps}:
        of_stream = sorted((step for step in steps if step[0] == name), key=lambda step: step[1])
        held: dict[int, Fraction] = {}
        for before, after in zip(of_stream, of_stream[1:]):
            old, new = before[which], after[which]
            duration = Fraction(after[1] - before[1], 8)
            seconds += duration
            label = old.index(max(old))
            held[label] = held.get(label, Fraction(0)) + duration
            changes += label != new.index(max(new))
            variation += sum((abs(Fraction(a) - Fraction(b)) for a, b in zip(old, new)), Fraction(0)) / 2
        longest += max(held.values(), default=Fraction(0))
    if not seconds:
        return 0, None, None, None
    return seconds, changes / seconds, variation / seconds, longest / seconds


NAMES = ("label_changes_per_second", "total_variation_per_second", "most_frequent_label_share")


@given(streams_of_steps())
def test_against_loops(metric, steps):
    results = metric("prediction_stability").compute(**as_inputs(steps))
    seconds, *reuse = by_hand(steps, 2)
    _, *dense = by_hand(steps, 3)
    expected = {
        "streams": len({name for name, *_ in steps}),
        "seconds": seconds,
        **dict(zip(NAMES, reuse)),
        **{f"dense_{name}": value for name, value in zip(NAMES, dense)},
    }
    for name, value, dense_value in zip(NAMES[:2], reuse, dense):
        expected[f"excess_{name}"] = None if value is None else value - dense_value
    assert list(results) == list(expected)
    for name, value in expected.items():
        assert results[name] == (None if value is None else pytest.approx(float(value), abs=1e-12)), name


@given(streams_of_steps(), st.randoms(use_true_random=False))
def test_the_order_and_the_way_of_adding_do_not_matter(metric, steps, random):
    stability = metric("prediction_stability")
    expected = stability.compute(**as_inputs(steps, dense=False))
    assert not [name for name in expected if name.startswith(("dense", "excess"))]
    random.shuffle(steps)
    for name, time, scores, _ in steps:
        stability.add(prediction=scores, streams=name, timestamps=time / 8)
    assert stability.compute() == pytest.approx(expected)


def test_a_stream_without_a_name(metric):
    inputs = {"predictions": [[1.0, 0.0], [0.0, 1.0]], "timestamps": [0.0, 0.25]}
    alone = metric("prediction_stability").compute(**inputs)
    assert alone == metric("prediction_stability").compute(**inputs, streams=["gate", "gate"])
    assert (alone["streams"], alone["label_changes_per_second"], alone["total_variation_per_second"]) == (1, 4, 4)


def test_two_streams_are_not_taken_for_one(metric):
    # Each is steady; taken for one they would change all the time.
    results = metric("prediction_stability").compute(
        predictions=[[1.0, 0.0], [0.0, 1.0]] * 3,
        streams=["gate", "door"] * 3,
        timestamps=[0.0, 0.0, 1.0, 1.0, 2.0, 2.0],
    )
    assert (results["label_changes_per_second"], results["total_variation_per_second"]) == (0, 0)
    assert (results["most_frequent_label_share"], results["seconds"]) == (1, 4)


def test_reuse_that_holds_is_steadier_than_the_dense_model(metric):
    dense = [[0.6, 0.4], [0.4, 0.6]] * 4
    results = metric("prediction_stability").compute(
        predictions=[[0.6, 0.4]] * 8, references=dense, timestamps=[number / 7 for number in range(8)]
    )
    assert results["excess_label_changes_per_second"] == pytest.approx(-7)
    assert results["excess_total_variation_per_second"] == pytest.approx(-1.4)


def test_one_step(metric):
    results = metric("prediction_stability").compute(predictions=[[1.0]], references=[[1.0]], timestamps=[2.0])
    assert results.pop("streams") == 1 and results.pop("seconds") == 0
    assert set(results.values()) == {None}


SCORES = [[1.0, 0.0], [0.0, 1.0]]
BAD = {
    "nothing": ({"predictions": [], "timestamps": []}, ["predictions is empty"]),
    "no-timestamps": ({"predictions": SCORES}, ["timestamps is missing"]),
    "fewer-timestamps": ({"predictions": SCORES, "timestamps": [0.0]}, ["2 predictions", "1 timestamps"]),
    "repeated": ({"predictions": SCORES, "timestamps": [1.5, 1.5]}, ["timestamps hold 1.5 s twice"]),
    "repeated-in-a-stream": (
        {"predictions": SCORES, "timestamps": [1.5, 1.5], "streams": ["gate", "gate"]},
        ["the stream 'gate' has 1.5 s twice"],
    ),
    "nan-timestamp": ({"predictions": SCORES, "timestamps": [0.0, math.nan]}, ["timestamps hold a NaN"]),
    "nan-score": ({"predictions": [[math.nan]], "timestamps": [0.0]}, ["predictions hold a NaN"]),
    "no-classes": ({"predictions": [[], []], "timestamps": [0.0, 1.0]}, ["0 scores each", "at least 1"]),
    "stream-number": ({"predictions": SCORES, "timestamps": [0, 1], "streams": [7, 8]}, ["another type", "string"]),
    "some-references": (
        {"predictions": SCORES, "references": [[1.0, 0.0], None], "timestamps": [0, 1]},
        ["references", "1 of 2"],
    ),
    "other-classes": (
        {"predictions": SCORES, "references": [[1.0], [1.0]], "timestamps": [0, 1]},
        ["2 scores each", "references 1"],
    ),
}


@pytest.mark.parametrize(("inputs", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(inputs, words, metric):
    with pytest.raises(ValueError) as caught:
        metric("prediction_stability").compute(**inputs)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    for word in words:
        assert word in message


def test_scores_of_each_label_by_itself() -> None:
    metric = hf_ttr.metrics.load("prediction_stability", keep_in_memory=True)
    # The best label stays; the set of those above one half changes twice.
    scores = [[0.9, 0.4], [0.9, 0.6], [0.9, 0.4], [0.9, 0.4]]
    times = [0.0, 1.0, 2.0, 3.0]
    found = metric.compute(predictions=scores, timestamps=times, problem_type="multi_label_classification")
    assert found["label_changes_per_second"] == pytest.approx(2 / 3)
    assert found["total_variation_per_second"] == pytest.approx(0.4 / 3)
    assert found["most_frequent_label_share"] == pytest.approx(2 / 3)
    assert metric.compute(predictions=scores, timestamps=times)["label_changes_per_second"] == 0
    found = metric.compute(predictions=scores, timestamps=times, problem_type="regression")
    assert found["label_changes_per_second"] is None and found["most_frequent_label_share"] is None
    assert found["total_variation_per_second"] == pytest.approx(0.4 / 3)
