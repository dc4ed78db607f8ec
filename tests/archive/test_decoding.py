"""A video that kills, hangs or starves its decoder is one fault, and everything else goes on."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from hf_ttr.archive.child import ChildProcess
from hf_ttr.archive.cut import Clips, WholeVideo
from hf_ttr.archive.decoding import STARTS, DecodingFault, GuardedDecoder, OpenVideo
from hf_ttr.archive.row import ERROR_KINDS
from hf_ttr.evaluation import Protocol
from hf_ttr.video import VideoDecodingError
from hf_ttr.video.processing import TemporalReuseVideoProcessor

from ..evaluation.videos import moving_square, write_video
from ..video.test_reading import FORMATS, LOSSLESS, encode, picture
from .hooks import Deadly, NotHere, Script


ROOT = Path(__file__).resolve().parents[2]
SIZE = {"height": 24, "width": 24}


def rest_of(video: OpenVideo) -> list[list[int]]:
    """Number and process of each piece that comes."""
    found = []
    while (piece := video.next()) is not None:
        found.append(piece.pixels.ravel().astype(int).tolist())
    return found


def fault_of(video: OpenVideo) -> DecodingFault:
    with pytest.raises(DecodingFault) as caught:
        rest_of(video)
    fault = caught.value
    assert fault.kind in ERROR_KINDS and str(fault) == fault.sentence
    assert fault.sentence.endswith(".") and "; " in fault.sentence and fault.sentence.isprintable()
    with pytest.raises(DecodingFault) as again:
        video.next()
    assert again.value is fault
    return fault


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    try:  # a zombie whose parent has not looked yet
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# ---------------------------------------------------------------------------------------------------------------------
# Videos
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processor() -> TemporalReuseVideoProcessor:
    return TemporalReuseVideoProcessor(size=SIZE)


@pytest.fixture(scope="module")
def decoder(processor: TemporalReuseVideoProcessor) -> Iterator[GuardedDecoder]:
    with GuardedDecoder(processor, WholeVideo(num_frames=4)) as running:
        yield running


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    for number, count in enumerate((10, 4, 1)):
        write_video(folder / f"{number}.mp4", moving_square(number, count))
    return sorted(folder.iterdir())


def test_videos_side_by_side_are_what_the_processor_makes_of_each(
    decoder: GuardedDecoder, processor: TemporalReuseVideoProcessor, paths: list[Path]
) -> None:
    videos = [decoder.open(path) for path in (*paths, paths[0].read_bytes())]
    seen: list[list[torch.Tensor]] = [[] for _ in videos]
    for _ in range(4):
        for video in videos:
            video.prefetch()
        for number, video in enumerate(videos):
            if (piece := video.next()) is not None:
                seen[number].append(piece.pixel_values)
    for video, path, pieces in zip(videos, (*paths, paths[0]), seen):
        whole = processor(str(path), return_tensors="pt").pixel_values
        assert torch.equal(torch.cat(pieces, 1), whole)
        assert video.facts is not None
        assert (video.facts.frames, video.facts.fps) == (whole.shape[1], 25.0)
        assert video.decoding_seconds > 0
        assert video.next() is None
    assert [piece.shape[1] for piece in seen[0]] == [4, 4, 2]


def test_a_video_that_is_closed_is_not_gone_on_with(decoder: GuardedDecoder, paths: list[Path]) -> None:
    video = decoder.open(paths[0])
    assert video.next() is not None
    video.prefetch()
    video.close()
    video.close()
    assert video.next() is None and video.facts is None


@pytest.mark.parametrize("limits", [{"time_limit": 1e10}, {"time_limit": 1e300}, {"memory_limit": 2**63}])
def test_limits_may_be_larger_than_those_of_the_system(limits: dict[str, Any]) -> None:
    with GuardedDecoder(None, Script(), **limits) as running:
        assert len(rest_of(running.open("a: 2"))) == 2


def broken(name: str, folder: Path) -> Any:
    """A source that is none."""
    frames = [picture(index) for index in range(10)]
    noise = list(np.random.default_rng(3).integers(0, 256, (40, 48, 64, 3), dtype=np.uint8))
    path = folder / f"{name}.mp4"
    contents = {
        "empty": lambda: b"",
        "noise": lambda: np.random.default_rng(2).bytes(5000),
        "text": lambda: b"Hello, this is a text.\n" * 50,
        "subtitles": lambda: b"1\n00:00:01,000 --> 00:00:02,000\nHello\n",
        "playlist": lambda: b"#EXTM3U\n#EXTINF:10,\nclip.mkv\n#EXT-X-ENDLIST\n",
        "cut off": lambda: cut_off(encode(noise, LOSSLESS, target=str(path))),
        "cut off before its index": lambda: cut_off(encode(noise, ("mp4", "mpeg4", "yuv420p"), target=str(path))),
        "damaged": lambda: encode(frames, ("mov", "png", "rgb24"), junk_after=6),
    }
    if name in contents:
        path.write_bytes(contents[name]())
        return path
    if name == "sound":
        with av.open(str(folder / "sound.wav"), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
            frame.sample_rate = 8000
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
        return folder / "sound.wav"
    return {"missing": folder / "nowhere.mp4", "folder": folder, "protocol": "nowhere://a/b.mp4"}[name]


def cut_off(data: bytes) -> bytes:
    return data[: int(len(data) * 0.6)]


BROKEN = {
    "empty": 0,
    "noise": 0,
    "text": 0,
    "subtitles": 0,
    "playlist": 0,
    "cut off": 0,
    "cut off before its index": 0,
    "damaged": 1,
    "sound": 0,
    "missing": 0,
    "folder": 0,
    "protocol": 0,
}
"""Kinds of broken files, and how many pieces of each come before the fault."""


@pytest.mark.parametrize("name, pieces", BROKEN.items(), ids=BROKEN)
def test_a_broken_file_is_one_fault_with_the_sentence_of_its_reader(
    name: str, pieces: int, decoder: GuardedDecoder, processor: TemporalReuseVideoProcessor, tmp_path: Path
) -> None:
    source = broken(name, tmp_path)
    with pytest.raises(VideoDecodingError) as expected:
        list(WholeVideo(num_frames=4).pieces(processor, source))
    video = decoder.open(source)
    for _ in range(pieces):
        assert video.next() is not None
    fault = fault_of(video)
    assert (fault.kind, fault.sentence) == ("unreadable", str(expected.value))


def test_clips_of_a_protocol(processor: TemporalReuseVideoProcessor, paths: list[Path]) -> None:
    protocol = Protocol(num_clips=2, views=3, num_frames=3, frame_sampling_rate="spread")
    with GuardedDecoder(processor, Clips(protocol)) as running:
        video = running.open(paths[0])
        pieces = [video.next(), video.next()]
        assert video.next() is None
    pixels = torch.cat([piece.pixel_values for piece in pieces if piece is not None])
    assert torch.equal(pixels, protocol.pixel_values(processor, paths[0]))


def test_formats_that_the_tests_know_are_all_decoded(
    decoder: GuardedDecoder, processor: TemporalReuseVideoProcessor
) -> None:
    for kind in FORMATS.values():
        data = encode([picture(index) for index in range(5)], kind)
        video = decoder.open(data)
        pieces = [video.next(), video.next()]
        pixels = np.concatenate([piece.pixels for piece in pieces if piece is not None], 1)
        assert np.array_equal(pixels[0], processor(data, return_tensors="np").pixel_values[0])


# ---------------------------------------------------------------------------------------------------------------------
# Faults on demand
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scripted() -> Iterator[GuardedDecoder]:
    with GuardedDecoder(None, Script(), time_limit=5.0, memory_limit=2**30) as running:
        yield running


@pytest.mark.parametrize(
    "source, how",
    [
        ("a: 1 kill 9", "SIGKILL, as where memory runs out"),
        ("a: 1 kill 11", "SIGSEGV"),
        ("a: 1 exit 3", "exit status 3: the last thing"),
        (Deadly("kill", "6"), "SIGABRT"),
    ],
    ids=["killed", "crashed", "exit", "unpickled"],
)
def test_a_killed_process_takes_only_the_video_down_that_it_was_at(
    scripted: GuardedDecoder, source: Any, how: str
) -> None:
    before, beside = scripted.open("before: 5"), scripted.open("beside: 3")
    first = [before.next(), before.next(), beside.next()]
    assert None not in first
    culprit = scripted.open(source)
    # A piece that lies ready is given; one that waits behind the culprit comes out of the next process.
    beside.prefetch()
    culprit.prefetch()
    before.prefetch()
    fault = fault_of(culprit)
    assert fault.kind == "killed"
    name = "The video of the file object 'deadly'" if isinstance(source, Deadly) else f"The video '{source}'"
    assert fault.sentence == f"{name} ended the process that decodes it ({how}); convert it, or leave it out."
    others = rest_of(before), rest_of(beside)
    assert [[number for number, _ in pieces] for pieces in others] == [[2, 3, 4], [1, 2]]
    assert before.facts is not None and beside.facts is not None
    assert others[0][-1][1] != int(first[0].pixels.ravel()[1])  # type: ignore[union-attr]


def test_a_hung_process_is_killed() -> None:
    with GuardedDecoder(None, Script(), time_limit=0.5) as running:
        beside, culprit = running.open("beside: 3"), running.open("a: 1 hang")
        assert beside.next() is not None and culprit.next() is not None
        fault = fault_of(culprit)
        assert fault.kind == "hung"
        assert fault.sentence == (
            "The video 'a: 1 hang' gave nothing within 0.5 s; convert it, leave it out, or raise `time_limit`."
        )
        assert 0.4 < culprit.decoding_seconds < 5
        assert [number for number, _ in rest_of(beside)] == [1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited there alone.")
def test_too_little_memory_is_a_fault_of_its_own(scripted: GuardedDecoder) -> None:
    beside = scripted.open("beside: 2")
    first = beside.next()
    assert first is not None
    for what in ("memory", "hidden-memory"):
        fault = fault_of(scripted.open(f"a: 1 {what}"))
        assert fault.kind == "memory"
        assert f"The video 'a: 1 {what}' takes more than 1 GiB to decode, or asks for it" in fault.sentence
    # Memory that libraries do not give back is gone with their process.
    ((number, process),) = rest_of(beside)
    assert number == 1 and process != int(first.pixels.ravel()[1])


def test_any_other_error_is_a_fault(scripted: GuardedDecoder) -> None:
    fault = fault_of(scripted.open("a: 1 raise"))
    assert fault.kind == "unreadable"
    assert "'a: 1 raise' cannot be prepared for the model (RuntimeError: it is broken)" in fault.sentence


def test_an_error_on_this_side_leaves_the_video_where_it_was(
    scripted: GuardedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory(most: int) -> Iterator[memoryview]:
        raise MemoryError
        yield

    video = scripted.open("a: 3")
    assert video.next() is not None
    with monkeypatch.context() as patch:
        patch.setattr("hf_ttr.archive.child._answer", without_memory)
        with pytest.raises(MemoryError):
            video.next()
    assert [number for number, _ in rest_of(video)] == [1, 2]


def test_a_retry_is_alone_and_has_its_own_process(scripted: GuardedDecoder) -> None:
    other, again = scripted.open("other: 2 wait 1"), scripted.retry("again: 2")
    own = other.next()
    assert own is not None and other.next() is not None
    # The request that runs is waited for.
    other.prefetch()
    time.sleep(0.1)
    began = time.monotonic()
    pieces = rest_of(again)
    assert [number for number, _ in pieces] == [0, 1]
    assert time.monotonic() - began > 0.5
    (process,) = {process for _, process in pieces}
    assert process != int(own.pixels.ravel()[1])
    assert not is_there(process)
    assert other.next() is None
    assert fault_of(scripted.retry("again: 0 kill 9")).kind == "killed"
    # What it gave up is gone as well.
    left = scripted.retry("again: 2")
    piece = left.next()
    assert piece is not None
    left.close()
    assert not is_there(int(piece.pixels.ravel()[1]))


def test_videos_are_spread_over_processes() -> None:
    with GuardedDecoder(None, Script(), processes=2) as running:
        videos = [running.open(f"{number}: 1") for number in range(4)]
        pieces = [video.next() for video in videos]
        made_by = [int(piece.pixels.ravel()[1]) for piece in pieces if piece is not None]
    assert len(made_by) == 4 and made_by[:2] == made_by[2:] and len(set(made_by)) == 2


def test_a_process_that_decodes_has_no_torch(processor: TemporalReuseVideoProcessor) -> None:
    with GuardedDecoder(processor, Script()) as running:
        assert len(rest_of(running.open("a: 1 no-torch"))) == 1


def test_what_is_larger_than_a_pipe_goes_through(scripted: GuardedDecoder) -> None:
    assert [number for number, _ in rest_of(scripted.open("a" * 2**22 + ": 2"))] == [0, 1]
    piece = scripted.open("a: 0 large").next()
    assert piece is not None
    assert piece.pixels.shape == (1, 2**20, 1, 1, 2) and (piece.pixels == np.arange(2)).all()


def test_libraries_print_nothing(scripted: GuardedDecoder, capfd: pytest.CaptureFixture[str]) -> None:
    assert len(rest_of(scripted.open("a: 1 print"))) == 1
    assert len(rest_of(scripted.open("b: 1"))) == 1
    assert capfd.readouterr() == ("", "")


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    files = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    threads = set(threading.enumerate())
    running = GuardedDecoder(None, Script(), processes=2)
    videos = [running.open(f"a: 0 hang {tmp_path / 'pid'}"), running.open("b: 2"), running.open("c: 1")]
    piece = videos[1].next()
    assert piece is not None
    videos[0].prefetch()
    wait_until((tmp_path / "pid").exists)
    # Behind the one that hangs.
    videos[2].prefetch()
    began = time.monotonic()
    running.close()
    running.close()
    assert time.monotonic() - began < 30
    for process in (int((tmp_path / "pid").read_text()), int(piece.pixels.ravel()[1])):
        assert not is_there(process)
    assert set(threading.enumerate()) <= threads
    if files:
        assert set(os.listdir("/proc/self/fd")) <= files
    for video in (videos[0], videos[2]):
        with pytest.raises(RuntimeError, match="the decoder was closed before this video"):
            video.next()
    with pytest.raises(RuntimeError, match="the decoder is closed"):
        running.open("a: 1")


PARENT = """
import os, signal, sys, time
from hf_ttr.archive.decoding import GuardedDecoder
from tests.archive.hooks import Script
assert "torch" not in sys.modules
# Shells let what runs in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
decoder = GuardedDecoder(None, Script(), processes=2)
piece = decoder.open("a: 1").next()
decoder.open(f"b: 0 hang {sys.argv[1]}").prefetch()
while not os.path.exists(sys.argv[1]):
    time.sleep(0.02)
print(int(piece.pixels.ravel()[1]), flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_end_of_the_parent_ends_its_processes(number: signal.Signals, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "pid")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    idle = int(parent.stdout.readline())
    hanging = int((tmp_path / "pid").read_text())
    assert is_there(idle) and is_there(hanging)
    parent.send_signal(number)
    parent.communicate()
    wait_until(lambda: not is_there(idle) and not is_there(hanging), 10)


def test_a_process_that_cannot_be_set_up_is_no_fault_of_a_video() -> None:
    with GuardedDecoder(NotHere(), Script()) as running:
        for _ in range(2):
            with pytest.raises(RuntimeError, match=re.escape("cannot be started (RuntimeError: it is broken)")):
                running.open("a: 1").next()


def killed_as_they_begin(monkeypatch: pytest.MonkeyPatch, count: int) -> list[int]:
    """The next processes are killed before they can be asked; returns those that were, as they are."""
    killed: list[int] = []
    begin = ChildProcess.__init__

    def beginning(child: ChildProcess, set_up: Any) -> None:
        begin(child, set_up)
        if len(killed) < count:
            killed.append(child._process.pid)
            child.kill()

    monkeypatch.setattr(ChildProcess, "__init__", beginning)
    monkeypatch.setattr("hf_ttr.archive.decoding._PAUSE", 0.01)
    return killed


def test_a_process_that_is_killed_as_it_begins_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = killed_as_they_begin(monkeypatch, STARTS - 1)
    with GuardedDecoder(None, Script()) as running:
        assert [number for number, _ in rest_of(running.open("a: 2"))] == [0, 1]
    assert len(killed) == STARTS - 1


def test_where_all_are_killed_as_they_begin_it_is_a_fault_of_the_video(monkeypatch: pytest.MonkeyPatch) -> None:
    with GuardedDecoder(None, Script()) as running:
        assert len(rest_of(running.open("before: 1"))) == 1
        killed_as_they_begin(monkeypatch, STARTS)
        fault = fault_of(running.retry("a: 1"))
        assert fault.kind == "killed" and "'a: 1' found no process to decode it" in fault.sentence
        assert len(rest_of(running.retry("after: 1"))) == 1


def test_where_none_ever_began_it_is_no_fault_of_a_video(monkeypatch: pytest.MonkeyPatch) -> None:
    killed_as_they_begin(monkeypatch, 10 * STARTS)
    says = r"cannot be started \(SIGKILL, as where memory runs out\)"
    with GuardedDecoder(None, Script()) as running, pytest.raises(RuntimeError, match=says):
        running.open("a: 1").next()


@pytest.mark.parametrize("settings", [{"processes": 0}, {"time_limit": 0}, {"memory_limit": 1.5}])
def test_wrong_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is .* but must be .*\\."):
        GuardedDecoder(None, Script(), **settings)


def test_faults_can_be_pickled() -> None:
    fault = pickle.loads(pickle.dumps(DecodingFault("hung", "It hangs; leave it out.")))
    assert (fault.kind, str(fault)) == ("hung", "It hangs; leave it out.")
