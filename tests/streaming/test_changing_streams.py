"""Sources that are seen as several streams, and streams that come and go while others go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_ttr.streaming import StreamResult, VideoStreams, open_source
from hf_ttr.streaming.crop import Crop

from .engines import KINDS, assert_same, frames_of, run, tiny_engine


HALVES = {"door/left": Crop(0, 0, 0.5, 1), "door/right": Crop(0.5, 0, 1, 1)}


def expected(name: str, frames: list[np.ndarray], kind: str = "frames") -> list[StreamResult]:
    engine = tiny_engine(kind)
    engine.add(name)
    return run(engine, name, frames)


def of(results: list[StreamResult], name: str) -> list[StreamResult]:
    return [one for one in results if one.stream == name]


def wide(count: int) -> list[np.ndarray]:
    """Frames of shape (24, 48, 3), each half of which is a stream of its own."""
    return [np.concatenate(pair, axis=1) for pair in zip(frames_of(0, count), frames_of(1, count))]


def halves(frames: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    return {"door/left": [frame[:, :24] for frame in frames], "door/right": [frame[:, 24:] for frame in frames]}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_picture_are_streams_of_a_source_that_is_read_once(kind: str) -> None:
    frames, read = wide(12), []

    def reading() -> Iterator[np.ndarray]:
        for frame in frames:
            read.append(frame)
            yield frame

    source = open_source(reading(), name="door")
    with VideoStreams(tiny_engine(kind), {"door": source}, crops={"door": HALVES}) as streams:
        results = list(streams)
    for name, own in halves(frames).items():
        assert_same(of(results, name), expected(name, own, kind))
    statistics = streams.statistics["door"]
    assert len(read) == statistics.frames == statistics.received == statistics.decoded == 12
    assert (statistics.results, statistics.ended) == (len(results), True)
    assert streams.engine.names == []


def test_parts_go_on_where_they_were(tmp_path: Path) -> None:
    frames = wide(16)

    def begun(**options: Any) -> VideoStreams:
        source = open_source(frames, name="door")
        return VideoStreams(
            tiny_engine(), {"door": source}, crops={"door": HALVES}, snapshots=tmp_path, snapshot_every=0, **options
        )

    results = []
    with begun() as streams:
        for result in streams:
            results.append(result)
            if len(results) == 9:
                break
    # One of the two was written later than the other.
    assert streams.snapshot_path("door/left") != streams.snapshot_path("door/right")
    with begun(resume=True) as streams:
        results += list(streams)
    for name, own in halves(frames).items():
        found = {one.number: one for one in of(results, name)}
        assert_same([found[number] for number in sorted(found)], expected(name, own))


def test_the_frame_of_a_result_is_at_hand() -> None:
    frames = wide(5)
    with VideoStreams(tiny_engine(), {"door": open_source(frames)}, crops={"door": HALVES}) as streams:
        for result in streams:
            frame = streams.frame_of(result)
            assert frame is not None
            np.testing.assert_array_equal(frame.pixels, frames[result.last_frame])


class Gate:
    """Frames that wait until they may go on."""

    def __init__(self, frames: list[np.ndarray], first: int) -> None:
        self.frames, self.first, self.may_go_on = frames, first, threading.Event()

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from self.frames[: self.first]
        self.may_go_on.wait(60)
        yield from self.frames[self.first :]


def test_streams_come_and_go_while_others_go_on() -> None:
    frames = {name: frames_of(number, 10) for number, name in enumerate(("stays", "goes", "comes"))}
    gate, going = Gate(frames["stays"], 4), Gate(frames["goes"], 3)
    results: list[StreamResult] = []
    sources = {"stays": open_source(iter(gate)), "goes": open_source(iter(going))}
    with VideoStreams(tiny_engine(), sources) as streams:
        for result in streams:
            results.append(result)
            if len(results) == 7:
                changing = threading.Thread(target=change, args=(streams, frames["comes"]))
                changing.start()
                changing.join()
            if len(of(results, "comes")) == 10:
                gate.may_go_on.set()
    going.may_go_on.set()
    assert_same(of(results, "stays"), expected("stays", frames["stays"]))
    assert_same(of(results, "comes"), expected("comes", frames["comes"]))
    assert len(of(results, "goes")) == 3
    assert set(streams.statistics) == {"stays", "comes"}


def change(streams: VideoStreams, frames: list[np.ndarray]) -> None:
    """Replaces one stream by another, under names that are checked at once."""
    with pytest.raises(ValueError, match="there is a stream 'stays' already"):
        streams.add("stays", open_source(frames))
    with pytest.raises(ValueError, match="there is no stream 'comes'"):
        streams.remove("comes")
    streams.remove("goes")
    streams.add("comes", open_source(frames))


def test_one_that_is_replaced_begins_anew(tmp_path: Path) -> None:
    frames = frames_of(0, 8)
    gate = Gate(frames_of(1, 8), 5)
    results: list[StreamResult] = []
    sources = {"door": open_source(iter(gate))}
    origins = {"door": "rtsp://old"}
    with VideoStreams(tiny_engine(), sources, snapshots=tmp_path, snapshot_every=0, origins=origins) as streams:
        for result in streams:
            results.append(result)
            if len(results) == 5:
                streams.remove("door")
                streams.add("door", open_source(frames), origins={"door": "rtsp://new"})
    gate.may_go_on.set()
    assert_same(results[5:], expected("door", frames))
    assert "rtsp://new" in (tmp_path / "run.json").read_text()
    assert "rtsp://old" not in (tmp_path / "run.json").read_text()


def test_what_is_to_be_kept_with_snapshots_is_written_before_them(tmp_path: Path) -> None:
    frames, seen, noted = frames_of(0, 8), 0, []
    sources = {"door": open_source(frames)}
    with VideoStreams(tiny_engine(), sources, snapshots=tmp_path, snapshot_every=0) as streams:
        streams.on_snapshot = lambda: noted.append((seen, streams.engine.result_count("door")))
        for _ in streams:
            seen += 1
    assert [number for number, _ in noted] == [count for _, count in noted]
    assert noted[-1] == (8, 8)
