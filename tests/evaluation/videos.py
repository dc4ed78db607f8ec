"""Folders of tiny videos, some of them broken."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def write_video(path: Path, frames: np.ndarray) -> None:
    """Writes `uint8` frames of shape `(frames, height, width, 3)`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 2_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))


def moving_square(seed: int, count: int = 10, size: int = 48) -> np.ndarray:
    """A square that moves over noise that stands still."""
    random = np.random.default_rng(seed)
    clip = np.repeat(random.integers(0, 256, (1, size, size, 3), dtype=np.uint8), count, axis=0)
    row, column = random.integers(0, size - 12, 2)
    for number in range(count):
        start = (column + 2 * number) % (size - 12)
        clip[number, row : row + 12, start : start + 12] = random.integers(0, 256, 3)
    return clip


def make_folder(folder: Path, videos: int, broken: int = 0, labels: tuple[str, ...] = ("LABEL_0", "LABEL_1")) -> Path:
    """Videos in folders named by their classes; the last `broken` ones are noise."""
    for number in range(videos):
        path = folder / labels[number % len(labels)] / f"{number:03}.mp4"
        if number >= videos - broken:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(np.random.default_rng(number).bytes(2000))
        else:
            write_video(path, moving_square(number))
    return folder
