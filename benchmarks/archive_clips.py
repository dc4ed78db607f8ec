"""An archive that is made here: clips of 1 to 20 seconds, broken in ten ways, one that hangs and one that kills."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np


FPS, SIZE = 10, (48, 64)
SECONDS = (1, 20)

HOOK = '''"""Opening a file of a certain name hangs a decoder, or ends it: stand-ins, as no such file is at hand."""
import os, signal, sys, time


def _audit(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        if arguments[0].endswith("hangs.mp4"):
            time.sleep(10**6)
        if arguments[0].endswith("kills.mp4"):
            os.kill(os.getpid(), signal.SIGSEGV)


if "hf_ttr.archive.decoder" in sys.orig_argv:
    sys.addaudithook(_audit)
'''
"""Of `sitecustomize`, for the processes that decode."""


@dataclass
class Made:
    """
    An archive.

    Attributes:
        folder: with the videos.
        hook: a folder for `PYTHONPATH`.
        good, broken: paths of the clips; broken ones by what is wrong with them.
    """

    folder: Path
    hook: Path
    good: list[str] = field(default_factory=list)
    broken: dict[str, list[str]] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        """All of them."""
        return sorted([*self.good, *(path for paths in self.broken.values() for path in paths)])


def make_archive(folder: Path, videos: int, broken: int, traps: bool = True) -> Made:
    """
    Writes an archive of `videos` clips.

    Args:
        folder: for it.
        videos (`int`): how many clips, broken ones and traps among them.
        broken (`int`): how many are broken, in ten ways by turns.
        traps (`bool`): whether one more hangs its decoder, and one kills it.
    """
    made = Made(folder / "archive", folder / "hook")
    made.hook.mkdir(parents=True)
    (made.hook / "sitecustomize.py").write_text(HOOK)
    chance = random.Random(0)
    good = videos - broken - 2 * traps
    for number in range(good):
        path = made.folder / f"{number % 20:02}" / f"{number:05}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, number, FPS * chance.randint(*SECONDS))
        made.good.append(str(path))
    for number in range(broken):
        name, spoil = list(WAYS.items())[number % len(WAYS)]
        path = made.folder / "broken" / f"{number:03} {name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        spoil(path, number)
        made.broken.setdefault(name, []).append(str(path))
    for name in ("hangs", "kills") if traps else ():
        path = made.folder / f"{name}.mp4"
        write_clip(path, 0, FPS)
        made.broken[name] = [str(path)]
    return made


def write_clip(path: Path, seed: int, frames: int) -> None:
    """A square that moves over noise that stands still."""
    own = np.random.default_rng(seed)
    height, width = SIZE
    still = own.integers(0, 256, (height, width, 3), dtype=np.uint8)
    row, colour = int(own.integers(0, height - 12)), own.integers(0, 256, 3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = height, width, "yuv420p", 400_000
        for number in range(frames):
            frame = still.copy()
            start = (seed + 2 * number) % (width - 12)
            frame[row : row + 12, start : start + 12] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _clip(path: Path, number: int) -> bytes:
    write_clip(path, number, 3 * FPS)
    return path.read_bytes()


def _cut(path: Path, number: int, share: float) -> None:
    content = _clip(path, number)
    path.write_bytes(content[: int(share * len(content))])


def _half_zeros(path: Path, number: int) -> None:
    content = _clip(path, number)
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def _no_frames(path: Path, number: int) -> None:
    write_clip(path, number, 0)


def _sound(path: Path, number: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


WAYS: dict[str, Callable[[Path, int], object]] = {
    "empty": lambda path, number: path.write_bytes(b""),
    "noise": lambda path, number: path.write_bytes(np.random.default_rng(number).bytes(4000)),
    "text": lambda path, number: path.write_text("this is no video\n" * 40),
    "cut in the middle": lambda path, number: _cut(path, number, 0.5),
    "cut at the start": lambda path, number: _cut(path, number, 0.02),
    "zeros from its middle on": _half_zeros,
    "without frames": _no_frames,
    "sound alone": _sound,
    "a folder": lambda path, number: path.mkdir(),
    "a link to nowhere": lambda path, number: os.symlink("gone.mp4", path),
}
"""What a clip can be spoiled by."""
