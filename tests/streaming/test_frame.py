"""A frame is converted when its pixels are wanted, once, and never if it is dropped."""

import numpy as np
import pytest

import hf_ttr.streaming.decoding as decoding
from hf_ttr.streaming import Frame, SourceError, open_source

from .clips import encode, index_of, picture, pictures


def test_function_is_called_once_and_late():
    calls = []

    def make() -> np.ndarray:
        calls.append(1)
        return picture(3)

    frame = Frame(make, 0.5, 7)
    assert (frame.time, frame.index, calls) == (0.5, 7, [])
    assert frame.pixels is frame.pixels
    assert calls == [1]


def test_array_is_given_as_it_is():
    pixels = picture(1)
    assert Frame(pixels, 0.0, 0).pixels is pixels


def test_frame_that_is_not_looked_at_is_not_converted(monkeypatch):
    converted = []
    convert = decoding.to_rgb
    monkeypatch.setattr(
        decoding, "to_rgb", lambda picture, still: converted.append(picture.pts) or convert(picture, still)
    )
    frames = list(open_source(encode(pictures(10))).frames(start=4))
    assert [frame.index for frame in frames] == [4, 5, 6, 7, 8, 9]
    assert converted == []
    assert index_of(frames[2].pixels) == 6
    assert len(converted) == 1


def test_frame_outlives_its_source():
    with open_source(encode(pictures(3))) as source:
        frames = list(source.frames())
    assert [index_of(frame.pixels) for frame in frames] == [0, 1, 2]


def test_pixel_format_that_cannot_be_converted_is_one_sentence(monkeypatch):
    def fail(picture, still):
        raise ValueError("no such\nconversion")

    monkeypatch.setattr(decoding, "to_rgb", fail)
    frame = next(open_source(encode(pictures(1)), name="door").frames())
    with pytest.raises(
        SourceError, match=r"^The stream 'door' has frames in the pixel format 'bgr0', .*convert it\.$"
    ):
        _ = frame.pixels


def test_moved_frame_has_the_same_picture_in_another_place():
    frame = Frame(lambda: picture(5), 1.0, 2).moved(9.0, 40)
    assert (frame.time, frame.index, index_of(frame.pixels)) == (9.0, 40, 5)
    assert repr(frame) == "Frame(index=40, time=9.000)"
