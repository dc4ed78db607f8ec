"""What this package drew is known by a mark in it, and nothing else is replaced."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from hf_ttr.execution.token_maps import TokenMaps
from hf_ttr.storage.ownership import TakenError, check_replaceable, is_ours
from hf_ttr.visualization import reuse_map, reuse_page, reuse_video


FRAMES = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
PLAN = torch.rand(3, 17, generator=torch.Generator().manual_seed(0)) < 0.5


def draw(path: Path) -> None:
    if path.suffix == ".html":
        reuse_page(FRAMES, TokenMaps(computed=PLAN), path)
    elif path.suffix == ".png":
        reuse_map(FRAMES, PLAN, path=path)
    else:
        reuse_video(FRAMES, TokenMaps(computed=PLAN), path)


def draw_another(path: Path) -> None:
    """What others make of the same kind."""
    if path.suffix == ".html":
        path.write_text("<html><body>about hf-ttr</body></html>")
    elif path.suffix == ".mp4":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width = stream.height = 32
            container.mux(stream.encode(av.VideoFrame.from_ndarray(FRAMES[0], format="rgb24")))
            container.mux(stream.encode(None))
    else:
        Image.fromarray(FRAMES[0]).save(path)


@pytest.mark.parametrize("name", ["a.html", "a.png", "a.mp4", "a.gif"])
def test_what_is_drawn_may_be_drawn_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    check_replaceable(path, "--out")
    draw(path)
    assert is_ours(path)
    check_replaceable(path, "--out")


@pytest.mark.parametrize("name", ["a.html", "a.png", "a.mp4", "a.gif"])
@pytest.mark.parametrize("kind", ["of its kind", "empty", "noise", "a link to nothing"])
def test_nothing_else_is_replaced(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "of its kind":
        draw_another(path)
    elif kind == "a link to nothing":
        path.symlink_to(tmp_path / "nowhere")
    else:
        path.write_bytes(b"" if kind == "empty" else np.random.default_rng(1).bytes(5000))
    with pytest.raises(TakenError, match="is there already, and was not made by hf-ttr; pass another --out, or"):
        check_replaceable(path, "--out")
    check_replaceable(path, "--out", overwrite=True)


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(TakenError, match="is a folder; pass another --picture"):
        check_replaceable(tmp_path, "--picture", overwrite=True)
