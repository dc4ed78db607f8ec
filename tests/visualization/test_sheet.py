"""Sheets of tiles: which frames are chosen, and how texts are fitted."""

from __future__ import annotations

import numpy as np
import pytest

from hf_ttr.visualization.sheet import Sheet, evenly, font, percent, shortened


@pytest.mark.parametrize(
    ("total", "columns", "chosen"),
    [(9, 5, [0, 2, 4, 6, 8]), (3, 6, [0, 1, 2]), (9, 1, [0]), (7, 4, [0, 2, 4, 6])],
    ids=str,
)
def test_choice_is_even_from_first_to_last(total, columns, chosen):
    assert evenly(total, columns) == chosen


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (0.001, "1 %"), (0.5, "50 %"), (0.999, "99 %"), (1, "100 %")], ids=str
)
def test_shares_reach_0_and_100_only_when_they_are(share, text):
    assert percent(share) == text


def test_long_texts_lose_their_end():
    assert shortened("short", font(20), 200) == "short"
    short = shortened("a very long title " * 20, font(20), 200)
    assert short.endswith("...") and font(20).getlength(short) <= 200


def test_texts_of_several_lines_become_one():
    assert shortened("two\nlines", font(20), 200) == "two lines"


@pytest.mark.parametrize("width", [1200, 4800])
def test_title_has_room_below_its_baseline(width):
    drawn = Sheet((32, 48), (4, 6), 6, width)
    drawn.add_title("gypq", lambda draw, font, corner: corner[0])
    rows = (np.asarray(drawn.strips[0]) != 255).any(axis=(1, 2))
    assert rows.any() and not rows[-1]
