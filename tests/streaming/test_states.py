"""What a stream does is known at any time: a camera that is off, silent or gone does not look alive."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import PIL.Image
import pytest

import hf_ttr.streaming.states as states
from hf_ttr.streaming import FrameReader, SourceError, StreamStatistics, VideoStreams, open_source

from .clips import encode, pictures, send, serving
from .engines import frames_of, tiny_engine


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "SILENCE", 0.2)
    monkeypatch.setattr("hf_ttr.streaming.streams.WAIT", 0.02)


def jpeg(level: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.full((24, 24, 3), level, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


class Camera:
    """Pushes JPEGs over HTTP until it is switched off; `silent` keeps the connection without sending."""

    def __init__(self, parts: str = "--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n") -> None:
        self.off, self.silent = threading.Event(), threading.Event()
        self._parts = parts

    def __call__(self, handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
        handler.end_headers()
        level = 0
        while not self.off.wait(0.005):
            if not self.silent.is_set():
                level = (level + 3) % 200
                picture = jpeg(level)
                handler.wfile.write((self._parts % len(picture)).encode() + picture + b"\r\n")


def follow(streams: VideoStreams) -> tuple[list[StreamStatistics], threading.Thread]:
    """Takes the results in the background."""
    thread = threading.Thread(target=lambda: [None for _ in streams], daemon=True)
    thread.start()
    return list(streams.statistics.values()), thread


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.005)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_a_camera_that_goes_and_comes_back_says_so() -> None:
    told: list[str] = []
    camera = Camera()
    with serving(camera) as url:
        opener = partial(open_source, f"{url}/video", name="gate")
        streams = VideoStreams(tiny_engine(), {"gate": opener})
        streams.on_state = lambda name, statistics: told.append(f"{name} {statistics.state}")
        (gate,), thread = follow(streams)
        wait_for(lambda: streams.statistics["gate"].results > 2)
        assert (gate.state, gate.is_live, gate.fault) == ("live", True, None)
        assert gate.last_seen is not None and gate.last_seen.tzinfo is not None
        assert abs(datetime.now().astimezone() - gate.last_seen) < timedelta(seconds=5)
        camera.silent.set()
        wait_for(lambda: streams.statistics["gate"].state == "stalled" and "gate stalled" in told)
        camera.silent.clear()
        wait_for(lambda: streams.statistics["gate"].state == "live")
    camera.off.set()
    wait_for(lambda: "Connection refused" in str(streams.statistics["gate"].fault) and told[-1] != "gate live")
    assert gate.state == "reconnecting" and not gate.ended
    seen, results = gate.last_seen, gate.results
    with serving(Camera(), port=port_of(url)):
        wait_for(lambda: streams.statistics["gate"].results > results + 2)
        assert (gate.state, gate.reconnections, gate.fault) == ("live", 1, None)
        assert gate.last_seen is not None and seen is not None and gate.last_seen > seen
        wait_for(lambda: told[-1] == "gate live")
        streams.close()
    thread.join(5)
    assert told[0] == "gate live" and {"gate stalled", "gate reconnecting"} <= set(told)


@pytest.mark.parametrize("said", ["", "live:"], ids=["unknown", "live"])
def test_a_camera_that_is_off_in_the_beginning_is_a_row_and_the_others_run(said: str) -> None:
    with serving(Camera()) as url:
        pass
    frames = frames_of(0, 4)
    sources: dict[str, Any] = {
        "off": partial(open_source, f"{said}{url}/video", name="off"),
        "on": partial(open_source, frames, name="on"),
    }
    streams = VideoStreams(tiny_engine(), sources)
    (off, on), thread = follow(streams)
    wait_for(lambda: streams.statistics["on"].state == "ended" and on.results == 4)
    wait_for(lambda: streams.statistics["off"].fault is not None)
    assert (off.state, off.ended, off.last_seen) == ("opening", False, None)
    assert "Connection refused" in str(off.fault)
    with serving(Camera(), port=port_of(url)):
        wait_for(lambda: streams.statistics["off"].results > 0)
        assert (off.state, off.is_live) == ("live", True)
        streams.close()
    thread.join(5)


@pytest.mark.parametrize("name", ["{url}/clip.mp4", "{url}/clip.mp4?key=1", "file:{url}/clip", "/no/such/clip.mp4"])
def test_a_file_that_is_not_there_has_failed(name: str) -> None:
    with serving(Camera()) as url:
        pass
    with pytest.raises(SourceError):
        VideoStreams(tiny_engine(), {"clip": partial(open_source, name.format(url=url), name="clip")})


def test_one_that_never_comes_ends_with_a_sentence() -> None:
    with serving(Camera()) as url:
        pass
    for address in (f"{url}/video", f"live:{url}/video", url.replace("http", "rtsp")):
        opener = partial(open_source, address, name="gate", reconnect=0.3)
        streams = VideoStreams(tiny_engine(), {"gate": opener})
        with pytest.raises(SourceError, match=r"The stream 'gate' .*Connection refused"):
            list(streams)
        assert streams.statistics["gate"].state == "failed"


def test_closing_ends_the_search_for_one_that_is_off() -> None:
    with serving(Camera()) as url:
        pass
    before = threading.active_count()
    streams = VideoStreams(tiny_engine(), {"gate": partial(open_source, f"{url}/video", name="gate")})
    wait_for(lambda: streams.statistics["gate"].fault is not None)
    streams.close()
    wait_for(lambda: threading.active_count() <= before)


# FFmpeg takes the first for what it is, and the others for a raw stream of JPEGs at 25 frames per second.
PARTS = {
    "type-first": "--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n",
    "length-first": "\r\n--f\r\nContent-Length: %d\r\nContent-Type: image/jpeg\r\n\r\n",
    "other-headers": "--f\r\nX-Timestamp: 1\r\nContent-Length: %d\r\nContent-Type: image/jpeg\r\n\r\n",
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_pictures_that_are_pushed_are_live_however_their_parts_begin(parts: str) -> None:
    camera = Camera(parts)
    with serving(camera) as url, open_source(f"{url}/video") as source:
        assert source.is_live
        frames = source.frames()
        first = next(frames)
        later = next(frame for frame in frames if frame.arrival - first.arrival > 0.3)
        # By their number, it would be another time.
        assert later.time - first.time == pytest.approx(later.arrival - first.arrival, abs=0.05)
        camera.off.set()


def test_what_is_said_in_front_of_a_source_is_so() -> None:
    data = encode(pictures(8), "ts-mpeg2")
    with serving(lambda handler: send(handler, data)) as url:
        with open_source(f"file:{url}/video", live=True) as source:
            assert not source.is_live and len(list(source.frames())) == 8
        with open_source(f"live:{url}/video.ts", live=False) as source:
            assert source.is_live


def test_a_playlist_that_grows_is_live() -> None:
    data = encode(pictures(8), "ts-mpeg2")
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.32,\npart.ts\n"
    end = b"#EXT-X-ENDLIST\n"

    def answer(handler: Any) -> None:
        send(handler, data if handler.path == "/part.ts" else playlist + (end if "whole" in handler.path else b""))

    with serving(answer) as url:
        for name, is_live in (("whole", False), ("live", True)):
            with open_source(f"{url}/{name}.m3u8", timeout=0.5) as source:
                assert source.is_live == is_live


def test_an_iterator_that_gives_nothing_has_stalled_and_one_that_is_waited_for_has_not() -> None:
    gate = threading.Event()

    def made() -> Iterator[np.ndarray]:
        yield from frames_of(0, 3)
        gate.wait(10)

    with FrameReader(open_source(made())) as reader, FrameReader(open_source(frames_of(0, 9)), capacity=2) as full:
        assert reader.state in ("opening", "reading")
        wait_for(lambda: reader.state == "stalled")
        # Its queue has been full for as long.
        assert full.state == "reading"
        gate.set()


def test_frames_that_lie_far_apart_are_no_silence() -> None:
    assert not states.is_silent(3.0, usual_gap=1.0) and states.is_silent(5.0, usual_gap=1.0)
    assert states.is_silent(1.0, usual_gap=0.0) and not states.is_silent(0.1, usual_gap=0.001)


def test_changes_are_logged_where_nobody_else_says_them(caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()

    def made() -> Iterator[np.ndarray]:
        yield from frames_of(0, 3)
        gate.wait(10)
        yield from frames_of(0, 3)

    streams = VideoStreams(tiny_engine(), {"door": open_source(made(), name="door")})
    _, thread = follow(streams)
    wait_for(lambda: "The stream 'door' is stalled." in caplog.text)
    gate.set()
    thread.join(5)
    assert streams.statistics["door"].state == "ended"
