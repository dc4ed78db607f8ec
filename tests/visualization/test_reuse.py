"""The picture of reuse: which frames it shows, which patches stand out, and how it is saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from hf_ttr.visualization import reuse_map, sheet
from hf_ttr.visualization.sheet import COMPUTED_COLOUR, GAP, MARGIN

from .clips import FRAMES, make_plan


def tile(picture: PIL.Image.Image, place: int, columns: int = 6) -> np.ndarray:
    """The map below the frame in that place: 32 x 48 frames make tiles of 123 x 185 pixels."""
    width = (1200 - 2 * MARGIN - (columns - 1) * GAP) // columns
    height = round(width * 32 / 48)
    top = MARGIN + 30 + GAP + height + GAP
    left = MARGIN + place * (width + GAP)
    return np.asarray(picture)[top : top + height, left : left + width]


def test_computed_patches_keep_their_pixels_and_reused_ones_are_pale():
    plan = make_plan()
    plan[-1, 1 + 2 * 6 + 3] = True  # row 2 of 4, column 3 of 6
    last = tile(reuse_map(FRAMES, plan), 5)
    height, width = last.shape[:2]
    row, column = round(2.5 * height / 4), round(3.5 * width / 6)
    assert (last[row, column] == 40).all()
    assert (last[row, round(2.5 * width / 6)] > 150).all()
    assert (last[round(1.5 * height / 4), column] > 150).all()
    # An edge surrounds the patch.
    assert (last[row, round(3 * width / 6)] == COMPUTED_COLOUR).all()
    first = tile(reuse_map(FRAMES, plan), 0)
    assert (first[10:-10, 10:-10] == 40).all()


def test_plan_of_a_videomae_has_no_prefix():
    plan = make_plan(4)[:, 1:]
    plan[1:, 2 * 6 + 3] = True
    picture = reuse_map(FRAMES[::2][:4], plan, columns=4, prefix_tokens=0)
    last = tile(picture, 3, columns=4)
    height, width = last.shape[:2]
    assert (last[round(2.5 * height / 4), round(3.5 * width / 6)] == 40).all()
    assert (last[round(2.5 * height / 4), round(2.5 * width / 6)] > 150).all()
    with_cls = reuse_map(FRAMES[:4], torch.cat([torch.ones(4, 1, dtype=torch.bool), plan], dim=1), columns=4)
    assert (tile(with_cls, 3, columns=4) == last).all()


def test_frames_are_chosen_evenly_from_first_to_last(monkeypatch):
    written = []
    draw = sheet.shortened
    monkeypatch.setattr(sheet, "shortened", lambda text, *rest: written.append(text) or draw(text, *rest))
    reuse_map(FRAMES, make_plan(), columns=5, captions=[f"{index} s" for index in range(9)], title="A title")
    assert written == ["A title", "0 s", "2 s", "4 s", "6 s", "8 s"]


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_short_clips_make_pictures_of_the_same_width(frames):
    assert reuse_map(FRAMES[:frames], make_plan(frames)).width == 1200


@pytest.mark.parametrize(
    "frames",
    [
        torch.from_numpy(FRAMES),
        torch.from_numpy(FRAMES).movedim(-1, 1),
        [PIL.Image.fromarray(frame) for frame in FRAMES],
    ],
    ids=["tensor", "channels-first", "pictures"],
)
def test_frames_of_any_kind_make_the_same_picture(frames):
    assert (np.asarray(reuse_map(frames, make_plan())) == np.asarray(reuse_map(FRAMES, make_plan()))).all()


def test_long_title_and_captions_are_drawn():
    reuse_map(FRAMES, make_plan(), title="a very long title " * 20, captions=["a very long caption " * 9] * 9)


BAD = {
    "plan-of-a-batch": ({"plan": make_plan()[None]}, "reuse.plan"),
    "plan-of-numbers": ({"plan": make_plan().float()}, "boolean"),
    "plan-without-frames": ({"plan": make_plan()[:0]}, "boolean"),
    "plan-of-other-frames": ({"plan": make_plan(8)}, "9 frames, but the plan is of 8"),
    "plan-of-tubelets": ({"plan": make_plan(5)}, "the first of each tubelet"),
    "prefix-negative": ({"prefix_tokens": -1}, "prefix_tokens is -1"),
    "prefix-of-all-tokens": ({"prefix_tokens": 25}, "prefix_tokens is 25, but the plan has 25 tokens"),
    "captions-too-few": ({"captions": ["a"]}, "1 captions for the 9 frames"),
    "grid-of-other-patches": ({"grid": (5, 5)}, "5 x 5, but the plan has 24"),
    "columns-zero": ({"columns": 0}, "columns is 0"),
    "width-too-small": ({"width": 60}, "width is 60"),
    "path-of-other-kind": ({"path": "a.jpg"}, "'.png'"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        reuse_map(**{"frames": FRAMES, "plan": make_plan(), **changes})
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_file_holds_the_picture(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(b"what was there before")
    picture = reuse_map(FRAMES, make_plan(), path=path)
    assert (np.asarray(PIL.Image.open(path)) == np.asarray(picture)).all()
