"""The picture of groups: colours, borders, what was left out, and which layers it shows."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch

from hf_ttr.visualization import group_map, sheet
from hf_ttr.visualization.groups import (
    LEFT_OUT_COLOUR,
    group_colour,
    layer_name,
    mean_colours,
    paint_groups,
    row_count,
    set_of_layers,
)
from hf_ttr.visualization.patches import patch_colours

from .clips import FRAMES, PATCHES, make_groups, patch


def painted(frame: np.ndarray, groups: np.ndarray) -> np.ndarray:
    colours = mean_colours(patch_colours(frame, groups.shape)[None], groups[None])[0]
    return paint_groups(frame, groups, colours)


def test_merged_patches_have_the_exact_mean_of_their_colours():
    frame = np.zeros((16, 48, 3), dtype=np.uint8)
    frame[:, 16:32] = (40, 80, 120)
    frame[:, 32:] = (200, 100, 0)
    result = painted(frame, np.array([[0, 1, 1]]))
    # The mean (120, 90, 60) has three quarters, the patch one.
    assert patch(result, 0, 0, (1, 3)).tolist() == [0, 0, 0]
    assert patch(result, 0, 1, (1, 3)).tolist() == [100, 88, 75]
    assert patch(result, 0, 2, (1, 3)).tolist() == [140, 92, 45]


def test_mean_is_over_all_frames():
    colours = np.zeros((2, 1, 2, 3))
    colours[0, 0, 0], colours[1, 0, 0], colours[1, 0, 1] = 30, 60, 90
    means = mean_colours(colours, np.array([[[0, 1]], [[0, 0]]]))
    assert means[..., 0].tolist() == [[[60, 0]], [[60, 60]]]


def test_border_surrounds_a_group_in_its_colour():
    frame = np.full((32, 48, 3), 40, dtype=np.uint8)
    groups = np.arange(24).reshape(4, 6)
    groups[1, 2] = groups[1, 1] = 7
    result = painted(frame, groups)
    # Patch (1, 1) spans the columns 8 to 15, patch (1, 2) those to 23: no border between them.
    assert (result[8, 8:24] == group_colour(7)).all() and (result[15, 8:24] == group_colour(7)).all()
    assert (result[12, 8:10] == group_colour(7)).all() and (result[12, 22:24] == group_colour(7)).all()
    assert (result[12, 10:22] == 40).all()
    # A patch alone has a border half as thick.
    assert (result[12, 24] == group_colour(9)).all() and (result[12, 25] == 40).all()


def test_left_out_patches_are_black_and_hatched():
    frame = np.full((32, 48, 3), 200, dtype=np.uint8)
    groups = np.arange(24).reshape(4, 6)
    groups[0, 0] = -1
    corner = painted(frame, groups)[:8, :8]
    assert {tuple(colour) for colour in corner.reshape(-1, 3).tolist()} == {LEFT_OUT_COLOUR, (90, 90, 90)}


def tile(picture: PIL.Image.Image, place: int, row: int) -> np.ndarray:
    """The tile in that row of tiles, of a picture of four columns."""
    pixels = np.asarray(picture)
    width = (1200 - 2 * sheet.MARGIN - 3 * sheet.GAP) // 4
    height, line = round(width * 32 / 48), sheet.font(16).size * 1.35
    top = sheet.MARGIN + 30 + sheet.GAP + row * (height + sheet.GAP + round(line)) + row * round(2 * line)
    left = sheet.MARGIN + place * (width + sheet.GAP)
    return pixels[top : top + height, left : left + width]


def test_group_has_one_colour_in_every_layer_and_frame():
    groups = make_groups()
    groups[8, 1 + 8] = 1 + 8  # the patch in row 1, column 2 of the last frame is one with that of the first
    picture = group_map(FRAMES, groups)
    for layer in range(4):
        for place in (0, 3):
            pixels = tile(picture, place, 1 + layer)
            height, width = pixels.shape[:2]
            assert tuple(pixels[round(1.5 * height / 4), round(2 * width / 6)]) == group_colour(9)


def test_layers_can_be_chosen():
    groups = make_groups()
    groups[..., 3] = -1
    picture = group_map(FRAMES, groups, layers=[0, -1])
    assert (patch(tile(picture, 0, 1), 1, 1) == 40).all()
    assert (tile(picture, 0, 2).max(axis=2) <= 90).all()


def test_captions_tell_how_many_rows_are_left(monkeypatch):
    written = []
    draw = sheet.shortened
    monkeypatch.setattr(sheet, "shortened", lambda text, *rest: written.append(text) or draw(text, *rest))
    notes = []
    add = sheet.Sheet.add_captions
    monkeypatch.setattr(sheet.Sheet, "add_captions", lambda self, *given: notes.append(given[1]) or add(self, *given))
    groups = make_groups(2)
    groups[0, 1:, 3] = 1
    groups[1, 1:, 3] = -1
    group_map(FRAMES[:2], groups, layers=[0, 3])
    assert written == [
        "50 tokens, 50 rows in the first layer, 3 after the last",
        *["frame 1", "frame 2"],
        "before layer 1: 50 rows for 50 tokens",
        *["frame 1", "frame 2"],
        "after layer 3: 3 rows for 50 tokens",
        *["frame 1", "frame 2"],
    ]
    assert notes[1:] == [[("25 rows", "25")] * 2, [("2 rows", "2"), ("1 row", "1")]]


def test_layers_of_an_image_are_side_by_side():
    image = PIL.Image.fromarray(FRAMES[0])
    picture = group_map(image, make_groups(1), layers=[0, 3])
    assert picture.width == 1200 and picture.height < 400
    width = (1200 - 2 * sheet.MARGIN - 2 * sheet.GAP) // 3
    # The frame itself has no borders, the two layers do.
    row = np.asarray(picture)[sheet.MARGIN + 30 + sheet.GAP]
    assert (row[sheet.MARGIN] == 40).all()
    assert tuple(row[sheet.MARGIN + width + sheet.GAP]) == group_colour(1)
    assert tuple(row[sheet.MARGIN + 2 * (width + sheet.GAP)]) == group_colour(1)


def test_map_of_a_videomae_has_no_prefix():
    picture = group_map(FRAMES, make_groups(prefix_tokens=0), prefix_tokens=0)
    corner = tile(picture, 0, 1)[0, 0]
    assert tuple(corner) == group_colour(0)


def test_layers_are_named_as_they_begin():
    assert [layer_name(layer, 4) for layer in range(4)] == [
        "before layer 1",
        "before layer 2",
        "before layer 3",
        "after layer 3",
    ]
    assert set_of_layers(None, 13) == [0, 4, 8, 12]
    assert row_count(np.array([3, 3, -1, 5])) == 2


BAD = {
    "none": ({"groups": None}, "no map of groups; call the model with `output_token_maps=True`"),
    "of-a-batch": ({"groups": make_groups()[None]}, "must be integers, of shape \\(frames, tokens, layers \\+ 1\\)"),
    "of-floats": ({"groups": make_groups().float()}, "must be integers"),
    "too-high": ({"groups": make_groups() + 9}, "from 9 to 233, but must hold numbers of the 225 tokens"),
    "too-low": ({"groups": make_groups() - 2}, "from -2 to 222"),
    "of-other-frames": ({"groups": make_groups(8)}, "9 frames, but the map of groups is of 8"),
    "prefix-of-all": ({"prefix_tokens": 1 + PATCHES}, "prefix_tokens is 25"),
    "no-such-layer": ({"layers": [0, 4]}, "layers is \\[0, 4\\], but the map of groups is of layers 0 to 3"),
    "no-layer": ({"layers": []}, "layers is \\[\\]"),
    "grid": ({"grid": (5, 5)}, "5 x 5, but the map of groups has 24"),
    "captions": ({"captions": ["a"]}, "1 captions for the 9 frames"),
    "columns": ({"columns": 0}, "columns is 0"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        group_map(**{"frames": torch.from_numpy(FRAMES), "groups": make_groups(), **changes})
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
