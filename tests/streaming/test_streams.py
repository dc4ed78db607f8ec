"""Sources and engine together: what comes out, in which order, and what of it survives faults."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_ttr.caching.snapshot import SnapshotError
from hf_ttr.streaming import SourceError, StreamResult, VideoStreams, open_source

from .engines import KINDS, assert_same, frames_of, run, tiny_engine, tiny_model


def sources(**frames: Any) -> dict[str, Any]:
    return {name: open_source(own, name=name) for name, own in frames.items()}


def expected(name: str, frames: list[np.ndarray], kind: str = "frames", **options: Any) -> list[StreamResult]:
    engine = tiny_engine(kind, **options)
    engine.add(name)
    return run(engine, name, frames)


def of(results: list[StreamResult], name: str) -> list[StreamResult]:
    return [one for one in results if one.stream == name]


def breaks(frames: list[np.ndarray]) -> Iterator[np.ndarray]:
    yield from frames
    raise RuntimeError("the cable was pulled")


@pytest.mark.parametrize("kind", KINDS)
def test_many_sources(kind: str) -> None:
    frames = {"a": frames_of(0, 9), "b": frames_of(1, 20), "c": frames_of(2, 1)}
    with VideoStreams(tiny_engine(kind), sources(**frames)) as streams:
        results = list(streams)
    for name, own in frames.items():
        assert_same(of(results, name), expected(name, own, kind))
        statistics = streams.statistics[name]
        assert (statistics.frames, statistics.ended, statistics.error) == (len(own), True, None)
        assert statistics.results == len(of(results, name))
    assert streams.engine.names == [] and streams.engine.memory_bytes == 0


def test_a_stream_that_dies_or_stalls_leaves_the_others_alone() -> None:
    frames, stalls = frames_of(1, 12), threading.Event()

    def stalling() -> Iterator[np.ndarray]:
        yield from frames[:3]
        stalls.wait(20)
        yield from frames[3:6]

    given = sources(good=frames, dies=breaks(frames[:5]), stalls=stalling(), never=iter([]))
    results = []
    with VideoStreams(tiny_engine(), given) as streams:
        for result in streams:
            results.append(result)
            if len(of(results, "good")) == 12:
                # Everything else was done without the one that stalls.
                stalls.set()
    reference = expected("x", frames)
    for name, count in (("good", 12), ("dies", 5), ("stalls", 6), ("never", 0)):
        own = of(results, name)
        assert len(own) == count
        assert_same(own, [StreamResult(**{**vars(one), "stream": name}) for one in reference[:count]])
    error = streams.statistics["dies"].error
    assert isinstance(error, SourceError) and "'dies'" in str(error) and "the cable was pulled" in str(error)
    assert streams.statistics["good"].error is None


def test_where_all_fail_the_fault_is_raised_after_all_results() -> None:
    results = []
    with (
        VideoStreams(tiny_engine(), sources(a=breaks(frames_of(0, 4)))) as streams,
        pytest.raises(SourceError, match="the cable was pulled"),
    ):
        for result in streams:
            results.append(result)
    assert len(results) == 4


def test_a_frame_that_is_no_picture_ends_its_stream() -> None:
    frames = frames_of(0, 4)
    bad = [*frames[:2], np.zeros((24, 24, 7), np.uint8)]
    with VideoStreams(tiny_engine(), sources(good=frames, bad=iter(bad))) as streams:
        results = list(streams)
    assert (len(of(results, "good")), len(of(results, "bad"))) == (4, 2)
    assert "'bad'" in str(streams.statistics["bad"].error)


def test_live_sources_drop_what_comes_too_fast() -> None:
    frames = frames_of(0, 60)
    release = threading.Event()

    def fast() -> Iterator[np.ndarray]:
        yield frames[0]
        release.wait(20)
        yield from frames[1:]

    streams = VideoStreams(tiny_engine(), {"a": open_source(fast(), name="a", live=True)}, capacity=4)
    results = [next(streams)]
    release.set()
    deadline = time.monotonic() + 20
    while streams.statistics["a"].frames < 60 and time.monotonic() < deadline:
        time.sleep(0.01)
    results += list(streams)
    assert [one.first_frame for one in results] == [0, 56, 57, 58, 59]
    assert streams.statistics["a"].dropped == 55 == results[-1].dropped
    assert results[-1].latency_ms < 20_000


class Killed(Exception):
    pass


def run_until_killed(streams: VideoStreams, most: int) -> list[StreamResult]:
    """Takes so many results and then lets go of everything as it is, as a process that is killed does."""
    results = []
    for result in streams:
        results.append(result)
        if len(results) == most:
            break
    streams._is_waiting = False
    streams.close()
    return results


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("snapshot_every", [0.0, 1e9], ids=["always", "never"])
@pytest.mark.parametrize("most", [1, 4, 7])
def test_files_go_on_where_they_were(kind: str, snapshot_every: float, most: int, tmp_path: Path) -> None:
    frames = {"a": frames_of(0, 24), "b/c": frames_of(1, 9)}
    options: dict[str, Any] = {"snapshots": tmp_path, "snapshot_every": snapshot_every}
    choices = {"stride": 4, "verify_every": 7}
    before = run_until_killed(VideoStreams(tiny_engine(kind, **choices), sources(**frames), **options), most)
    kept = {name: len(of(before, name)) for name in frames}
    with VideoStreams(tiny_engine(kind, **choices), sources(**frames), resume=True, kept=kept, **options) as streams:
        after = list(streams)
    for name, own in frames.items():
        known = of(before, name)
        again = of(after, name)
        new = [one for one in again if one.number >= len(known)]
        assert_same(known + new, expected(name, own, kind, **choices))
        if snapshot_every == 0.0:
            # Little is done twice.
            assert len(again) - len(new) <= 1
            assert not again or again[0].number >= len(known) - 1


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    frames = frames_of(0, 5)
    with VideoStreams(tiny_engine(), sources(a=frames), snapshots=tmp_path) as streams:
        assert len(list(streams)) == 5
    with VideoStreams(tiny_engine(), sources(a=frames), snapshots=tmp_path, resume=True, kept={"a": 5}) as streams:
        assert list(streams) == []


def test_a_camera_counts_on(tmp_path: Path) -> None:
    frames = frames_of(1, 20)

    def live(own: list[np.ndarray]) -> dict[str, Any]:
        return {"a": open_source(((number / 10, frame) for number, frame in enumerate(own)), name="a", live=True)}

    options: dict[str, Any] = {"snapshots": tmp_path, "snapshot_every": 0.0, "capacity": 50}
    with VideoStreams(tiny_engine(), live(frames[:8]), **options) as streams:
        before = run_until_killed(streams, 6)
    second = VideoStreams(tiny_engine(), live(frames[6:]), resume=True, kept={"a": 6}, **options)
    with second as streams:
        after = list(streams)
    assert [one.number for one in before + after] == list(range(20))
    assert after[0].first_frame in (5, 6) and after[0].start >= before[4].end
    # It goes on with what it knows: the first frame is not computed whole.
    assert after[0].computed_share < 1


def test_a_new_run_does_not_go_on_from_old_snapshots(tmp_path: Path) -> None:
    frames = frames_of(0, 6)
    for _ in range(2):
        with VideoStreams(tiny_engine(), sources(a=frames), snapshots=tmp_path) as streams:
            assert_same(list(streams), expected("a", frames))


def test_snapshots_that_are_ahead_of_the_results_are_refused(tmp_path: Path) -> None:
    frames = frames_of(0, 6)
    with VideoStreams(tiny_engine(), sources(a=frames), snapshots=tmp_path) as streams:
        list(streams)
    with pytest.raises(SnapshotError, match="has seen 6 results of the stream 'a', of which 2 are there; delete it"):
        VideoStreams(tiny_engine(), sources(a=frames), snapshots=tmp_path, resume=True, kept={"a": 2})


def test_another_model_or_other_options_are_refused(tmp_path: Path) -> None:
    frames = frames_of(0, 6)
    with VideoStreams(tiny_engine(), sources(a=frames), snapshots=tmp_path) as streams:
        next(streams)
    for engine in (tiny_engine(model=tiny_model(seed=1)), tiny_engine(window=2)):
        with pytest.raises(SnapshotError, match="had another model or other options"):
            VideoStreams(engine, sources(a=frames), snapshots=tmp_path, resume=True)


def test_closing_stops_the_readers() -> None:
    def endless() -> Iterator[np.ndarray]:
        while True:
            yield np.zeros((24, 24, 3), np.uint8)

    before = threading.active_count()
    streams = VideoStreams(tiny_engine(), sources(a=endless(), b=endless()))
    for _ in range(5):
        next(streams)
    streams.close()
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(streams)


def no_room(streams: VideoStreams, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets snapshots fail as on a full disk; gives the names of those that were tried."""
    tried = []

    def save(name: str, path: str) -> None:
        tried.append(name)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(streams.engine, "save", save)
    return tried


def test_a_full_disk_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = {"a": frames_of(0, 8), "b": frames_of(1, 8)}
    with VideoStreams(tiny_engine(), sources(**frames), snapshots=tmp_path, snapshot_every=0.0) as streams:
        tried = no_room(streams, monkeypatch)
        results = [next(streams) for _ in range(6)]
        assert streams.snapshot_error is not None and "No space left on device" in streams.snapshot_error
        monkeypatch.undo()
        results += list(streams)
    assert len(tried) > 2 and streams.snapshot_error is None
    for name, own in frames.items():
        assert_same(of(results, name), expected(name, own))
    with VideoStreams(tiny_engine(), sources(**frames), snapshots=tmp_path, resume=True) as streams:
        assert list(streams) == []


def test_a_full_disk_does_not_keep_from_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = VideoStreams(tiny_engine(), sources(a=frames_of(0, 8)), snapshots=tmp_path)
    next(streams)
    no_room(streams, monkeypatch)
    with pytest.raises(OSError, match="No space"):
        streams.snapshot()
    streams._is_waiting = True
    streams.close()
    assert streams.snapshot_error is not None


def missing() -> Any:
    raise SourceError("The stream 'off' cannot be opened (it is off); switch it on.")


def test_one_that_cannot_be_opened_is_its_own_fault() -> None:
    frames = frames_of(0, 5)
    given: dict[str, Any] = {"off": missing, "on": lambda: open_source(frames, name="on")}
    with VideoStreams(tiny_engine(), given) as streams:
        assert_same(list(streams), expected("on", frames))
    assert "switch it on" in str(streams.statistics["off"].error) and streams.statistics["off"].ended
    assert streams.statistics["on"].error is None


def test_where_none_can_be_opened_that_is_said_at_once() -> None:
    with pytest.raises(SourceError, match="switch it on"):
        VideoStreams(tiny_engine(), {"off": missing, "too": missing})


def test_nobody_waits_for_one_that_does_not_answer() -> None:
    frames, gate = frames_of(0, 5), threading.Event()

    def slow() -> Any:
        gate.wait(20)
        return open_source(frames, name="slow")

    given: dict[str, Any] = {"slow": slow, "on": lambda: open_source(frames, name="on")}
    with VideoStreams(tiny_engine(), given) as streams:
        results = [next(streams) for _ in range(5)]
        assert {one.stream for one in results} == {"on"}
        gate.set()
        assert [one.stream for one in streams] == ["slow"] * 5


def stalling(count: int = 2) -> Iterator[np.ndarray]:
    yield from frames_of(0, count)
    time.sleep(8)


def test_closing_from_another_thread() -> None:
    before = VideoStreams(tiny_engine(), sources(a=stalling()))
    results: list[StreamResult] = []
    consumer = threading.Thread(target=lambda: results.extend(before), daemon=True)
    consumer.start()
    end = time.monotonic() + 20
    while len(results) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    began = time.monotonic()
    before.close()
    before.close()
    assert time.monotonic() - began < 5
    consumer.join(5)
    assert not consumer.is_alive() and len(results) == 2
    assert all(source._closing.is_set() for source in before._sources.values())
    with pytest.raises(StopIteration):
        next(before)


def test_closing_takes_no_longer_for_many_that_stall() -> None:
    given: dict[str, Any] = {f"reads {number}": open_source(stalling(), name="x") for number in range(6)}
    gate = threading.Event()

    def opener() -> Any:
        gate.wait(8)
        return missing()

    given |= {f"opens {number}": opener for number in range(6)}
    streams = VideoStreams(tiny_engine(), given)
    for _ in range(12):
        next(streams)
    began = time.monotonic()
    streams.close()
    assert time.monotonic() - began < 2
    assert all(source._closing.is_set() for source in streams._sources.values())
    gate.set()


def test_closing_during_a_call_of_the_model() -> None:
    model = tiny_model()
    inner, called, gate = model.forward, threading.Event(), threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        called.set()
        gate.wait(5)
        return inner(*arguments, **options)

    model.forward = slow
    streams = VideoStreams(tiny_engine(model=model), sources(a=frames_of(0, 50)))
    results: list[StreamResult] = []
    consumer = threading.Thread(target=lambda: results.extend(streams), daemon=True)
    consumer.start()
    assert called.wait(20)
    began = time.monotonic()
    streams.close()
    assert time.monotonic() - began < 2
    gate.set()
    consumer.join(10)
    assert not consumer.is_alive() and len(results) <= 1


def test_closing_in_the_middle_of_the_loop() -> None:
    """As a signal handler does, which runs in the thread that it interrupts."""
    model = tiny_model()
    inner = model.forward

    def interrupted(*arguments: Any, **options: Any) -> Any:
        streams.close()
        return inner(*arguments, **options)

    model.forward = interrupted
    streams = VideoStreams(tiny_engine(model=model), sources(a=frames_of(0, 50)))
    began = time.monotonic()
    assert len(list(streams)) <= 1 and time.monotonic() - began < 2


def test_stopping_gives_what_is_there_and_writes_snapshots(tmp_path: Path) -> None:
    frames = {"a": frames_of(0, 30), "b": frames_of(1, 30)}
    before = []
    with VideoStreams(tiny_engine(), sources(**frames), snapshots=tmp_path) as streams:
        for result in streams:
            before.append(result)
            if len(before) == 21:
                streams.stop()
    assert len(before) < 60
    kept = {name: len(of(before, name)) for name in frames}
    with VideoStreams(tiny_engine(), sources(**frames), snapshots=tmp_path, resume=True, kept=kept) as streams:
        after = list(streams)
    for name, own in frames.items():
        # Nothing is done twice.
        assert_same(of(before, name) + of(after, name), expected(name, own))


def test_one_that_failed_is_tried_again(tmp_path: Path) -> None:
    frames = {"good": frames_of(0, 6), "bad": frames_of(1, 12)}
    broken = {**frames, "bad": breaks(frames["bad"][:5])}
    with VideoStreams(tiny_engine(), sources(**broken), snapshots=tmp_path) as streams:
        before = list(streams)
    kept = {"good": 6, "bad": 5}
    with VideoStreams(tiny_engine(), sources(**frames), snapshots=tmp_path, resume=True, kept=kept) as streams:
        after = list(streams)
    assert of(after, "good") == []
    assert_same(of(before, "bad") + of(after, "bad"), expected("bad", frames["bad"]))


def test_another_source_of_the_same_name_is_refused(tmp_path: Path) -> None:
    frames = frames_of(0, 3)
    options: dict[str, Any] = {"snapshots": tmp_path, "resume": True}
    with VideoStreams(tiny_engine(), sources(a=frames), origins={"a": "/one.mp4"}, **options) as streams:
        list(streams)
    # One that is left out, and a new one, are fine.
    with VideoStreams(tiny_engine(), sources(b=frames), origins={"b": "/two.mp4"}, **options) as streams:
        assert len(list(streams)) == 3
    with pytest.raises(SnapshotError, match="had the stream 'a' from '/one.mp4', and now it is from '/two.mp4'; pass"):
        VideoStreams(tiny_engine(), sources(a=frames), origins={"a": "/two.mp4"}, **options)


def test_nothing_of_others_is_deleted_or_replaced(tmp_path: Path) -> None:
    frames = frames_of(0, 3)
    others = {"notes.txt": b"mine", "b.safetensors": b"mine", "run.json": b'{"run": "mine"}', "a.safetensors": b"mine"}
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    for resume in (False, True):
        with pytest.raises(SnapshotError, match="pass another folder"):
            VideoStreams(tiny_engine(), sources(a=frames), snapshots=tmp_path, resume=resume)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == others
    (tmp_path / "run.json").unlink()
    with pytest.raises(SnapshotError, match="is no snapshot, but in the place of one; move it"):
        VideoStreams(tiny_engine(), sources(a=frames), snapshots=tmp_path)
    (tmp_path / "a.safetensors").unlink()
    with VideoStreams(tiny_engine(), sources(a=frames), snapshots=tmp_path) as streams:
        list(streams)
    assert (tmp_path / "notes.txt").read_bytes() == (tmp_path / "b.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b'{"format": "x"}'], ids=repr)
def test_a_run_that_is_described_wrongly_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(SnapshotError, match=r"run\.json' does not describe a run \(.*\); delete it to start anew, or"):
        VideoStreams(tiny_engine(), sources(a=frames_of(0, 1)), snapshots=tmp_path, resume=True)
    assert (tmp_path / "run.json").read_bytes() == content


def test_a_damaged_snapshot_is_said_before_anything_is_written(tmp_path: Path) -> None:
    frames = frames_of(0, 3)
    with VideoStreams(tiny_engine(), sources(a=frames, b=frames), snapshots=tmp_path) as streams:
        next(streams)
    (tmp_path / "b.safetensors").write_bytes(b"damaged")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SnapshotError, match=r"b\.safetensors' is damaged"):
        VideoStreams(tiny_engine(), sources(a=frames, b=frames), snapshots=tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_long_names_have_a_file(tmp_path: Path) -> None:
    names = ["é" * 400, "é" * 401, "." * 300, "../a", "a/b"]
    with VideoStreams(tiny_engine(), sources(**dict.fromkeys(names, frames_of(0, 1))), snapshots=tmp_path) as streams:
        list(streams)
    assert streams.snapshot_error is None
    assert len([path for path in tmp_path.iterdir() if path.suffix == ".safetensors"]) == len(names)


def test_checks_are_counted_while_they_are_made() -> None:
    with VideoStreams(tiny_engine(verify_every=2), sources(a=frames_of(0, 9))) as streams:
        for _ in range(5):
            next(streams)
        assert streams.statistics["a"].checks >= 2


def test_faults_hold_no_password(caplog: pytest.LogCaptureFixture) -> None:
    secret = "".join(["S3", "cret"])  # lines of code are in a traceback

    def opener() -> Any:
        raise OSError(f"rtsp://admin:{secret}@door/live?token={secret} refused")

    with pytest.raises(SourceError) as caught:
        VideoStreams(tiny_engine(), {"a": opener})
    assert secret not in "".join(traceback.format_exception(caught.value))
    with VideoStreams(tiny_engine(), {"b": lambda: open_source(frames_of(0, 1)), "a": opener}) as streams:
        list(streams)
    fault = streams.statistics["a"].error
    text = "".join(traceback.format_exception(fault)) + caplog.text
    assert secret not in text and "rtsp://door/live" in text
