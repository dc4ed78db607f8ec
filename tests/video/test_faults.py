"""Whatever is wrong while a video is read is an error of that video; what the caller's functions raise is not."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
import traceback
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import PIL.Image
import pytest
import torch

import hf_ttr
from hf_ttr.streaming import SourceError, open_source
from hf_ttr.video import VideoDecodingError, read_frames

from ..streaming.clips import encode, pictures


PASSWORD = "hunter" + "2"


def one_sentence(error: Exception) -> str:
    text = str(error)
    assert text.endswith(".") and "; " in text and text.isprintable(), text
    return text


class Failing(io.BytesIO):
    """A file that fails once so many bytes have been read."""

    def __init__(self, data: bytes, error: Exception, after: int) -> None:
        super().__init__(data)
        self.error, self.after = error, after

    def read(self, size: int = -1) -> bytes:
        if self.tell() + max(size, 0) > self.after and size != 0:
            raise self.error
        return super().read(size)


ERRORS = [
    OSError(5, "Input/output error"),
    MemoryError(),
    EOFError("gone"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    OverflowError("too large"),
    ValueError("bad\nvalue"),
    RuntimeError(f"at http://me:{PASSWORD}@host/a"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("after", [0, 40_000], ids=["at-once", "later"])
def test_a_file_that_fails_is_an_error_of_the_video(error, after):
    data = encode([np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)] * 20)
    with pytest.raises(VideoDecodingError, match=f"cannot be read \\({type(error).__name__}") as caught:
        read_frames(Failing(data, error, after))
    assert PASSWORD not in one_sentence(caught.value) + "".join(traceback.format_exception(caught.value))
    with pytest.raises(SourceError):
        for frame in open_source(Failing(data, error, after)).frames():
            _ = frame.pixels


def test_a_disk_that_cannot_give_a_file():
    path = Path("/proc/self/mem")
    if not path.exists():
        pytest.skip("There is no such file on this system.")
    with pytest.raises(VideoDecodingError, match="cannot be read .*Input/output error"):
        read_frames(path)


@pytest.mark.parametrize(
    "error", [av.error.EOFError(1, "end"), IndexError("list index out of range"), MemoryError(), AssertionError("x")]
)
def test_errors_of_the_library_are_errors_of_the_video(error, monkeypatch):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("hf_ttr.video.reading._frames", fail)
    with pytest.raises(VideoDecodingError) as caught:
        read_frames(encode(pictures(2)))
    one_sentence(caught.value)


@pytest.mark.parametrize("error", [KeyError("mine"), ValueError("mine"), av.error.InvalidDataError(1, "mine")])
def test_errors_of_the_caller_come_through(error):
    def fail(anything):
        raise error

    data = encode(pictures(2))
    for arguments in ((fail,), (None, fail)):
        with pytest.raises(type(error)) as caught:
            read_frames(data, *arguments)
        assert caught.value is error


def test_pictures_that_cannot_be_decoded_are_named():
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
    cut = PIL.Image.open(io.BytesIO(buffer.getvalue()[:2000]))
    with pytest.raises(VideoDecodingError, match="Picture 1 of the video cannot be read"):
        read_frames([PIL.Image.open(buffer), cut])


@pytest.mark.parametrize("tensor", [torch.zeros(2, 4, 4, 3).to_sparse(), torch.zeros(2, 4, 4, 3, device="meta")])
def test_tensors_without_pixels(tensor):
    with pytest.raises(VideoDecodingError, match="are a tensor that cannot be turned to an array"):
        read_frames(tensor)


NAMES = {
    "path-of-an-address": f"http://me:{PASSWORD}@127.0.0.1:9/a.mp4",
    "escape": "/nowhere/a\x1b[2J.mp4",
    "no-unicode": "/nowhere/\udcff.mp4",
    "nul": "/nowhere/\0.mp4",
    "lone-surrogate": "/nowhere/\ud800.mp4",
    "new-line": "/nowhere/a\nb.mp4",
    "token": f"http://127.0.0.1:9/a.mp4?token={PASSWORD}",
    "bad-address": f"http://me:{PASSWORD}@[half/a.mp4",
    "bad-host": f"http://me:{PASSWORD}@a..b/a.mp4",
    "bad-file-url": "file://[half/a.mp4",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("read", [read_frames, lambda name: open_source(name, timeout=1)], ids=["file", "stream"])
def test_names_are_shown_without_secrets_and_without_control_characters(name, read):
    with pytest.raises(VideoDecodingError) as caught:
        read(name)
    assert PASSWORD not in one_sentence(caught.value)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_the_name_of_a_file_object_is_shown_as_such():
    file = io.BytesIO(b"noise" * 100)
    file.name = f"http://me:{PASSWORD}@host/\x1b[2J"
    for read in (read_frames, open_source):
        with pytest.raises(VideoDecodingError) as caught:
            read(file)
        assert "http://host/\\x1b[2J" in one_sentence(caught.value) and PASSWORD not in str(caught.value)


def fuzzing() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts" / "fuzz_videos.py"
    spec = importlib.util.spec_from_file_location("fuzz_videos", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_damaged_files_are_frames_or_one_sentence():
    module = fuzzing()
    names = ("avi-mjpeg", "gif", "mkv-ffv1", "mov-png-alpha", "mp4-mpeg4", "ts-mpeg2")
    files = {name: module.encoded(*module.FORMATS[name]) for name in names}
    said = [one for number in range(120) for one in module.outcome(module.case(files, number)[1])]
    assert [one for one in said if one.startswith("FAULT")] == []
    assert said.count("frames") > 20 and len(set(said)) > 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork.")
def test_frames_of_before_do_no_harm_in_a_forked_process(tmp_path: Path) -> None:
    """As in workers of a data loader: what was decoded in the parent is freed in the child."""
    code = (
        "import av, gc, os, sys, time; from hf_ttr.video.picture import to_rgb\n"
        "with av.open(sys.argv[1]) as file: frames = list(file.decode(video=0))[:4]\n"
        "for frame in frames: to_rgb(frame)\n"
        "child = os.fork()\n"
        "if not child: frames.clear(); del frame; gc.collect(); os._exit(0)\n"
        "for _ in range(200):\n"
        "    done, status = os.waitpid(child, os.WNOHANG)\n"
        "    if done: sys.exit(os.waitstatus_to_exitcode(status))\n"
        "    time.sleep(0.05)\n"
        "os.kill(child, 9); sys.exit(1)"
    )
    demo = Path(hf_ttr.__file__).parent / "assets" / "demo.mp4"
    assert subprocess.run([sys.executable, "-c", code, str(demo)], timeout=60).returncode == 0
