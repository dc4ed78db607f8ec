"""Stand-in models and clips, as files."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from hf_ttr import TemporalReuseVideoProcessor, with_temporal_reuse

from ..tiny import tiny_parent, tiny_video_classifier, tiny_videomae


def write_clip(path: Path, frames: int = 12, seed: int = 0) -> Path:
    """A video file in which a small square crosses a still picture."""
    pixels = np.random.default_rng(seed).integers(0, 120, (48, 48, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 48, 48, "yuv420p", 4_000_000
        for index in range(frames):
            picture = pixels.copy()
            picture[16:24, 2 * index : 2 * index + 8] = 160
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clip.mp4`, of 12 frames, and the models `reuse`, `vit`, `videomae-reuse` and `videomae`.

    Those with reuse are causal, with threshold 0.2; a VideoMAE takes 8 frames.
    """
    folder = tmp_path_factory.mktemp("files")
    write_clip(folder / "clip.mp4")
    processor = TemporalReuseVideoProcessor(size={"height": 24, "width": 24})
    models = {
        "reuse": tiny_video_classifier(mode="causal", threshold=0.2),
        "vit": tiny_parent(),
        "videomae-reuse": with_temporal_reuse(tiny_videomae(), {"mode": "causal", "threshold": 0.2}),
        "videomae": tiny_videomae(),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test that looks up a host."""

    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail(f"the network was asked for {args[:2]}")

    monkeypatch.setattr("socket.getaddrinfo", refuse)


@pytest.fixture
def runner() -> CliRunner:
    """Calls commands in this process, in a wide terminal."""
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
