"""Grids: which one fits, which pixels a patch has, and where its edges are."""

from __future__ import annotations

import numpy as np
import pytest

from hf_ttr.visualization.patches import PatchGrid, blended, checked_grid, patch_colours


@pytest.mark.parametrize(
    ("shape", "patches", "grid"),
    [((224, 224), 196, (14, 14)), ((32, 48), 24, (4, 6)), ((48, 32), 24, (6, 4)), ((10, 70), 7, (1, 7))],
    ids=str,
)
def test_grid_follows_the_shape_of_the_frames(shape, patches, grid):
    assert checked_grid(None, patches, (*shape, 3)) == grid


def test_pixels_have_the_value_of_their_patch_also_where_sizes_are_no_multiples():
    values = np.arange(6).reshape(2, 3)
    spread = PatchGrid.of((5, 7), (2, 3)).spread(values)
    assert spread.tolist() == [[0, 0, 1, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 4, 5, 5]] * 3


def test_edges_lie_inside_the_patches_that_differ():
    edges = PatchGrid.of((8, 16), (1, 2)).edges(np.array([[7, 7]]))
    inside = np.zeros((8, 16), dtype=bool)
    inside[2:-2, 2:-2] = True
    assert (edges == ~inside).all()
    edges = PatchGrid.of((8, 16), (1, 2)).edges(np.array([[7, 9]]), thickness=1)
    assert edges[4].tolist() == [True, *[False] * 6, True, True, *[False] * 6, True]


def test_mean_colours_of_patches_are_exact():
    frame = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    colours = patch_colours(frame, (2, 3))
    assert np.allclose(colours[1, 2], frame[2:, 5:].reshape(-1, 3).mean(axis=0), atol=1e-12)
    assert np.allclose(colours[0, 1], frame[:2, 2:5].reshape(-1, 3).mean(axis=0), atol=1e-12)


def test_blending_is_rounded():
    assert blended(np.array([0, 100, 255], dtype=np.uint8), (255, 0, 255), 0.75).tolist() == [191, 25, 255]
