from __future__ import annotations

import pytest
import torch

from hf_ttr.planning.importance import neighbourhood_mean, saliency_weights, spread_over_neighbours


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("grid", [(1, 1), (4, 4), (3, 7), (6, 2)], ids=lambda grid: f"{grid[0]}x{grid[1]}")
def test_neighbourhood_mean_is_cut_off_at_the_border(grid: tuple[int, int], size: int) -> None:
    rows, columns = grid
    values = torch.randn(3, rows * columns, dtype=torch.float64)
    expected = torch.empty(3, rows, columns, dtype=torch.float64)
    reach = size // 2
    for row in range(rows):
        for column in range(columns):
            square = values.view(3, rows, columns)[
                :, max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1
            ]
            expected[:, row, column] = square.mean((1, 2))
    torch.testing.assert_close(neighbourhood_mean(values, grid, size), expected.flatten(1))


def test_weights_have_mean_one_and_keep_the_order() -> None:
    saliency = torch.tensor([[1.0, 4.0, 9.0, 16.0], [0.1, 0.1, 0.1, 0.1]])
    weights = saliency_weights(saliency, 0.5)
    torch.testing.assert_close(weights, torch.tensor([[0.4, 0.8, 1.2, 1.6], [1.0, 1.0, 1.0, 1.0]]))


@pytest.mark.parametrize(
    ("saliency", "exponent"),
    [([0.2, 0.5, 0.0], 0.0), ([float("nan")] * 3, 0.5), ([0.0, 0.0, 0.0], 0.5)],
    ids=["exponent-0", "unknown", "no-attention-at-all"],
)
def test_weights_are_one_where_nothing_is_to_be_weighed(saliency: list[float], exponent: float) -> None:
    assert saliency_weights(torch.tensor([saliency]), exponent).tolist() == [[1.0, 1.0, 1.0]]


def test_unknown_streams_do_not_disturb_the_others() -> None:
    saliency = torch.tensor([[float("nan"), float("nan")], [1.0, 9.0]])
    assert saliency_weights(saliency, 0.5).tolist() == [[1.0, 1.0], [0.5, 1.5]]


def test_spreading_adds_the_mean_of_the_surroundings() -> None:
    squared = torch.zeros(1, 12)
    squared[0, 5] = 36.0  # Row 1, column 1 of 3 x 4.
    expected = torch.zeros(3, 4)
    for row in range(3):
        for column in range(3):
            patches = (2 if row in (0, 2) else 3) * (2 if column == 0 else 3)
            expected[row, column] = 4 * 36 / patches
    expected[1, 1] += 36
    torch.testing.assert_close(spread_over_neighbours(squared, (3, 4), 4.0, 3), expected.flatten()[None])


def test_spreading_treats_streams_and_further_dimensions_alone() -> None:
    values = torch.randn(2, 12, 3, 5)
    spread = spread_over_neighbours(values, (3, 4), 1.5, 3)
    assert spread.shape == values.shape
    for stream in range(2):
        for row in range(3):
            for column in range(5):
                alone = spread_over_neighbours(values[stream : stream + 1, :, row, column], (3, 4), 1.5, 3)
                torch.testing.assert_close(spread[stream, :, row, column], alone[0])


def test_weight_0_leaves_all_as_it_is() -> None:
    values = torch.randn(2, 12, 3)
    assert torch.equal(spread_over_neighbours(values, (3, 4), 0, 5), values)
