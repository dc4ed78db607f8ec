"""Parts of pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_ttr.streaming.crop import Crop


@pytest.mark.parametrize(
    "values",
    [(0, 0, 0, 1), (0, 0.5, 1, 0.5), (-0.1, 0, 1, 1), (0, 0, 1.1, 1), (0, 0, float("nan"), 1), (0, 0, "1", 1)],
)
def test_what_is_no_part_of_a_picture_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="a crop is .*, but must be left, top, right and bottom from 0 to 1"):
        Crop(*values)


def test_a_part_is_where_it_should_be() -> None:
    pixels = np.arange(100 * 200 * 3).reshape(100, 200, 3)
    np.testing.assert_array_equal(Crop(0.1, 0.3, 0.7, 1.0).of(pixels), pixels[30:100, 20:140])
    np.testing.assert_array_equal(Crop(0, 0, 1, 1).of(pixels), pixels)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.integers(1, 40), st.integers(1, 40))
def test_it_is_never_empty(values: list[float], height: int, width: int) -> None:
    left, top, right, bottom = values
    if left >= right or top >= bottom:
        return
    part = Crop(left, top, right, bottom).of(np.zeros((height, width, 3)))
    assert 1 <= part.shape[0] <= height and 1 <= part.shape[1] <= width
