"""Reading in the background: a bounded queue, frames dropped or waited for, and an end in every case."""

import io
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import hf_ttr.streaming.decoding as decoding
from hf_ttr.streaming import Frame, FrameReader, SourceError, open_source, wait_for_any

from .clips import encode, index_of, picture, pictures, serving


def drain(reader: FrameReader, seconds: float = 10.0) -> list[Frame]:
    """All the frames of a reader; fails if it does not end."""
    frames = []
    end = time.monotonic() + seconds
    while not reader.ended:
        assert time.monotonic() < end, "the reader does not end"
        if (frame := reader.get(timeout=0.1)) is not None:
            frames.append(frame)
    return frames


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.002)


def test_all_frames_in_order():
    with FrameReader(open_source(encode(pictures(30))), capacity=3) as reader:
        frames = drain(reader)
    assert [index_of(frame.pixels) for frame in frames] == list(range(30))
    assert (reader.received, reader.dropped, reader.error) == (30, 0, None)


def test_start():
    with FrameReader(open_source(pictures(6)), start=4) as reader:
        assert [frame.index for frame in drain(reader)] == [4, 5]


def test_a_full_queue_makes_the_source_wait():
    made = []

    def make() -> Iterator[np.ndarray]:
        for index in range(20):
            made.append(index)
            yield picture(index)

    with FrameReader(open_source(make()), capacity=4) as reader:
        wait_until(lambda: reader.received == 5)
        time.sleep(0.05)
        assert len(made) == 5  # four in the queue, and one that waits for room
        assert [frame.index for frame in reader.take(2)] == [0, 1]
        wait_until(lambda: len(made) == 7)
        assert [frame.index for frame in drain(reader)] == list(range(2, 20))
    assert reader.dropped == 0


def test_a_live_source_drops_the_oldest_frames_and_keeps_the_newest():
    with FrameReader(open_source(pictures(30), live=True), capacity=5) as reader:
        wait_until(lambda: reader.received == 30)
        frames = drain(reader)
    assert [frame.index for frame in frames] == [25, 26, 27, 28, 29]
    assert reader.dropped == 25


@pytest.mark.parametrize("live, drop, kept", [(True, False, 12), (False, True, 2)])
def test_drop_oldest_can_be_chosen(live, drop, kept):
    with FrameReader(open_source(pictures(12), live=live), capacity=2, drop_oldest=drop) as reader:
        wait_until(lambda: reader.received >= (12 if drop else 3))
        assert len(drain(reader)) == kept
    assert reader.dropped == 12 - kept


def test_dropped_frames_are_never_converted(monkeypatch):
    converted = []
    convert = decoding.to_rgb
    monkeypatch.setattr(
        decoding, "to_rgb", lambda picture, still: converted.append(picture.pts) or convert(picture, still)
    )
    with FrameReader(open_source(encode(pictures(20)), live=True), capacity=1) as reader:
        wait_until(lambda: reader.received == 20)
        [frame] = drain(reader)
        assert index_of(frame.pixels) == 19
    assert len(converted) == 1


def test_one_that_is_thinned_has_not_stalled_before_its_second_frame(monkeypatch):
    release = threading.Event()

    def slow():
        yield np.zeros((8, 8, 3), np.uint8)
        release.wait(20)

    for max_fps, expected in ((0.1, "live"), (2.0, "stalled"), (None, "stalled")):
        source = open_source(slow(), name="a", live=True)
        if max_fps is not None:
            source.thin(max_fps)
        with FrameReader(source) as reader:
            assert reader.get(timeout=20) is not None
            later = time.monotonic() + 5
            monkeypatch.setattr("hf_ttr.streaming.reader.time.monotonic", lambda later=later: later)
            assert reader.state == expected
            monkeypatch.undo()
            release.set()
        release.clear()


def test_get_waits_no_longer_than_told():
    gate = threading.Event()

    def make() -> Iterator[np.ndarray]:
        gate.wait(10)
        yield picture(4)

    with FrameReader(open_source(make())) as reader:
        began = time.monotonic()
        assert reader.get(timeout=0.1) is None
        assert 0.09 < time.monotonic() - began < 20
        assert reader.get() is None and reader.take(3) == []
        assert not reader.ended and not reader.ready
        gate.set()
        assert index_of(reader.get(timeout=5).pixels) == 4
        assert reader.get(timeout=5) is None  # at once, as none will come
        assert reader.ended and reader.ready


def test_fault_comes_after_the_frames():
    def make() -> Iterator[np.ndarray]:
        yield from pictures(3)
        raise RuntimeError("the lens\nfell off")

    with FrameReader(open_source(make(), name="door")) as reader:
        wait_until(lambda: reader.error is not None)
        assert not reader.ended
        assert [frame.index for frame in drain(reader)] == [0, 1, 2]
        assert str(reader.error) == (
            "The stream 'door' broke off after 3 frames, as its iterator raised RuntimeError: the lens fell off; "
            "correct the iterator."
        )
        assert isinstance(reader.error, SourceError)
        assert isinstance(reader.error.__cause__, RuntimeError)


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_an_iterator_may_raise_anything(raised):
    class Odd:
        def __iter__(self):
            return self

        def __next__(self):
            raise raised

    with FrameReader(open_source(Odd(), name="odd")) as reader:
        assert drain(reader) == []
        assert f"The stream 'odd' broke off ({type(raised).__name__}" in str(reader.error)


def test_an_iterable_that_cannot_be_iterated():
    class Broken:
        def __iter__(self):
            raise OSError("no device")

    with FrameReader(open_source(Broken())) as reader:
        assert drain(reader) == []
    assert "no device" in str(reader.error)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`capacity` is 0; the queue has to hold at least 1 frame"):
        FrameReader(open_source(pictures(1)), capacity=0)
    with pytest.raises(ValueError, match="`start` is a number of frames"):
        FrameReader(open_source(pictures(1)), start=-1)


# ---------------------------------------------------------------------------------------------------------------------
# Closing
# ---------------------------------------------------------------------------------------------------------------------


def test_close_stops_a_thread_that_waits_for_room():
    reader = FrameReader(open_source(encode(pictures(30))), capacity=1)
    wait_until(lambda: reader.received == 2)
    began = time.monotonic()
    reader.close()
    assert time.monotonic() - began < 10
    assert not reader._thread.is_alive()
    assert (reader.ended, reader.get(timeout=1), reader.take(5), reader.error) == (True, None, [], None)
    reader.close()


def test_close_does_not_wait_for_a_stalled_server():
    gate = threading.Event()
    data = encode(pictures(20), "ts-mpeg2")

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(data)
        gate.wait(10)

    with serving(answer) as url:
        reader = FrameReader(open_source(url, live=True, timeout=1.0, reconnect=0), capacity=50)
        wait_until(lambda: reader.received > 5)
        began = time.monotonic()
        reader.close(timeout=0.1)
        assert time.monotonic() - began < 5
        assert reader.ended
        wait_until(lambda: not reader._thread.is_alive())
        assert reader.source._video is None  # closed by the thread, when the server had nothing to say
        gate.set()


def test_close_wakes_who_waits():
    gate = threading.Event()
    reader = FrameReader(open_source(picture(0) for _ in range(3) if gate.wait(2)))
    got = []
    waiting = threading.Thread(target=lambda: got.append(reader.get(timeout=10)))
    waiting.start()
    time.sleep(0.05)
    reader.close(timeout=0.1)
    waiting.join(5)
    assert got == [None]
    gate.set()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the files in /proc")
def test_files_and_threads_are_freed(tmp_path):
    path = tmp_path / "clip.ts"
    path.write_bytes(encode(pictures(20), "ts-mpeg2"))
    text = tmp_path / "clip.txt"
    text.write_text("no video")

    def once(number: int) -> None:
        with FrameReader(open_source(path), capacity=2) as reader:
            if number % 3 == 0:
                assert len(drain(reader)) == 20
            elif number % 3 == 1:
                assert reader.get(timeout=5).index == 0
        assert not reader._thread.is_alive()
        with pytest.raises(SourceError):
            open_source(text)

    once(0)
    before, threads = open_files(), threading.active_count()
    for number in range(200):
        once(number)
    assert open_files() == before
    assert threading.active_count() == threads


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the files in /proc")
def test_source_that_is_dropped_in_the_middle_frees_its_file(tmp_path):
    path = tmp_path / "clip.mkv"
    path.write_bytes(encode(pictures(9)))
    before = open_files()
    frames = open_source(path).frames()
    next(frames)
    assert open_files() == before + 1
    frames.close()
    assert open_files() == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the files in /proc")
def test_closing_at_any_moment_frees_the_connection():
    data = encode(pictures(20), "ts-mpeg2")
    chance = random.Random(3)

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(20):
            handler.wfile.write(data)
            time.sleep(0.001)

    with serving(answer) as url:
        before = open_files()
        for _ in range(40):
            reader = FrameReader(open_source(url, live=True, timeout=2.0, reconnect=0), capacity=3)
            time.sleep(chance.uniform(0, 0.01))
            reader.close(timeout=5)
            assert not reader._thread.is_alive()
            assert reader.source._video is None
            assert reader.error is None
        wait_until(lambda: open_files() <= before)


# ---------------------------------------------------------------------------------------------------------------------
# Many readers
# ---------------------------------------------------------------------------------------------------------------------


def gated(gate: threading.Event, level: int) -> Iterator[np.ndarray]:
    gate.wait(10)
    yield picture(level)


def test_wait_for_any():
    gates = [threading.Event() for _ in range(5)]
    readers = [FrameReader(open_source(gated(gate, level))) for level, gate in enumerate(gates)]
    began = time.monotonic()
    assert wait_for_any(readers, timeout=0.1) == []
    assert 0.09 < time.monotonic() - began < 20
    threading.Timer(0.1, gates[3].set).start()
    assert wait_for_any(readers, timeout=10) == [readers[3]]
    assert index_of(readers[3].get().pixels) == 3
    wait_until(lambda: readers[3].ended)
    assert wait_for_any(readers, timeout=0) == [readers[3]]  # its end is something to notice
    others = [reader for reader in readers if not reader.ended]
    for gate in gates:
        gate.set()
    seen = set()
    while len(seen) < 4:
        seen |= {
            index_of(reader.get().pixels) for reader in wait_for_any(others, 5) if not reader.ended and reader._queue
        }
    assert seen == {0, 1, 2, 4}
    assert all(reader._listeners == set() for reader in readers)
    for reader in readers:
        reader.close()


def test_shared_event():
    wake = threading.Event()
    gate = threading.Event()
    readers = [FrameReader(open_source(gated(gate, level)), wake=wake) for level in range(2)]
    assert not wake.wait(0.05)
    gate.set()
    assert wake.wait(5)
    assert sorted(index_of(frame.pixels) for reader in readers for frame in drain(reader)) == [0, 1]


def test_many_readers_lose_nothing():
    data = encode(pictures(20))
    readers = [FrameReader(open_source(io.BytesIO(data)), capacity=2) for _ in range(20)]
    counts = dict.fromkeys(readers, 0)
    alive = list(readers)
    end = time.monotonic() + 20
    while alive:
        assert time.monotonic() < end
        for reader in wait_for_any(alive, timeout=1):
            counts[reader] += len(reader.take(8))
        alive = [reader for reader in alive if not reader.ended]
    assert set(counts.values()) == {20}
