"""The pictures of age and error: their colours from end to end, and the legend."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_ttr.visualization import age_map, error_map, heat_map, sheet
from hf_ttr.visualization.heat import PALETTE, heat_colours, number_text, paint_heat, top_of_scale

from .clips import FRAMES, make_maps, patch


def test_ends_of_the_scale_have_the_end_colours():
    assert (heat_colours(np.array([0, 1, 2])) == PALETTE[[0, -1, -1]]).all()
    assert np.allclose(heat_colours(np.array(0.5 / 9)), PALETTE[:2].mean(axis=0))


def test_palette_grows_lighter_evenly():
    linear = ((PALETTE / 255 + 0.055) / 1.055) ** 2.4
    lightness = 116 * np.cbrt(np.where(PALETTE / 255 > 0.04, linear, PALETTE / 255 / 12.92) @ [0.2126, 0.7152, 0.0722])
    steps = np.diff(lightness)
    assert (steps > 5).all() and steps.max() < 2 * steps.min()


def test_patches_have_the_colour_of_their_value_over_grey():
    frame = np.zeros((8, 24, 3), dtype=np.uint8)
    frame[..., 1] = 200
    grey = round(200 * 0.587)
    result = paint_heat(frame, np.array([[0, 2, 9]]), 4.0)
    for column, share in enumerate((0, 0.5, 1)):
        expected = np.rint(0.25 * grey + 0.75 * heat_colours(np.array(share)))
        assert (patch(result, 0, column, (1, 3)) == expected).all()


def last_tile(picture) -> np.ndarray:
    width = (1200 - 2 * sheet.MARGIN - 5 * sheet.GAP) // 6
    height = round(width * 32 / 48)
    top = sheet.MARGIN + 30 + sheet.GAP + height + sheet.GAP
    left = sheet.MARGIN + 5 * (width + sheet.GAP)
    return np.asarray(picture)[top : top + height, left : left + width]


def test_oldest_patch_is_yellow():
    age = make_maps().age
    age[-1, 1:] = 0
    age[-1, 2] = 20
    pixels = last_tile(age_map(FRAMES, age))
    assert patch(pixels, 0, 1).tolist() == [200, 183, 38]
    assert patch(pixels, 0, 0).tolist() == [61, 11, 73]


def test_values_above_the_maximum_are_yellow_too():
    error = torch.full((9, 25), 0.4)
    assert (last_tile(error_map(FRAMES, error, maximum=0.1)) == [200, 183, 38]).all()


def test_prefix_counts_for_nothing():
    values = torch.zeros(9, 25)
    values[:, 0] = 7
    values[0, 1] = 1
    expected = heat_map(FRAMES, values[:, 1:], prefix_tokens=0)
    assert (np.asarray(heat_map(FRAMES, values)) == np.asarray(expected)).all()


TITLES = {
    "age": (age_map, torch.arange(9)[:, None].repeat(1, 25), {}, "age in frames: 4 on average, at most 8", "8"),
    "error": (
        error_map,
        torch.full((9, 25), 0.123456),
        {},
        "relative error: 0.123 on average, at most 0.123",
        "0.123",
    ),
    "cut-off": (
        error_map,
        torch.full((9, 25), 0.5),
        {"maximum": 0.25},
        "relative error: 0.5 on average, at most 0.5",
        "0.25 or more",
    ),
}


@pytest.mark.parametrize(("draw", "values", "options", "title", "high"), TITLES.values(), ids=TITLES)
def test_title_and_legend_have_numbers(draw, values, options, title, high, monkeypatch):
    titles, scales = [], []
    add = sheet.Sheet.add_title
    monkeypatch.setattr(sheet.Sheet, "add_title", lambda self, *given: titles.append(given[0]) or add(self, *given))
    scale = sheet.colour_scale
    monkeypatch.setattr(
        "hf_ttr.visualization.heat.colour_scale", lambda *given: scales.append(given[1:]) or scale(*given)
    )
    draw(FRAMES, values, **options)
    assert titles == [title]
    assert scales == [(f"{title.split(':')[0]} 0", high)]


def test_numbers_are_short():
    texts = [number_text(number) for number in (0, 3, 0.012345, 12.345, 1234.5)]
    assert texts == ["0", "3", "0.0123", "12.3", "1234"]


def test_scale_of_nothing_but_zeros_has_an_end():
    assert top_of_scale(np.zeros(3), None) == 1.0


BAD = {
    "none": ({"values": None}, "no map of values"),
    "of-a-batch": ({"values": torch.zeros(1, 9, 25)}, "must be numbers, of shape \\(frames, tokens\\)"),
    "boolean": ({"values": torch.zeros(9, 25) > 0}, "must be numbers"),
    "negative": ({"values": torch.full((9, 25), -1.0)}, "negative"),
    "nan": ({"values": torch.full((9, 25), float("nan"))}, "no numbers"),
    "of-other-frames": ({"values": torch.zeros(8, 25)}, "9 frames, but the map of values is of 8"),
    "maximum-zero": ({"maximum": 0}, "maximum is 0"),
    "maximum-infinite": ({"maximum": float("inf")}, "maximum is inf"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        heat_map(**{"frames": FRAMES, "values": torch.zeros(9, 25), **changes})
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
