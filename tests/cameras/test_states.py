"""States: when they change, and that a service that goes on changes them as one that was never interrupted."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_ttr.cameras.events import StateChange
from hf_ttr.cameras.states import StateTracker
from hf_ttr.streaming.result import StreamResult


def result(number: int, label: str, score: float = 0.9, **others: Any) -> StreamResult:
    labels = [{"label": label, "score": score}, {"label": "other", "score": (1 - score) / 2}]
    moment = f"2026-01-01T00:00:{number:02d}.000+00:00"
    known = {"first_frame": number, "last_frame": number, "start": number / 5, "end": number / 5}
    return StreamResult("door", number, labels=labels, arrived_at=moment, **{**known, **others})


def changes(tracker: StateTracker, results: list[StreamResult]) -> list[StateChange]:
    return [change for one in results if (change := tracker.update(one)) is not None]


def named(text: str) -> list[StreamResult]:
    """A result for each letter; a small one has a low score."""
    return [result(number, one.upper(), 0.9 if one.isupper() else 0.4) for number, one in enumerate(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AA", ""),
        ("AAA", "A"),
        ("AAAAAAA", "A"),
        ("AAABBB", "AB"),
        ("AAABBAABBB", "AB"),
        ("AAABABABAB", "A"),
        ("AAABBbBBB", "AB"),
        ("AAABBbBB", "A"),
        ("AAABBCCC", "AC"),
        ("aaaaa", ""),
    ],
)
def test_a_state_is_what_three_results_in_a_row_agree_on(text: str, expected: str) -> None:
    found = changes(StateTracker("door", min_score=0.5), named(text))
    assert "".join(change.label for change in found) == expected
    assert [change.number for change in found] == list(range(len(found)))
    assert [change.previous for change in found] == [None, *expected][: len(found)]


def test_a_change_says_when_it_came_about_and_what_it_cost() -> None:
    own = [result(0, "A", 0.6, computed_share=1.0), result(1, "A", 0.8, computed_share=0.2)]
    own += [result(2, "B", 0.7, computed_share=0.4), result(3, "B", 0.9, computed_share=0.2)]
    first, second = changes(StateTracker("door", "porch", agree=2), own)
    assert (first.id, second.id, second.place) == ("door/porch/0", "door/porch/1", "door/porch")
    assert (first.score, first.computed_share) == (pytest.approx(0.7), pytest.approx(0.6))
    assert (second.start, second.end) == ("2026-01-01T00:00:02.000+00:00", "2026-01-01T00:00:03.000+00:00")
    assert (second.first_frame, second.last_frame, second.start_time, second.end_time) == (2, 3, 0.4, 0.6)
    assert (second.previous, second.previous_since) == ("A", first.start)
    assert StateChange.from_dict(json.loads(json.dumps(second.to_dict()))) == second


@pytest.mark.parametrize(("kind", "score"), [("softmax", 0.75), ("sigmoid", 0.3)])
def test_of_the_labels_of_a_model_only_some_may_be_meant(kind: Any, score: float) -> None:
    labels = [{"label": name, "score": value} for name, value in (("C", 0.6), ("A", 0.3), ("B", 0.1))]
    own = StateTracker("door", labels=["A", "B"], kind=kind)
    assert own.best(StreamResult("door", 0, labels=labels)) == ("A", pytest.approx(score))
    # Of some of them alone, none is the best.
    for some in (labels[:1], labels[:2]):
        assert own.best(StreamResult("door", 0, labels=some)) == (None, 0.0)


def test_a_label_that_is_not_meant_any_more_is_no_state() -> None:
    before = StateTracker("door", labels=["A", "other"])
    changes(before, named("AAABB"))
    now = StateTracker("door", labels=["C", "other"])
    now.restore(before.to_dict())
    assert now.label is None and now.last is not None and now.last.number == 0
    later = [result(number, "C") for number in range(5, 9)]
    (change,) = changes(now, later)
    assert (change.number, change.previous, change.previous_since, change.label) == (1, None, None, "C")


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"results": 1},
        {"candidate": {"x": 1}, "last": None, "results": 0},
        {"candidate": None, "last": {}, "results": 0},
    ],
)
def test_what_is_no_state_is_refused(state: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the state has other fields"):
        StateTracker("door").restore(state)


@given(st.text("AABbC", max_size=40), st.integers(1, 4), st.data())
def test_interrupted_and_repeated_results_change_nothing(text: str, agree: int, data: st.DataObject) -> None:
    own = named(text)
    expected = changes(StateTracker("door", agree=agree), own)
    found: list[StateChange] = []
    state: dict[str, Any] | None = None
    begin = 0
    while begin < len(own):
        tracker = StateTracker("door", agree=agree)
        if state is not None:
            tracker.restore(json.loads(json.dumps(state)))
        end = data.draw(st.integers(begin, len(own)))
        # A run that goes on from an older snapshot sees some results again.
        again = data.draw(st.integers(0, begin))
        found += changes(tracker, own[again : max(end, begin + 1)])
        state, begin = tracker.to_dict(), max(end, begin + 1)
    assert found == expected


@given(st.text("ABC", max_size=40), st.integers(1, 4))
def test_states_are_those_of_a_slow_reference(text: str, agree: int) -> None:
    runs = [(label, len(list(group))) for label, group in groupby(text)]
    long = [label for label, length in runs if length >= agree]
    expected = [label for label, _ in groupby(long)]
    assert [change.label for change in changes(StateTracker("door", agree=agree), named(text))] == expected
