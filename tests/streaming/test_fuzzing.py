"""Damaged bytes of any kind: no crash, no hang, no error but `SourceError`, and the frames before the fault."""

import random
import threading
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_ttr.streaming import SourceError, open_source

from .clips import FORMATS, encode, noise, packets_of


COPIES = 25
SECONDS_PER_COPY = 10.0


@cache
def clip(kind: str) -> bytes:
    frames = noise(10, 32, 32)
    if kind == "apng-alpha":
        frames = [np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)]) for frame in frames]
    return encode(frames, kind)


def read(data: bytes) -> list[np.ndarray]:
    """The frames of a copy that may be damaged; fails if it hangs, or ends otherwise than it should."""
    frames: list[np.ndarray] = []
    problems = ["it hangs"]

    def work() -> None:
        last = -1.0
        try:
            for index, frame in enumerate(open_source(data).frames()):
                pixels = frame.pixels
                if frame.index != index or frame.time <= last or pixels.dtype != np.uint8 or pixels.shape[2:] != (3,):
                    problems[:] = [f"frame {index} is {frame} with pixels of {pixels.dtype} {pixels.shape}"]
                    return
                last = frame.time
                frames.append(pixels)
        except SourceError as error:
            text = str(error)
            if not text.startswith("The stream 'bytes' ") or not text.endswith(".") or "\n" in text:
                problems[:] = [f"no sentence: {text!r}"]
                return
        except BaseException as error:
            problems[:] = [f"it raises {error!r}"]
            return
        problems.clear()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS_PER_COPY)
    assert problems == []
    return frames


@pytest.mark.parametrize(
    "kind", ["avi-mjpeg", "mkv-ffv1", "ts-h264", "mp4-h264", "ts-mpeg2", "gif", "apng-alpha", "mov-palette"]
)
def test_copies_with_flipped_bytes(kind):
    """200 copies in all."""
    data, chance = clip(kind), random.Random(7)
    whole, places = read(data), packets_of(data)
    assert len(whole) == 10
    for _ in range(COPIES):
        # The head is spared, so that there are frames before the fault.
        first = chance.randrange(places[2][0], len(data))
        copy = bytearray(data)
        for _ in range(chance.choice([1, 3, 20])):
            copy[chance.randrange(first, len(data))] ^= chance.randrange(1, 256)
        frames = read(bytes(copy))
        intact = sum(place + size <= first for place, size in places)
        if kind.startswith("ts"):
            intact -= 1  # the end of a frame comes with the packet of the next
        if kind not in ("mp4-h264", "mov-palette"):  # which have their index behind the frames
            assert len(frames) >= intact
            np.testing.assert_array_equal(frames[:intact], whole[:intact])


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """A clip in which bytes were changed, left out, put in and repeated, anywhere."""
    data = bytearray(clip(draw(st.sampled_from(sorted(FORMATS)))))
    for _ in range(draw(st.integers(1, 6))):
        # Most of what matters is at the ends.
        span = draw(st.sampled_from([64, 600, len(data)]))
        place = draw(st.integers(0, min(span, len(data))))
        if draw(st.booleans()):
            place = len(data) - place
        length = draw(st.integers(0, 40))
        match draw(st.sampled_from(["change", "insert", "remove", "repeat", "cut"])):
            case "change":
                data[place : place + length] = draw(st.binary(min_size=length, max_size=length))
            case "insert":
                data[place:place] = draw(st.binary(max_size=40))
            case "remove":
                del data[place : place + length]
            case "repeat":
                data[place:place] = data[max(0, place - 40 * length) : place]
            case "cut":
                del data[max(place, 1) :]
    return bytes(data)


FUZZ = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@settings(FUZZ, max_examples=250)
@given(edited())
def test_edited_clips(data):
    assert len(read(data)) <= 1000


MAGIC = [
    b"",
    b"\x1aE\xdf\xa3",
    b"\x00\x00\x00\x18ftypmp42",
    b"RIFF\x00\x10\x00\x00AVI LIST",
    b"GIF89a",
    b"\x89PNG\r\n\x1a\n",
    b"\x47\x40\x00\x10",
    b"FLV\x01\x05\x00\x00\x00\x09",
    b"OggS\x00\x02",
    b"#EXTM3U\n",
    b"\x00\x00\x01\xba",
    b"YUV4MPEG2 W8 H8 F25:1\nFRAME\n",
]


@settings(FUZZ, max_examples=150)
@given(st.sampled_from(MAGIC), st.binary(max_size=1500), st.integers(1, 4))
def test_bytes_that_begin_like_a_video(magic, body, repeat):
    assert len(read(magic + body * repeat)) <= 1000
