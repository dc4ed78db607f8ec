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


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.none() | st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, 1e300, -1e300])))
def test_times_always_increase(stamps):
    clock = StreamClock()
    times = [clock.time_of(stamp, STEP) for stamp in stamps]
    assert all(earlier < later for earlier, later in zip(times, times[1:]))
    assert times[:1] in ([], [0.0])
    assert clock.repaired >= sum(stamp is None or not math.isfinite(stamp) for stamp in stamps)
