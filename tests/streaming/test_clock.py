"""Times from the first frame that strictly increase, whatever the timestamps."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_ttr.streaming.clock import StreamClock


STEP = 0.5
CASES = {
    "from-any-origin": ([7.0, 7.5, 9.0], [0, 0.5, 2.0], 0),
    "negative-origin": ([-3.0, -2.75], [0, 0.25], 0),
    "missing": ([1.0, None, 2.0], [0, 0.5, 1.0], 1),
    "missing-first": ([None, 5.0, 5.25], [0, 0.5, 0.75], 1),
    "all-missing": ([None, None, None], [0, 0.5, 1.0], 3),
    "repeated": ([0.0, 1.0, 1.0, 3.0], [0, 1.0, 1.5, 3.0], 1),
    "backwards": ([0.0, 1.0, 0.75, 2.0], [0, 1.0, 1.5, 2.0], 1),
    "clock-set-anew": ([100.0, 101.0, 0.0, 0.25, 1.25], [0, 1.0, 1.5, 1.75, 2.75], 1),
    "not-a-number": ([0.0, math.nan, math.inf, 4.0], [0, 0.5, 1.0, 4.0], 2),
}


@pytest.mark.parametrize("stamps, times, repaired", CASES.values(), ids=CASES)
def test_times(stamps, times, repaired):
    clock = StreamClock()
    assert [clock.time_of(stamp, STEP) for stamp in stamps] == times
    assert clock.repaired == repaired


# Timestamps, when the frames came, the times, and the number of repairs.
LIVE = {
    "good-stamps-are-kept": ([5.0, 5.5, 6.25], [0.0, 0.9, 1.0], [0, 0.5, 1.25], 0),
    "a-burst-after-a-stall": ([0.0, 0.5, 1.0, 1.5], [0.0, 3.0, 3.0, 3.0], [0, 0.5, 1.0, 1.5], 0),
    "hours-ahead": ([0.0, 0.5, 7200.0, 7200.5], [0.0, 0.5, 1.0, 1.5], [0, 0.5, 1.0, 1.5], 1),
    "hours-back": ([7200.0, 7200.5, 0.0, 0.5], [0.0, 0.5, 2.5, 3.0], [0, 0.5, 2.5, 3.0], 1),
    "a-gap-that-was-real": ([0.0, 60.0], [0.0, 59.0], [0, 60.0], 0),
    "no-stamps": ([None, None, None], [0.0, 0.25, 2.25], [0, 0.25, 2.25], 3),
    "one-missing": ([0.0, None, 1.0], [0.0, 0.4, 1.1], [0, 0.4, 1.0], 1),
}


@pytest.mark.parametrize("stamps, arrivals, times, repaired", LIVE.values(), ids=LIVE)
def test_times_of_live_sources_go_with_the_time_that_passes(stamps, arrivals, times, repaired):
    clock = StreamClock()
    found = [clock.time_of(stamp, 0.04, 1000.0 + arrival) for stamp, arrival in zip(stamps, arrivals)]
    assert found == pytest.approx(times) and clock.repaired == repaired


def test_gaps_of_files_are_what_they_say():
    clock = StreamClock()
    assert [clock.time_of(stamp, STEP) for stamp in (0.0, 7200.0)] == [0, 7200]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.none() | st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, 1e300, -1e300])))
def test_times_always_increase(stamps):
    clock = StreamClock()
    times = [clock.time_of(stamp, STEP) for stamp in stamps]
    assert all(earlier < later for earlier, later in zip(times, times[1:]))
    assert times[:1] in ([], [0.0])
    assert clock.repaired >= sum(stamp is None or not math.isfinite(stamp) for stamp in stamps)
