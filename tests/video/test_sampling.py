"""The one rule of which frames are looked at."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_ttr.video.sampling import check_sampling, choose_clips


@given(total=st.integers(1, 400), frames=st.integers(1, 40), rate=st.integers(1, 9), clips=st.integers(1, 5))
def test_clips(total: int, frames: int, rate: int, clips: int) -> None:
    found = choose_clips(total, frames, rate, clips)
    assert len(found) == clips and all(len(clip) == frames for clip in found)
    assert found[0][0] == 0
    for clip in found:
        steps = np.diff(clip)
        assert all(0 <= index < total for index in clip)
        # Past the end of the video its last frame comes again.
        assert all(step == rate or second == total - 1 for step, second in zip(steps, clip[1:]))
    if total >= (frames - 1) * rate + 1 and clips > 1:
        assert found[-1][-1] == total - 1
        starts = np.diff([clip[0] for clip in found])
        assert starts.max() - starts.min() <= 1


@given(total=st.integers(1, 400), frames=st.integers(1, 40))
def test_frames_are_those_of_transformers_own_pipeline(total: int, frames: int) -> None:
    expected = np.minimum(np.linspace(0, frames * 3 - 1, num=frames, dtype=np.int64), total - 1)
    if frames > 1 and total >= frames:
        assert choose_clips(total, frames)[0] == np.linspace(0, frames - 1, num=frames, dtype=np.int64).tolist()
    assert choose_clips(total, frames, 3)[0][0] == expected[0] == 0


@pytest.mark.parametrize(
    ("total", "frames", "rate", "clips", "expected"),
    [
        (377, 4, "spread", 1, [[0, 125, 251, 376]]),
        (9, 2, "spread", 2, [[0, 5], [3, 8]]),
        (3, 5, "spread", 1, [[0, 1, 2, 2, 2]]),
        (5, None, None, 1, [[0, 1, 2, 3, 4]]),
        (5, None, "spread", 1, [[0, 1, 2, 3, 4]]),
        (5, None, 2, 1, [[0, 2, 4]]),
    ],
)
def test_cases(total: int, frames: Any, rate: Any, clips: int, expected: list[list[int]]) -> None:
    assert choose_clips(total, frames, rate, clips) == expected


@pytest.mark.parametrize(
    ("frames", "rate", "message"),
    [
        (0, None, "`num_frames` must be a positive integer or None, not 0."),
        (True, 1, "`num_frames` must be a positive integer or None, not True."),
        (8, "all", "`frame_sampling_rate` must be a positive integer, 'spread' or None, not 'all'."),
        (8, 2.0, "`frame_sampling_rate` must be a positive integer, 'spread' or None, not 2.0."),
    ],
)
def test_wrong_settings(frames: Any, rate: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_sampling(frames, rate)
    check_sampling(8, "spread")
    check_sampling(None, None)
