"""Efficiency against plain loops and a model's report, and for bad input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ..tiny import make_clip, tiny_video_classifier


SECONDS = st.integers(1, 1000).map(lambda number: number / 64)
CALL = st.fixed_dictionaries(
    {
        "computed_tokens": st.integers(0, 500),
        "total_tokens": st.integers(500, 2000),
        "multiply_adds": st.integers(1, 10**12),
        "dense_multiply_adds": st.integers(1, 10**12),
        "seconds": SECONDS,
        "dense_seconds": SECONDS,
        "peak_memory": st.integers(1, 10**11),
        "dense_peak_memory": st.integers(1, 10**11),
    }
)


@given(st.lists(CALL, min_size=1, max_size=6))
def test_against_loops(metric, calls):
    efficiency = metric("reuse_efficiency")
    for call in calls:
        efficiency.add(**call)
    results = efficiency.compute()

    totals = {name: sum(call[name] for call in calls) for name in calls[0]}
    largest = {name: max(call[name] for call in calls) for name in calls[0]}
    ratios = sorted(call["dense_seconds"] / call["seconds"] for call in calls)
    assert results == pytest.approx(
        {
            "computed_share": totals["computed_tokens"] / totals["total_tokens"],
            "multiply_add_ratio": totals["dense_multiply_adds"] / totals["multiply_adds"],
            "speed_up": totals["dense_seconds"] / totals["seconds"],
            "median_speed_up": (ratios[len(ratios) // 2] + ratios[(len(ratios) - 1) // 2]) / 2,
            "memory_ratio": largest["dense_peak_memory"] / largest["peak_memory"],
        }
    )
    # The sum of all lies between the least and the most that one call gains.
    assert ratios[0] - 1e-12 <= results["speed_up"] <= ratios[-1] + 1e-12

    without = [name for name in calls[0] if "memory" not in name]
    batch = {name: [call[name] for call in calls] for name in without}
    efficiency.add_batch(**batch)
    assert efficiency.compute() == {name: value for name, value in results.items() if name != "memory_ratio"}


def test_of_the_report_of_a_model(metric):
    model = tiny_video_classifier(mode="causal", threshold=0.3)
    with torch.inference_mode():
        report = model(make_clip(batch=2, frames=7)).reuse
    counts = {
        name: getattr(report, name)
        for name in ("computed_tokens", "total_tokens", "multiply_adds", "dense_multiply_adds")
    }
    results = metric("reuse_efficiency").compute(**counts, seconds=[0.1, 0.1], dense_seconds=[0.1, 0.3])
    assert results["computed_share"] == pytest.approx(report.computed_share.double().mean().item())
    ratio = report.dense_multiply_adds.sum() / report.multiply_adds.sum()
    assert results["multiply_add_ratio"] == pytest.approx(ratio.item())
    assert (results["speed_up"], results["median_speed_up"]) == (pytest.approx(2), pytest.approx(2))


GOOD = {
    "computed_tokens": [1, 2],
    "total_tokens": [4, 4],
    "multiply_adds": [1e6, 1e6],
    "dense_multiply_adds": [4e6, 4e6],
    "seconds": [0.5, 0.5],
    "dense_seconds": [1.0, 1.0],
}
BAD = {
    "nothing": ({name: [] for name in GOOD}, ["computed_tokens is empty"]),
    "no-seconds": ({"seconds": None}, ["seconds is missing"]),
    "fewer-seconds": ({"seconds": [0.5]}, ["2 computed_tokens", "1 seconds"]),
    "no-time": ({"seconds": [0.0, 1.0]}, ["seconds hold 0", "above 0"]),
    "negative-time": ({"dense_seconds": [1.0, -2.0]}, ["dense_seconds hold -2", "above 0"]),
    "no-multiply-adds": ({"multiply_adds": [0, 1]}, ["multiply_adds hold 0", "above 0"]),
    "negative-tokens": ({"computed_tokens": [-1, 1]}, ["computed_tokens hold -1", "at least 0"]),
    "swapped-tokens": ({"computed_tokens": [4, 5]}, ["computed_tokens hold 5 where total_tokens hold 4"]),
    "infinite-time": ({"seconds": [math.inf, 1.0]}, ["seconds hold a NaN or an infinite"]),
    "half-of-memory": ({"peak_memory": [1e6, 1e6]}, ["belong together"]),
    "some-memory": (
        {"peak_memory": [1e6, None], "dense_peak_memory": [1e6, 1e6]},
        ["peak_memory are given for 1 of 2"],
    ),
    "no-memory": ({"peak_memory": [0, 1], "dense_peak_memory": [1, 1]}, ["peak_memory hold 0", "above 0"]),
    "words": ({"seconds": ["a", "b"]}, ["another type", "seconds as Value('float64')"]),
    "predictions": ({"predictions": [1, 2]}, ["no input predictions", "computed_tokens"]),
}


@pytest.mark.parametrize(("changes", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(changes, words, metric):
    with pytest.raises(ValueError) as caught:
        metric("reuse_efficiency").compute(**{**GOOD, **changes})
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    for word in words:
        assert word in message
    assert metric("reuse_efficiency").compute(**GOOD)["speed_up"] == 2
