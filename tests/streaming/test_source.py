"""Every kind of source gives the right frames at the right times."""

import io
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import av
import numpy as np
import PIL.Image
import pytest
import torch

from hf_ttr.streaming import Frame, FrameSource, SourceError, open_source

from .clips import FORMATS, encode, index_of, noise, picture, pictures, send, serving


def indices(source: FrameSource, start: int = 0) -> list[int]:
    return [index_of(frame.pixels) for frame in source.frames(start)]


def opaque(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)]) for frame in frames]


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind):
    frames = opaque(pictures(12)) if kind == "apng-alpha" else pictures(12)
    source = open_source(encode(frames, kind))
    read = list(source.frames())
    assert [index_of(frame.pixels) for frame in read] == list(range(12))
    assert {(frame.pixels.shape, str(frame.pixels.dtype)) for frame in read} == {((48, 64, 3), "uint8")}
    assert [frame.index for frame in read] == list(range(12))
    np.testing.assert_allclose([frame.time for frame in read], np.arange(12) / 25, atol=1e-3)
    assert (source.damaged_packets, source.repaired_timestamps, source.is_live) == (0, 0, False)


def test_lossless_frames_are_bit_for_bit():
    given = noise(4)
    np.testing.assert_array_equal([frame.pixels for frame in open_source(encode(given)).frames()], given)


def test_transparency_is_over_white():
    frame = np.zeros((6, 8, 4), np.uint8)
    frame[:, :4] = (200, 0, 0, 255)
    pixels = next(open_source(encode([frame] * 2, "apng-alpha")).frames()).pixels
    assert pixels[0, 0].tolist() == [200, 0, 0]
    assert pixels[0, 7].tolist() == [255, 255, 255]


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="This PyAV cannot write a rotation.")
def test_rotated_video_is_upright():
    frame = picture(1)
    frame[:12, :16] = 255
    pixels = next(open_source(encode([frame], ("mp4", "mpeg4", "yuv420p"), rotation=90)).frames()).pixels
    assert pixels.shape == (64, 48, 3)
    assert pixels[-3, 2].min() > 200 > pixels[2, 2].max()


def test_4k():
    pixels = next(open_source(encode([picture(7, 2160, 3840)], ("avi", "mjpeg", "yuvj420p"))).frames()).pixels
    assert pixels.shape == (2160, 3840, 3)
    assert index_of(pixels) == 7


def test_one_frame():
    assert indices(open_source(encode([picture(9)], "mp4-h264"))) == [9]


@pytest.mark.parametrize("start, expected", [(0, [0, 1, 2, 3]), (3, [3]), (4, []), (9, [])])
def test_start_skips_frames(start, expected):
    source = open_source(encode(pictures(4), "mp4-h264"))
    read = list(source.frames(start))
    assert [frame.index for frame in read] == [index_of(frame.pixels) for frame in read] == expected
    assert [frame.time for frame in read] == pytest.approx([index / 25 for index in expected])


# ---------------------------------------------------------------------------------------------------------------------
# Times
# ---------------------------------------------------------------------------------------------------------------------


def test_variable_frame_rate_is_kept():
    times = [1000, 1010, 1500, 1501, 4000]
    source = open_source(encode(pictures(5), times=times))
    assert [frame.time for frame in source.frames()] == pytest.approx([(stamp - 1000) / 1000 for stamp in times])
    assert source.repaired_timestamps == 0


def test_time_starts_at_the_first_frame_of_a_transport_stream():
    # The clock of MPEG-TS starts at 1.4 s.
    source = open_source(encode(pictures(20), "ts-mpeg2"))
    assert [frame.time for frame in source.frames()] == pytest.approx([index / 25 for index in range(20)])


def test_clock_that_is_set_back_goes_on():
    part = encode(pictures(40, 16, 16), "ts-mpeg2")
    source = open_source(part + part)
    times = [frame.time for frame in source.frames()]
    assert times == pytest.approx([index / 25 for index in range(80)])
    assert source.repaired_timestamps == 1


def test_backward_timestamps_are_replaced():
    data = bytearray(encode(pictures(6), cluster_time_limit="0"))
    # Each frame is in a cluster of its own, which begins with its time in milliseconds.
    places = [place for place in range(len(data)) if data[place : place + 2] == b"\xe7\x81"]
    assert [data[place + 2] for place in places] == [0, 40, 80, 120, 160, 200]
    data[places[3] + 2] = 5
    source = open_source(bytes(data))
    read = list(source.frames())
    assert [index_of(frame.pixels) for frame in read] == list(range(6))
    assert [frame.time for frame in read[:4]] == pytest.approx([0, 0.04, 0.08, 0.12])
    assert all(earlier.time < later.time for earlier, later in zip(read, read[1:]))
    assert source.repaired_timestamps >= 1


def test_video_without_timestamps_has_the_times_of_its_rate():
    source = open_source(encode(pictures(5), ("h264", "libx264", "yuv420p")))
    assert [frame.time for frame in source.frames()] == pytest.approx([index / 25 for index in range(5)], abs=1e-3)


# ---------------------------------------------------------------------------------------------------------------------
# Every kind of file
# ---------------------------------------------------------------------------------------------------------------------


class Pipe(io.RawIOBase):
    """A file that can only be read from front to back."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self.file.read(min(size, 1000))


FILES = {
    "str": lambda path: str(path),
    "path": lambda path: path,
    "file-url": lambda path: path.as_uri(),
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "open-file": lambda path: path.open("rb"),
    "pipe": lambda path: Pipe(path.read_bytes()),
    "datasets-bytes": lambda path: {"path": None, "bytes": path.read_bytes()},
    "datasets-path": lambda path: {"path": str(path), "bytes": None},
}


@pytest.mark.parametrize("as_source", FILES.values(), ids=FILES)
def test_every_form_of_a_file(as_source, tmp_path):
    path = tmp_path / "a video: 100%d.mkv"
    path.write_bytes(encode(pictures(6)))
    source = open_source(as_source(path))
    assert indices(source) == list(range(6))
    assert not source.is_live


def test_a_file_of_the_caller_is_not_closed(tmp_path):
    file = io.BytesIO(encode(pictures(2)))
    with open_source(file) as source:
        assert indices(source) == [0, 1]
    assert not file.closed


def test_file_that_is_followed_as_it_is_written():
    reader, writer = os.pipe()
    data = encode(pictures(20), "ts-mpeg2")
    with os.fdopen(writer, "wb") as output, os.fdopen(reader, "rb") as file:
        output.write(data)
        output.close()
        assert indices(open_source(file)) == list(range(20))


def test_names():
    data = encode(pictures(1))
    assert open_source(data).name == "bytes"
    assert open_source(data, name="door").name == "door"
    assert open_source(iter(pictures(1))).name == "list_iterator"
    assert open_source([picture(0)], live=True).is_live


def test_source_is_given_back():
    source = open_source(pictures(1))
    assert open_source(source) is source


def test_a_source_is_read_once():
    source = open_source(pictures(2))
    assert indices(source) == [0, 1]
    with pytest.raises(SourceError, match="^The stream 'list' has been read already; open it again.$"):
        source.frames()


def test_closed_source_gives_no_more():
    source = open_source(encode(pictures(9)))
    frames = source.frames()
    assert next(frames).index == 0
    source.close()
    source.close()
    assert list(frames) == []


@pytest.mark.parametrize(
    "arguments, message",
    [({"timeout": 0}, "`timeout` is 0"), ({"fps": -1}, "`fps` is -1"), ({"reconnect": -2}, "`reconnect` is -2")],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        open_source(pictures(1), **arguments)


def test_negative_start():
    with pytest.raises(ValueError, match="`start` is a number of frames, 0 or more, not -1"):
        open_source(pictures(1)).frames(-1)


def test_camera_is_opened_with_its_format(monkeypatch):
    """No camera is needed: what stands for it is a file behind the same call."""
    calls = []
    data = io.BytesIO(encode(pictures(3)))
    av_open = av.open

    def camera(url, **arguments):
        calls.append((url, arguments["format"], arguments["options"]["protocol_whitelist"]))
        return av_open(data)

    monkeypatch.setattr(av, "open", camera)
    monkeypatch.setattr(sys, "platform", "linux")
    with open_source("/dev/video3") as source:
        assert source.is_live
        assert indices(source) == [0, 1, 2]
    assert calls == [("/dev/video3", "v4l2", "none")]


def test_missing_camera_is_one_sentence():
    with pytest.raises(
        SourceError, match=r"^The stream '/dev/video987' cannot be opened \(.*\); check the address .*$"
    ):
        open_source("/dev/video987", reconnect=0)


# ---------------------------------------------------------------------------------------------------------------------
# Arrays, pictures and iterators
# ---------------------------------------------------------------------------------------------------------------------

ARRAY = np.random.default_rng(1).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
ARRAYS = {
    "array": ARRAY,
    "channels-first": ARRAY.transpose(0, 3, 1, 2),
    "tensor": torch.from_numpy(ARRAY),
    "floats-in-unit-range": ARRAY.astype(np.float32) / 255,
    "list": list(ARRAY),
    "list-of-unit-floats": list(ARRAY / 255),
    "pictures": [PIL.Image.fromarray(frame) for frame in ARRAY],
    "generator": (frame for frame in ARRAY),
    "generator-of-unit-floats": (frame / 255 for frame in ARRAY),
    "generator-of-pictures": (PIL.Image.fromarray(frame) for frame in ARRAY),
    "frames": (Frame(frame, index * 0.04, 5 + index) for index, frame in enumerate(ARRAY)),
    "pairs": ((index * 0.04, frame) for index, frame in enumerate(ARRAY)),
    "list-of-pairs": [(index * 0.04, frame) for index, frame in enumerate(ARRAY)],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name):
    source = open_source(ARRAYS[name])
    read = list(source.frames())
    np.testing.assert_array_equal([frame.pixels for frame in read], ARRAY)
    assert [frame.index for frame in read] == [0, 1, 2]
    assert [frame.time for frame in read] == pytest.approx([0, 0.04, 0.08])
    assert not source.is_live


def test_a_picture_is_one_frame():
    np.testing.assert_array_equal(next(open_source(PIL.Image.fromarray(ARRAY[0])).frames()).pixels, ARRAY[0])


def test_grey_and_changing_sizes():
    read = list(open_source(iter([np.full((4, 5), 9, np.uint8), np.zeros((7, 3, 4), np.uint8)])).frames())
    assert [frame.pixels.shape for frame in read] == [(4, 5, 3), (7, 3, 3)]
    assert [int(frame.pixels[0, 0, 0]) for frame in read] == [9, 255]


def test_iterator_may_use_its_memory_again():
    def make():
        pixels = np.zeros((4, 4, 3), np.uint8)
        for level in range(3):
            pixels[:] = level
            yield pixels

    assert [int(frame.pixels.max()) for frame in list(open_source(make()).frames())] == [0, 1, 2]


def test_dark_float_frames_of_a_list_are_not_brightened():
    frames = [np.full((4, 4, 3), level, np.float32) for level in (1.0, 200.0)]
    assert [int(frame.pixels.max()) for frame in open_source(frames).frames()] == [1, 200]


def test_fps_sets_the_times_of_an_iterator():
    assert [frame.time for frame in open_source(pictures(3), fps=10).frames()] == pytest.approx([0, 0.1, 0.2])


def test_live_iterator_goes_by_the_clock_on_the_wall():
    def slow():
        for index in range(3):
            time.sleep(0.05)
            yield picture(index)

    times = [frame.time for frame in open_source(slow(), live=True).frames()]
    assert times[0] == 0
    assert 0.05 <= times[1] < times[2] - 0.04 < 10


def test_times_of_pairs_are_repaired():
    source = open_source([(3.0, picture(0)), (2.9, picture(1)), (float("nan"), picture(2)), (4.0, picture(3))], fps=10)
    assert [frame.time for frame in source.frames()] == pytest.approx([0, 0.1, 0.2, 1.0])
    assert source.repaired_timestamps == 2


# ---------------------------------------------------------------------------------------------------------------------
# The network
# ---------------------------------------------------------------------------------------------------------------------


def test_url_and_redirection():
    data = encode(pictures(8), "mp4-h264")

    def answer(handler):
        if handler.path == "/moved":
            send(handler, b"", 302, Location="/clip.mp4")
        else:
            send(handler, data)

    with serving(answer) as url:
        for page in ("clip.mp4", "moved"):
            source = open_source(f"{url}/{page}")
            assert indices(source) == list(range(8))
            assert (source.is_live, source.name) == (False, f"{url}/{page}")


def test_url_is_read_as_it_comes():
    data = encode(noise(40), "ts-mpeg2")
    sent = []

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        for place in range(0, len(data), 4096):
            handler.wfile.write(data[place : place + 4096])
            sent.append(place)
            time.sleep(0.002)

    with serving(answer) as url, open_source(f"{url}/live.ts", live=True, timeout=1.0, reconnect=0) as source:
        assert source.is_live
        assert next(source.frames()).index == 0
        assert len(sent) < len(data) / 4096


def test_playlist_of_urls_is_followed():
    data = encode(pictures(8), "ts-mpeg2")
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:0.32,\npart.ts\n#EXT-X-ENDLIST\n"
    with serving(lambda handler: send(handler, data if handler.path == "/part.ts" else playlist)) as url:
        assert indices(open_source(f"{url}/list.m3u8")) == list(range(8))


def test_import_needs_no_pyav():
    code = (
        "import sys; sys.modules['av'] = None; import numpy; from hf_ttr.streaming import open_source; "
        "print(len(list(open_source(numpy.zeros((2, 4, 4, 3), 'uint8')).frames())))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"2\n"


def test_local_file_has_no_name_and_no_protocol(tmp_path, monkeypatch):
    path = tmp_path / "clip.mkv"
    path.write_bytes(encode(pictures(2)))
    calls = []
    av_open = av.open
    monkeypatch.setattr(av, "open", lambda file, **kw: calls.append((file, kw["options"])) or av_open(file, **kw))
    assert indices(open_source(path)) == [0, 1]
    [(file, options)] = calls
    assert not isinstance(file, str) and not hasattr(file, "name")
    assert options["protocol_whitelist"] == "none"


# ---------------------------------------------------------------------------------------------------------------------
# Times of live sources
# ---------------------------------------------------------------------------------------------------------------------


def pushed(parts: list[bytes], pause: float, kind: str, between: bytes = b"") -> Callable[[Any], None]:
    """A server that sends parts with a pause after each."""

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        for part in parts:
            handler.wfile.write((between % len(part) if between else b"") + part)
            handler.wfile.flush()
            time.sleep(pause)

    return answer


def jpegs(count: int) -> list[bytes]:
    found = []
    for array in pictures(count):
        buffer = io.BytesIO()
        PIL.Image.fromarray(array).save(buffer, "JPEG")
        found.append(buffer.getvalue())
    return found


MULTIPART = b"--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize("live", [None, True], ids=["by-default", "as-asked"])
def test_pushed_pictures_are_live_and_have_the_times_of_their_arrival(live):
    parts = [one + b"\r\n" for one in jpegs(12)]
    answer = pushed(parts, 0.1, "multipart/x-mixed-replace; boundary=f", MULTIPART)
    with serving(answer) as url, open_source(f"{url}/video", live=live) as source:
        assert source.is_live
        frames = list(itertools.islice(source.frames(), 10))
    arrivals = [frame.arrival - frames[0].arrival for frame in frames]
    np.testing.assert_allclose([frame.time for frame in frames], arrivals, atol=0.02)
    assert frames[-1].time > 0.4  # at 25 frames per second, it would be .36


def test_a_raw_stream_has_the_times_of_its_arrival_where_it_is_live(tmp_path):
    data = encode(pictures(40), ("h264", "libx264", "yuv420p"), codec_options={"tune": "zerolatency"})
    parts = [data[: len(data) // 2], data[len(data) // 2 : -50], data[-50:]]
    with (
        serving(pushed(parts, 0.5, "video/h264")) as url,
        open_source(f"{url}/a.h264", live=True, reconnect=0) as source,
    ):
        frames = []
        with suppress(SourceError):  # it ends without having said how long it is
            for frame in source.frames():
                frames.append(frame)
    assert len(frames) == 40
    arrivals = [frame.arrival - frames[0].arrival for frame in frames]
    np.testing.assert_allclose([frame.time for frame in frames], arrivals, atol=0.02)
    # A file has the rate that its frames are meant for.
    with open_source(data) as source:
        assert [frame.time for frame in source.frames()][10] == pytest.approx(0.4)


def test_good_timestamps_of_a_live_source_are_kept():
    data = encode(pictures(10), "ts-mpeg2")
    with serving(lambda handler: send(handler, data)) as url, open_source(f"{url}/a.ts", live=True) as source:
        times = [frame.time for frame in source.frames()]
    assert times == pytest.approx([index / 25 for index in range(10)])
