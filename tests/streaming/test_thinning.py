"""At most so many frames in a second: which ones, and that the others are not decoded where that can be."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_ttr.streaming import open_source
from hf_ttr.streaming.thinning import Thinning

from .clips import encode, index_of, pictures


B_FRAMES = {"preset": "veryfast", "x264-params": "bframes=3:b-adapt=0:b-pyramid=0:keyint=12:scenecut=0"}
NO_B_FRAMES = {"preset": "veryfast", "x264-params": "bframes=0:keyint=12"}


def read(data: bytes, **options: Any) -> tuple[list[int], list[int], Any]:
    """What the frames of a source show, their numbers, and the source."""
    with open_source(data, **options) as source:
        frames = list(source.frames())
        return [index_of(frame.pixels) for frame in frames], [frame.index for frame in frames], source


@pytest.mark.parametrize("codec_options", [B_FRAMES, NO_B_FRAMES])
@pytest.mark.parametrize("max_fps", [2.0, 5.0, 8.0, 12.5])
def test_the_first_frame_of_each_span_is_given_as_a_whole_decoding_has_it(
    max_fps: float, codec_options: dict[str, str]
) -> None:
    # Of several threads, which hold frames back.
    data = encode(pictures(36), ("matroska", "libx264", "yuv420p"), codec_options=codec_options)
    firsts = [next(group) for _, group in itertools.groupby(range(36), lambda index: int(index / 25 * max_fps + 1e-9))]
    shown, numbers, source = read(data, max_fps=max_fps)
    assert shown == numbers == firsts
    assert source.received == 36
    whole = [frame.pixels for frame in open_source(data).frames()]
    with open_source(data, max_fps=max_fps) as again:
        for frame in again.frames():
            np.testing.assert_array_equal(frame.pixels, whole[frame.index])


def test_frames_that_no_other_needs_are_not_decoded() -> None:
    kind = ("matroska", "libx264", "yuv420p")
    for codec_options, most in ((B_FRAMES, 20), (NO_B_FRAMES, 36)):
        *_, source = read(encode(pictures(36), kind, codec_options=codec_options), max_fps=2.0)
        assert source.received == 36 and source.decoded <= most
    shown, numbers, source = read(encode(pictures(36), "avi-mjpeg"), max_fps=5.0)
    assert numbers == list(range(0, 36, 5)) and source.received == 36
    assert source.decoded <= len(numbers) + 1 and np.allclose(shown, numbers, atol=1)


def test_a_source_that_has_no_more_is_given_whole() -> None:
    data = encode(pictures(10))
    for max_fps in (24.0, 25.0, 60.0):
        assert read(data, max_fps=max_fps)[1] == list(range(10))


def test_a_stream_that_goes_on_takes_the_same_frames() -> None:
    data = encode(pictures(36), ("matroska", "libx264", "yuv420p"), codec_options=B_FRAMES)
    numbers = read(data, max_fps=6.0)[1]
    for start in (1, 4, 5, 17):
        with open_source(data, max_fps=6.0) as source:
            assert [frame.index for frame in source.frames(start)] == [one for one in numbers if one >= start]


def test_arrays_and_iterators_are_thinned_too() -> None:
    for given_as in (pictures(20), iter(pictures(20)), np.stack(pictures(20))):
        with open_source(given_as, fps=10.0, max_fps=2.0) as source:
            assert [index_of(frame.pixels) for frame in source.frames()] == [0, 5, 10, 15]


@pytest.mark.parametrize("max_fps", [0.0, -1.0])
def test_a_rate_that_is_none(max_fps: float) -> None:
    with pytest.raises(ValueError, match="`max_fps` is"):
        open_source(pictures(2), max_fps=max_fps)


@given(
    st.lists(st.floats(0.001, 3.0), min_size=1, max_size=60),
    st.floats(0.1, 60.0),
    st.lists(st.integers(0, 3), min_size=60, max_size=60),
)
def test_no_packet_that_is_surplus_has_a_frame_that_is_taken(
    gaps: list[float], max_fps: float, delays: list[int]
) -> None:
    times = list(itertools.accumulate(gaps))
    in_decoding_order = sorted(range(len(times)), key=lambda index: index + delays[index])
    packets, frames = Thinning(max_fps), Thinning(max_fps)
    surplus = {index for index in in_decoding_order if packets.is_surplus(times[index])}
    taken = {index for index, time in enumerate(times) if frames.takes(time)}
    assert not surplus & taken


def test_another_clock_is_looked_at_anew() -> None:
    thinning = Thinning(5.0)
    surplus = [thinning.is_surplus(number / 25) for number in (*range(1000), *range(50))]
    assert surplus[1000:] == surplus[:50] and surplus.count(False) == 210
