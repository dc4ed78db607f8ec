"""What is wrong with a source: the frames before the fault are given, and one sentence says what it was."""

import gc
import http.server
import io
import signal
import socket
import threading
import time
import weakref

import av
import numpy as np
import pytest

import hf_ttr.streaming.decoding as decoding
import hf_ttr.streaming.reconnection as reconnection
from hf_ttr.streaming import FrameReader, FrameSource, SourceError, open_source
from hf_ttr.streaming.reconnection import ReconnectingSource
from hf_ttr.streaming.states import RECONNECTING
from hf_ttr.video import VideoDecodingError

from ..cameras.services import RtspCamera, jpeg
from .clips import encode, index_of, noise, packets_of, picture, pictures, send, serving


def read(source: FrameSource) -> tuple[list[np.ndarray], str]:
    """The frames, and the sentence at their end or `""`."""
    frames: list[np.ndarray] = []
    try:
        for frame in source.frames():
            assert frame.index == len(frames)
            frames.append(frame.pixels)
    except SourceError as error:
        assert_one_sentence(str(error))
        return frames, str(error)
    return frames, ""


def assert_one_sentence(text: str) -> None:
    assert text.startswith("The stream '") and text.endswith(".")
    assert "; " in text and "\n" not in text and ". " not in text


def assert_refused(source, message: str, **arguments) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(source, reconnect=0, **arguments)
    assert_one_sentence(str(caught.value))
    assert message in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be opened
# ---------------------------------------------------------------------------------------------------------------------

NO_VIDEOS = {
    "empty": (b"", "is empty (0 bytes)"),
    "text": (b"Hello, this is a text.\n" * 50, "is not a video in a format that FFmpeg reads"),
    "noise": (np.random.default_rng(2).bytes(5000), "is not a video in a format that FFmpeg reads"),
    "playlist": (b"#EXTM3U\n#EXTINF:10,\nclip.mkv\n#EXT-X-ENDLIST\n", "is not a video"),
    "playlist-of-a-file": (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n", "is not a video"),
    "list-of-files": (b"ffconcat version 1.0\nfile clip.mkv\n", "is not a video in a format that FFmpeg reads"),
    "subtitles": (b"1\n00:00:01,000 --> 00:00:02,000\nHello\n", "has no video stream (it holds: subtitles)"),
    "mp4-without-index": (encode(noise(9), "mp4-h264")[:9000], "is an MP4 file cut off before its index"),
}


@pytest.mark.parametrize("content, message", NO_VIDEOS.values(), ids=NO_VIDEOS)
def test_no_video(content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mkv").write_bytes(encode(pictures(2)))
    path = tmp_path / "no video.mp4"
    path.write_bytes(content)
    assert_refused(path, f"The stream '{path}' {message}")
    assert_refused(content, f"The stream 'bytes' {message}")


def test_missing_file_and_folder(tmp_path):
    assert_refused(tmp_path, "is a folder; pass the path of one file in it")
    assert_refused(tmp_path / "clip.mp4", "does not exist; check the path")
    assert_refused("file:///nowhere/clip.mp4", "does not exist; check the path")


@pytest.mark.parametrize(
    "source", [None, 3, {"path": None, "bytes": None}, object()], ids=["nothing", "number", "empty", "object"]
)
def test_object_that_is_no_source(source):
    with pytest.raises(
        SourceError, match="^A stream cannot be read from an object of type '.*'; pass a path, .*frames.$"
    ):
        open_source(source)


ARRAYS = {
    "no-frame": ([], "holds no frame"),
    "three-axes": (np.zeros((6, 8, 3), np.uint8), "the array of shape (6, 8, 3) is not a video"),
    "nan": (np.full((1, 6, 8, 3), np.nan), "has NaN or infinite pixels"),
    "text": (["a.png", "b.png"], "the list is not one video"),
}


@pytest.mark.parametrize("source, message", ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_are_no_video(source, message):
    with pytest.raises(SourceError) as caught:
        list(open_source(source).frames())
    assert message in str(caught.value)
    assert_one_sentence(str(caught.value))


ITERATORS = {
    "nothing": (iter([]), 0, "holds no frame; pass at least one"),
    "number": (iter([picture(0), 3]), 1, "broke off at frame 1: the list is not one video"),
    "bright-after-unit": (
        iter([np.ones((4, 4, 3)), np.full((4, 4, 3), 9.0)]),
        1,
        "broke off at frame 1, whose pixels exceed 1 after frames in [0, 1]",
    ),
    "two-channels": (iter([picture(0), np.zeros((5, 5, 2), np.uint8)]), 1, "without an axis of 1, 3 or 4 channels"),
}


@pytest.mark.parametrize("source, count, message", ITERATORS.values(), ids=ITERATORS)
def test_iterators_that_go_wrong(source, count, message):
    frames, fault = read(open_source(source))
    assert len(frames) == count
    assert message in fault


def test_error_is_one_of_reading_videos():
    assert issubclass(SourceError, VideoDecodingError)


def test_file_object_that_fails():
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() >= 4000:
                raise OSError("the disk\nis gone")
            return super().read(min(size, 1000))

    frames, fault = read(open_source(Failing(encode(pictures(30), "ts-mpeg2"))))
    assert [index_of(frame) for frame in frames] == list(range(len(frames)))
    assert 5 < len(frames) < 20
    assert f"broke off after {len(frames)} frames (OSError: the disk is gone); check the file object" in fault
    assert_refused(Unreadable(), "cannot be read (OSError: no tape); check the file object")


class Unreadable(io.RawIOBase):
    def read(self, size=-1):
        raise OSError("no tape")


def test_text_file_object(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("text")
    with open(path) as file, pytest.raises(SourceError):
        list(open_source(file).frames())


# ---------------------------------------------------------------------------------------------------------------------
# Files that are cut off or damaged
# ---------------------------------------------------------------------------------------------------------------------

CUT_OFF = {
    "mkv": ("mkv-ffv1", "is cut off: it holds"),
    "avi": ("avi-mjpeg", "is cut off: it holds"),
    "mp4-index-first": (("mp4", "mpeg4", "yuv420p"), "is cut off: it holds"),
}


@pytest.mark.parametrize("kind, message", CUT_OFF.values(), ids=CUT_OFF)
def test_cut_off_in_a_frame(kind, message, tmp_path):
    options = {"movflags": "faststart"} if kind[0] == "mp4" else {}
    data = encode(noise(20), kind, target=str(tmp_path / "clip"), **options)
    whole, fault = read(open_source(data))
    assert (len(whole), fault) == (20, "")
    place, size = packets_of(data)[8]
    frames, fault = read(open_source(data[: place + size // 2]))
    assert len(frames) >= 8
    np.testing.assert_array_equal(frames[:8], whole[:8])
    assert f"The stream 'bytes' {message} {len(frames)} of the 20 frames" in fault


def test_a_little_that_is_missing_is_no_fault():
    data = encode(noise(20))
    place, size = packets_of(data)[19]
    frames, fault = read(open_source(data[: place + size // 2]))
    assert (len(frames), fault) == (19, "")


@pytest.mark.parametrize("share", [0.35, 0.5, 0.8])
@pytest.mark.parametrize("kind", ["ts-h264", "ts-mpeg2"])
def test_transport_stream_can_be_cut_anywhere(kind, share):
    data = encode(pictures(20), kind, codec_options={"g": "5"})
    whole, _ = read(open_source(data))
    frames, fault = read(open_source(data[: int(share * len(data))]))
    assert fault == ""
    assert 20 * share - 4 <= len(frames) <= 20 * share + 2
    np.testing.assert_array_equal(frames[:-1], whole[: len(frames) - 1])


def test_transport_stream_that_begins_in_the_middle():
    data = encode(pictures(30), "ts-h264", codec_options={"g": "5"})
    frames, fault = read(open_source(data[len(data) // 2 :]))
    assert fault == ""
    assert 5 <= len(frames) <= 20
    assert index_of(frames[-1]) == 29


def test_frames_behind_the_decoder_are_given_before_the_fault():
    """With B-frames the decoder holds back some frames, also when the file object breaks off."""
    data = encode(pictures(40), "ts-h264", codec_options={"bf": "3", "preset": "fast", "x264-params": "b-adapt=0"})

    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > len(data) * 0.8:
                raise OSError("unplugged")
            return super().read(min(size, 188))

    frames, fault = read(open_source(Broken(data)))
    assert "OSError: unplugged" in fault and f"after {len(frames)} frames" in fault
    assert [index_of(frame) for frame in frames] == list(range(len(frames)))
    with av.open(io.BytesIO(data[: int(len(data) * 0.8)])) as container:
        assert len(frames) >= len(list(container.decode(video=0))) - 2


def damaged(data: bytes, numbers: list[int]) -> bytes:
    """The file with zeros in the place of these packets."""
    for number in numbers:
        place, size = packets_of(data)[number]
        data = data[:place] + bytes(size) + data[place + size :]
    return data


def test_damaged_packets_are_skipped_and_counted():
    given = pictures(12)
    data = encode(given, ("mov", "png", "rgb24"))
    source = open_source(damaged(data, [0, 4, 5, 11]))
    frames, fault = read(source)
    assert fault == ""
    np.testing.assert_array_equal(frames, [given[index] for index in (1, 2, 3, 6, 7, 8, 9, 10)])
    assert source.damaged_packets == 4


def test_time_goes_on_over_damaged_packets():
    source = open_source(damaged(encode(pictures(6), ("mov", "png", "rgb24")), [2, 3]))
    assert [frame.time for frame in source.frames()] == pytest.approx([0, 0.04, 0.16, 0.2])


def test_nothing_but_damage():
    source = open_source(damaged(encode(pictures(6), ("mov", "png", "rgb24")), list(range(6))))
    frames, fault = read(source)
    assert (frames, source.damaged_packets) == ([], 6)
    assert "holds no frame that can be decoded; replace it by a complete copy" in fault


def test_too_many_packets_in_a_row_without_a_frame(monkeypatch):
    monkeypatch.setattr(decoding, "BARREN_PACKETS", 5)
    given = pictures(20)
    data = encode(given, ("mov", "png", "rgb24"))
    source = open_source(damaged(data, [2, 3, *range(6, 14)]))
    frames, fault = read(source)
    np.testing.assert_array_equal(frames, [given[index] for index in (0, 1, 4, 5)])
    assert "gave no frame in 5 packets in a row after 4 frames" in fault
    assert source.damaged_packets == 7


def test_resolution_that_changes_in_the_middle():
    data = encode(pictures(15), "ts-mpeg2") + encode(pictures(15, 96, 80), "ts-mpeg2")
    source = open_source(data)
    read_frames = list(source.frames())
    assert {frame.pixels.shape for frame in read_frames} == {(48, 64, 3), (96, 80, 3)}
    sizes = [frame.pixels.shape for frame in read_frames]
    assert sizes == sorted(sizes)
    assert [index_of(frame.pixels) for frame in read_frames[-10:]] == list(range(5, 15))
    assert all(earlier.time < later.time for earlier, later in zip(read_frames, read_frames[1:]))


def test_metadata_in_another_encoding():
    data = encode(pictures(2), "mkv-ffv1").replace(b"Lavf", b"La\xffv")
    frames, fault = read(open_source(data))
    assert (len(frames), fault) == (2, "")


# ---------------------------------------------------------------------------------------------------------------------
# The network
# ---------------------------------------------------------------------------------------------------------------------

PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n%s\n#EXT-X-ENDLIST\n"
LISTS = {
    "redirect-to-a-file": None,
    "m3u8-of-a-file": PLAYLIST,
    "ffconcat-of-a-file": b"ffconcat version 1.0\nfile '%s'\n",
    "m3u8-of-subfile": PLAYLIST.replace(b"%s", b"subfile,,start,0,end,99,,:%s"),
    "m3u8-of-concat": PLAYLIST.replace(b"%s", b"concat:%s|%s"),
    "dash-of-a-file": (
        b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        b'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp2t"><Representation id="0" '
        b'bandwidth="1"><BaseURL>%s</BaseURL></Representation></AdaptationSet></Period></MPD>'
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_page_never_leads_to_a_file(name, tmp_path):
    secret = tmp_path / "secret.ts"
    secret.write_bytes(encode(pictures(20), "ts-mpeg2"))
    opened, _ = read(open_source(secret))
    assert len(opened) == 20  # it would be a video
    target = secret.as_uri().encode()

    def answer(handler):
        body = LISTS[name]
        if body is None:
            send(handler, b"", 302, Location=target.decode())
        else:
            send(handler, body.replace(b"%s", target))

    with serving(answer) as url:
        assert_refused(f"{url}/list.m3u8", f"The stream '{url}/list.m3u8' ", timeout=2.0)


STATUSES = {404: "404 Not Found", 500: "Server returned 5XX"}


@pytest.mark.parametrize("status", STATUSES)
def test_status(status):
    with serving(lambda handler: send(handler, b"no", status)) as url:
        assert_refused(url, f"cannot be opened (Server returned {STATUSES[status].removeprefix('Server returned ')}")


def test_page_that_is_no_video():
    with serving(lambda handler: send(handler, b"<html>No camera here.</html>")) as url:
        assert_refused(url, "is not a video in a format that FFmpeg reads")


def test_no_server():
    assert_refused("http://127.0.0.1:9/a.ts", "cannot be opened (Connection refused); check the address")
    assert_refused("rtsp://127.0.0.1:9/a", "cannot be opened (Connection refused); check the address")


def test_password_is_not_in_the_message():
    text = assert_refused("http://me:secret@127.0.0.1:9/a.ts", "The stream 'http://127.0.0.1:9/a.ts' cannot be opened")
    assert "secret" not in text


@pytest.mark.parametrize("protocol", ["http", "rtsp"])
def test_server_that_never_answers(protocol):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert_refused(
            f"{protocol}://127.0.0.1:{silent.getsockname()[1]}/a", "gave no video within 0.3 s", timeout=0.3
        )
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("live", [False, True])
def test_server_that_stalls(live):
    gate = threading.Event()
    data = encode(pictures(30), "ts-mpeg2")

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(data)
        gate.wait(10)

    with serving(answer) as url:
        began = time.monotonic()
        frames, fault = read(open_source(url, live=live, timeout=0.5, reconnect=0))
        gate.set()
    assert [index_of(frame) for frame in frames] == list(range(len(frames)))
    assert len(frames) >= 28
    assert f"gave nothing for 0.5 s after {len(frames)} frames" in fault
    assert time.monotonic() - began < 50


def test_silence_is_waited_for_once(tmp_path):
    waits = []

    def timed(packets):
        while True:
            began = time.monotonic()
            try:
                packet = next(packets, None)
            finally:
                waits.append(time.monotonic() - began)
            yield packet

    with RtspCamera(tmp_path, [jpeg((200, 30, 30)), jpeg((30, 200, 30))]) as camera:
        source = open_source(camera.url, timeout=3.0, reconnect=0)
        source._packets = timed(source._packets)
        frames = source.frames()
        for _ in range(5):
            next(frames)
        camera.process.send_signal(signal.SIGSTOP)
        # FFmpeg holds the last frame back until the next one comes, and gives it when the wait is broken off.
        with pytest.raises(SourceError, match=r"gave nothing for 3 s after \d+ frames"):
            for _ in frames:
                pass
    assert sum(wait >= 3.0 for wait in waits) == 1


def half(data: bytes):
    """Answer with half of what is promised."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2])

    return answer


def test_server_that_breaks_off():
    data = encode(noise(30), "ts-mpeg2")
    with serving(half(data)) as url:
        frames, fault = read(open_source(url, timeout=2.0))
    whole, _ = read(open_source(data))
    assert 5 <= len(frames) < 20
    np.testing.assert_array_equal(frames[:-1], whole[: len(frames) - 1])
    assert "broke off after" in fault and "check the network and its sender" in fault


def endless(data: bytes, stopped: threading.Event):
    """Answer with a transport stream that comes slowly and has no end."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not stopped.is_set():
            for place in range(0, len(data), 188 * 4):
                handler.wfile.write(data[place : place + 188 * 4])
                if stopped.wait(0.002):
                    return

    return answer


def test_reconnection():
    data = encode(pictures(30), "ts-mpeg2")
    times, numbers = [], []

    def collect(reader: FrameReader, count: int) -> None:
        end = time.monotonic() + 60
        wanted = len(numbers) + count
        while len(numbers) < wanted:
            assert time.monotonic() < end and not reader.ended, reader.error
            if (frame := reader.get(timeout=0.1)) is not None:
                times.append(frame.time)
                numbers.append(frame.index)

    stopped = threading.Event()
    with serving(endless(data, stopped)) as url:
        source = open_source(f"{url}/a.ts", live=True, timeout=1.0, reconnect=10.0)
        reader = FrameReader(source, drop_oldest=False)
        collect(reader, 20)
        assert source.reconnections == 0
        stopped.set()
    end = time.monotonic() + 60
    while reader.state != RECONNECTING:  # what was on its way has come
        assert time.monotonic() < end and not reader.ended, reader.error
        time.sleep(0.02)
    received = reader.received
    stopped = threading.Event()
    with serving(endless(data, stopped), port=int(url.rpartition(":")[2])):
        collect(reader, received + 40)
        assert source.reconnections == 1
        assert source._source._video.timeout == 1.0
        reader.close()
        stopped.set()
    assert numbers == list(range(len(numbers)))
    steps = np.diff(times)
    assert steps.min() > 0
    assert 0.05 < steps[received - 1] < 60  # the interruption, by the clock on the wall
    assert reader.error is None


def test_what_broke_off_is_freed_before_the_collector_comes_by():
    opened = []

    def opener(seconds):
        source = open_source(url, timeout=2.0)
        opened.append(weakref.ref(source))
        return source

    gc.disable()
    try:
        with (
            serving(half(encode(noise(30), "ts-mpeg2"))) as url,
            ReconnectingSource(opener, "door", 2.0, 60.0) as source,
        ):
            for _ in source.frames():
                if source.reconnections == 3:
                    break
            assert [one() is not None for one in opened] == [False, False, False, True]
    finally:
        gc.enable()


def test_source_that_does_not_come_back():
    data = encode(pictures(30), "ts-mpeg2")

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(data)

    with serving(answer) as url:
        source = open_source(url, live=True, timeout=1.0, reconnect=0.6)
        frames = source.frames()
        assert next(frames).index == 0
    began = time.monotonic()
    with pytest.raises(SourceError) as caught:
        for _ in frames:
            pass
    assert 0.3 < time.monotonic() - began < 30
    assert_one_sentence(str(caught.value))
    assert "frames and gave none for 0.6 s (it cannot be opened (Connection refused))" in str(caught.value)


def test_a_stalled_source_is_opened_again_although_the_timeout_is_longer():
    data = encode(pictures(30), "ts-mpeg2")
    gate = threading.Event()

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(data)
        gate.wait(10)

    with serving(answer) as url, open_source(url, live=True, timeout=0.6, reconnect=0.3) as source:
        frames = [frame for frame, _ in zip(source.frames(), range(40))]
        gate.set()
    assert source.reconnections == 1
    assert [frame.index for frame in frames] == list(range(40))


def test_a_source_that_is_not_there_in_the_beginning_is_looked_for():
    data = encode(pictures(30), "ts-mpeg2")
    with serving(lambda handler: send(handler, data)) as url:
        pass
    source = open_source(url, live=True, timeout=1.0, reconnect=20.0)
    reader = FrameReader(source, capacity=100)
    time.sleep(0.4)
    assert reader.received == 0 and not reader.ended
    with serving(lambda handler: send(handler, data), port=int(url.rpartition(":")[2])):
        frame = reader.get(timeout=20)
        reader.close()
    assert frame is not None and (frame.index, frame.time) == (0, 0.0)
    assert source.reconnections == 0


def test_a_source_that_never_comes_is_given_up():
    source = open_source("http://127.0.0.1:9/a.ts", live=True, reconnect=0.3)
    with pytest.raises(SourceError) as caught:
        next(source.frames())
    assert_one_sentence(str(caught.value))
    assert "gave no frame for 0.3 s (it cannot be opened (Connection refused)); check" in str(caught.value)


def test_a_source_that_opens_while_it_is_closed_is_closed():
    gate, opened = threading.Event(), []

    def opener(seconds: float) -> FrameSource:
        gate.wait(10)
        opened.append(open_source(pictures(3), live=True))
        return opened[0]

    reader = FrameReader(ReconnectingSource(opener, "door", 1.0, 5.0))
    reader.close(timeout=0.0)
    gate.set()
    reader._thread.join(5)
    assert not reader._thread.is_alive() and opened[0]._closing.is_set() and reader.received == 0


def test_close_ends_the_pause_before_the_next_attempt(monkeypatch):
    monkeypatch.setattr(reconnection, "FIRST_PAUSE", 50.0)
    data = encode(pictures(30), "ts-mpeg2")

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(data)

    with serving(answer) as url:
        reader = FrameReader(open_source(url, live=True, timeout=1.0, reconnect=60.0), capacity=100)
        assert reader.get(timeout=5) is not None
    end = time.monotonic() + 60
    while reader.state != RECONNECTING:
        assert time.monotonic() < end and not reader.ended, reader.error
        time.sleep(0.01)
    began = time.monotonic()
    reader.close(timeout=20)
    assert time.monotonic() - began < 20
    assert not reader._thread.is_alive()
