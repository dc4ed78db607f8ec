"""The video: its size, frames and speed as they are read back, and what its pictures show."""

from __future__ import annotations

import av
import numpy as np
import PIL.Image
import pytest

from hf_ttr.video import read_frames
from hf_ttr.visualization import reuse_video, sheet, video

from .clips import FRAMES, make_groups, make_maps


@pytest.mark.parametrize("overlay", ["computed", "groups", "age", "error"])
def test_every_frame_is_written(overlay, tmp_path):
    path = tmp_path / "a.mp4"
    reuse_video(FRAMES, make_maps(), path, overlay=overlay, width=301, fps=12.5)
    read, info = read_frames(path)
    assert len(read) == 9 and info.fps == 12.5 and info.width == 302 and info.height % 2 == 0
    with av.open(path) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")


def tiles(picture: np.ndarray, width: int = 480) -> tuple[np.ndarray, np.ndarray]:
    """The frame and what is beside it."""
    tile_width = (width - 2 * sheet.MARGIN - sheet.GAP) // 2
    height = round(tile_width * 32 / 48)
    top = sheet.MARGIN + round(round(25 * width / 1200) * 1.2) + sheet.GAP
    lefts = (sheet.MARGIN, sheet.MARGIN + tile_width + sheet.GAP)
    first, second = (picture[top : top + height, left : left + tile_width] for left in lefts)
    return first, second


def test_reused_patches_are_pale_beside_the_frame(tmp_path):
    reuse_video(FRAMES, make_maps(), tmp_path / "a.mp4", width=480)
    read, _ = read_frames(tmp_path / "a.mp4")
    for number, expected in ((0, 40), (8, 186)):
        frame, overlay = (np.median(tile) for tile in tiles(read[number]))
        assert abs(frame - 40) <= 3 and abs(overlay - expected) <= 3


def test_groups_are_those_of_the_layer(tmp_path):
    groups = make_groups()
    groups[..., -1] = -1
    maps = make_maps(groups=groups)
    for layer, expected in ((-1, 0), (0, 40)):
        reuse_video(FRAMES, maps, tmp_path / "a.mp4", overlay="groups", layer=layer, width=480)
        read, _ = read_frames(tmp_path / "a.mp4")
        assert abs(np.median(tiles(read[0])[1]) - expected) <= 3


def test_gif_has_every_frame_and_the_speed(tmp_path):
    reuse_video(FRAMES, make_maps(), tmp_path / "a.gif", width=300, fps=5)
    with PIL.Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == 9 and picture.info["duration"] == 200 and picture.info["loop"] == 0
        assert picture.width == 300


def test_speed_is_that_of_the_file(tmp_path):
    reuse_video(FRAMES, make_maps(), tmp_path / "a.mp4", width=300, fps=4)
    reuse_video(tmp_path / "a.mp4", make_maps(), tmp_path / "b.mp4", width=300, grid=(4, 6))
    assert read_frames(tmp_path / "b.mp4")[1].fps == 4
    reuse_video(FRAMES, make_maps(), tmp_path / "c.mp4", width=300)
    assert read_frames(tmp_path / "c.mp4")[1].fps == video.DEFAULT_FPS


def test_captions_tell_what_was_computed(tmp_path, monkeypatch):
    titles = []
    add = sheet.Sheet.add_title
    monkeypatch.setattr(sheet.Sheet, "add_title", lambda self, *given: titles.append(given[0]) or add(self, *given))
    options = {"captions": [f"{index} s" for index in range(2)], "width": 300}
    reuse_video(FRAMES[:2], make_maps(2), tmp_path / "a.gif", overlay="groups", layer=0, **options)
    reuse_video(FRAMES[:2], make_maps(2, computed=None), tmp_path / "a.gif", overlay="age", width=300)
    assert titles == [
        "0 s, 100 % computed, 25 rows before layer 1",
        "1 s, 4 % computed, 25 rows before layer 1",
        *["frame 1", "frame 2"],
    ]


BAD = {
    "overlay-unknown": ({"overlay": "heat"}, "overlay is 'heat', but must be one of 'computed'"),
    "overlay-missing": ({"maps": make_maps(age=None), "overlay": "age"}, "no map of age"),
    "layer": ({"overlay": "groups", "layer": 4}, "layers is \\[4\\]"),
    "fps": ({"fps": 0}, "fps is 0"),
    "captions": ({"captions": ["a"]}, "1 captions for the 9 frames"),
    "frames": ({"frames": FRAMES[:8]}, "8 frames, but the plan is of 9"),
    "width": ({"width": 50}, "width is 50"),
    "maximum": ({"overlay": "age", "maximum": -1}, "maximum is -1"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence_and_leaves_no_file(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        reuse_video(**{"frames": FRAMES, "maps": make_maps(), "path": tmp_path / "a.mp4", **changes})
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
