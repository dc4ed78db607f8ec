"""What all pictures of tokens share: maps that are checked, frames that belong to them, and where patches lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image


# What `numpy.dtype.kind` is for each kind of map.
KINDS = {"boolean": "b", "integers": "iu", "numbers": "iuf"}


def as_map(values: Any, name: str, kind: str, axes: tuple[str, ...], prefix_tokens: int, source: str) -> np.ndarray:
    """
    A map of the tokens of one stream as an array, checked.

    Args:
        values: a tensor or an array.
        name: what to call it in messages.
        kind: of its entries, a key of `KINDS`.
        axes: their names; the first are frames and tokens.
        prefix_tokens: how many tokens belong to no patch.
        source: where such a map is found.

    Raises:
        ValueError: if it is of another kind or shape, or has no patch.
    """
    if not isinstance(prefix_tokens, int) or isinstance(prefix_tokens, bool) or prefix_tokens < 0:
        raise ValueError(f"prefix_tokens is {prefix_tokens!r}, but must be a whole number of at least 0.")
    if values is None:
        raise ValueError(f"there is no {name}; call the model with `output_token_maps=True`, and pass its maps.")
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.dtype.kind not in KINDS[kind] or array.ndim != len(axes) or 0 in array.shape:
        raise ValueError(
            f"the {name} has shape {array.shape} and type {array.dtype}, but must be {kind}, of shape "
            f"({', '.join(axes)}); pass `{source}`."
        )
    if array.shape[1] <= prefix_tokens:
        raise ValueError(
            f"prefix_tokens is {prefix_tokens}, but the {name} has {array.shape[1]} tokens; pass 1 for a {name} with "
            "CLS, 0 for that of a window."
        )
    return array


def one_for_each_row(rows: int, chosen: Sequence[int], name: str) -> Callable[[int], Sequence[int]]:
    """What `read_frames` is to read: the chosen frames, if there is one for each row of the map."""

    def select(total: int) -> Sequence[int]:
        if total != rows:
            raise ValueError(
                f"there are {total} frames, but the {name} is of {rows}; pass one for each row of the {name}, of a "
                "window the first of each tubelet."
            )
        return chosen

    return select


def check_captions(captions: Sequence[str] | None, rows: int, name: str) -> None:
    """
    Looks whether there is a caption for each frame, or none at all.

    Raises:
        ValueError: if not.
    """
    if captions is not None and len(captions) != rows:
        raise ValueError(f"there are {len(captions)} captions for the {rows} frames of the {name}.")


def checked_grid(
    grid: tuple[int, int] | None, patches: int, frame_shape: tuple[int, ...], name: str = "plan"
) -> tuple[int, int]:
    """
    Rows and columns of patches: those given, if they fit, or those that make the patches most nearly square.

    Raises:
        ValueError: if the grid has not as many patches as the map.
    """
    if grid is None:
        # Patches are square in most models: of all divisions take the one whose patches come closest.
        aspect = frame_shape[0] / frame_shape[1]
        rows = [rows for rows in range(1, patches + 1) if patches % rows == 0]
        best = min(rows, key=lambda number: abs(np.log(number * number / patches / aspect)))
        return best, patches // best
    if grid[0] * grid[1] != patches:
        raise ValueError(f"the grid is {grid[0]} x {grid[1]}, but the {name} has {patches} patches.")
    return grid


@dataclass(frozen=True)
class PatchGrid:
    """Where patches begin in a picture, and where the last ones end, in pixels: sizes are no multiples of patches."""

    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, ...], grid: tuple[int, int]) -> PatchGrid:
        """The grid of so many rows and columns in a picture `(height, width, ...)`."""
        return cls(*(np.linspace(0, side, number + 1).round().astype(int) for side, number in zip(shape, grid)))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """To each pixel the value of its patch: `(rows, columns, ...)` becomes `(height, width, ...)`."""
        return np.repeat(np.repeat(values, np.diff(self.rows), 0), np.diff(self.columns), 1)

    def edges(self, labels: np.ndarray, thickness: int = 2) -> np.ndarray:
        """Which pixels `(height, width)` of a patch lie at a neighbour of another label, or at the picture's end."""
        pixels = np.pad(self.spread(labels), thickness, constant_values=labels.min() - 1)
        height, width = (side - 2 * thickness for side in pixels.shape)
        inside = pixels[thickness:-thickness, thickness:-thickness]
        edges = np.zeros(inside.shape, dtype=bool)
        for row, column in ((0, 1), (2, 1), (1, 0), (1, 2)):
            top, left = row * thickness, column * thickness
            edges |= pixels[top : top + height, left : left + width] != inside
        return edges


def patch_colours(frame: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The mean colour of each patch of a frame, `(rows, columns, 3)`."""
    patches = PatchGrid.of(frame.shape, grid)
    sums = np.add.reduceat(frame, patches.rows[:-1], axis=0, dtype=np.float64)
    sums = np.add.reduceat(sums, patches.columns[:-1], axis=1)
    return sums / np.multiply.outer(np.diff(patches.rows), np.diff(patches.columns))[..., None]


def greyed(pixels: np.ndarray) -> np.ndarray:
    """The picture without its colours, still with three channels."""
    return np.repeat(np.asarray(Image.fromarray(pixels).convert("L"))[..., None], 3, axis=2)


def blended(pixels: np.ndarray, colours: Any, opacity: float) -> np.ndarray:
    """Colours laid over a picture."""
    return np.rint((1 - opacity) * pixels + opacity * np.asarray(colours)).astype(np.uint8)
