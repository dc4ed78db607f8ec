"""The cameras that tests start are read like real ones, killed and found again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from hf_ttr.streaming import open_source
from hf_ttr.streaming.frame import Frame

from .services import MjpegCamera, RtspCamera, jpeg


RED, BLUE = (200, 30, 30), (30, 30, 200)


def first_of(frames: Iterator[Frame], colour: tuple[int, int, int], limit: int = 400) -> Frame:
    """The first frame that looks like a colour."""
    for _ in range(limit):
        frame = next(frames)
        if np.abs(np.asarray(frame.pixels).mean(axis=(0, 1)) - colour).max() < 30:
            return frame
    raise AssertionError(f"none of {limit} frames is {colour}")


def check(camera: RtspCamera | MjpegCamera) -> None:
    with closing(open_source(camera.url, live=True, timeout=10.0)) as source:
        frames = source.frames()
        assert np.asarray(first_of(frames, RED).pixels).shape == (64, 96, 3)
        camera.show([jpeg(BLUE)])
        seen = first_of(frames, BLUE).index
        camera.kill()
        camera.start()
        while source.reconnections == 0:
            last = next(frames).index
        # It counts on.
        assert last > seen and first_of(frames, BLUE).index > last


def test_an_mjpeg_camera_is_read_and_found_again() -> None:
    with MjpegCamera([jpeg(RED)], fps=30) as camera:
        check(camera)


def test_an_rtsp_camera_is_read_and_found_again(tmp_path: Path) -> None:
    with RtspCamera(tmp_path, [jpeg(RED)], fps=20, user="admin", password="secret") as camera:
        check(camera)
