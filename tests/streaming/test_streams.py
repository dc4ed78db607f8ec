"""Sources and engine together: what comes out, in which order, and what of it survives faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_ttr.cache_snapshot import SnapshotError
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
