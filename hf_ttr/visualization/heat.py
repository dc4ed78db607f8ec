"""Pictures of a number for each patch of a video, such as the age of what it is made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..storage.files import check_ending
from ..video import read_frames
from .patches import PatchGrid, as_map, blended, check_captions, checked_grid, greyed, one_for_each_row
from .sheet import Legend, Sheet, colour_scale, evenly


# Lightness grows evenly from violet to yellow, so order is seen with any colour vision, and in print.
PALETTE = np.array(
    [
        (68, 1, 84),
        (72, 40, 120),
        (62, 74, 137),
        (49, 104, 142),
        (38, 130, 142),
        (31, 158, 137),
        (53, 183, 121),
        (110, 206, 88),
        (181, 222, 43),
        (253, 231, 37),
    ]
)
OPACITY = 0.75
# What to call the numbers of a map, with their unit.
LABELS = {"age": "age in frames", "error": "relative error"}


def heat_map(
    frames: Any,
    values: Any,
    *,
    name: str = "values",
    label: str | None = None,
    maximum: float | None = None,
    captions: Sequence[str] | None = None,
    title: str | None = None,
    columns: int = 6,
    width: int = 1200,
    prefix_tokens: int = 1,
    grid: tuple[int, int] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Image.Image:
    """
    Draws frames of a video and, below each, a number for each patch in colours from violet, 0, to yellow.

    Args:
        frames: the frames of one stream as the model saw them: anything that `hf_ttr.video.read_frames` takes, such as
            a list of pictures, a `uint8` array of shape `(frames, height, width, 3)`, or floats in [0, 1].
        values (`torch.Tensor` of shape `(frames, tokens)`): numbers of at least 0, `prefix_tokens` first, then the
            patches row by row. Those of a window have a row for each tubelet: pass them with
            `frames[::tubelet_size]` and `prefix_tokens=0`.
        name (`str`, defaults to `"values"`): what messages call the numbers.
        label (`str`, *optional*): what to write beside their scale, such as their unit; by default the name.
        maximum (`float`, *optional*): the number from which on patches are yellow; by default the largest of all.
        captions (`Sequence[str]`, *optional*): what to write below each frame, such as its time; else its number.
        title (`str`, *optional*): the line on top; by default the label with the mean and the largest of the numbers.
        columns (`int`, defaults to 6): how many frames to show, evenly chosen; all if there are fewer.
        width (`int`, defaults to 1200): of the picture, in pixels.
        prefix_tokens (`int`, defaults to 1): how many tokens of the values belong to no patch, such as CLS.
        grid (`tuple[int, int]`, *optional*): rows and columns of patches; by default what fits the shape of a frame.
        path (`str` or `os.PathLike`, *optional*): PNG file to write, which appears once it is complete.

    Returns:
        `PIL.Image.Image`: the picture.

    Raises:
        ValueError: if frames, values, captions, grid and prefix do not fit each other, or the path is not one of a
            PNG.
        OSError: if the file cannot be written.

    Example:

    ```python
    >>> import torch
    >>> from hf_ttr.visualization import heat_map

    >>> heat_map(torch.rand(8, 3, 224, 224), torch.rand(8, 197), name="attention").size[0]
    1200
    ```
    """
    if path is not None:
        check_ending(path, [".png"], "the picture")
    values = as_values(values, name, prefix_tokens)
    chosen = evenly(len(values), columns)
    check_captions(captions, len(values), f"map of {name}")
    pixels, _ = read_frames(frames, one_for_each_row(len(values), chosen, f"map of {name}"))
    grid = checked_grid(grid, values.shape[1] - prefix_tokens, pixels[0].shape, f"map of {name}")
    patches = values[:, prefix_tokens:].reshape(-1, *grid)
    maximum = top_of_scale(patches, maximum)

    sheet = Sheet(pixels[0].shape, grid, columns, width)
    label = name if label is None else label
    if title is None:
        title = f"{label}: {number_text(patches.mean())} on average, at most {number_text(patches.max())}"
    sheet.add_title(title, legend_of_scale(maximum, patches.max(), label))
    tiles = [sheet.tile(frame) for frame in pixels]
    sheet.add_tiles(tiles)
    sheet.add_tiles([paint_heat(tile, patches[index], maximum) for index, tile in zip(chosen, tiles)])
    means = [number_text(patches[index].mean()) for index in chosen]
    sheet.add_captions(
        [f"frame {index + 1}" if captions is None else captions[index] for index in chosen],
        [(f"mean {mean}", mean) for mean in means],
    )
    return sheet.finish(path)


def age_map(frames: Any, age: Any, **options: Any) -> Image.Image:
    """
    Draws frames of a video and, below each, how old what its patches are made of is, in frames.

    Args:
        frames: the frames of one stream, as in `heat_map`.
        age (`torch.LongTensor` of shape `(frames, tokens)`): frames between a token and the computed one that it is
            made of: `output.reuse.maps.stream(number).age` of a call with `output_token_maps=True`.
        options: `maximum`, `captions`, `title`, `columns`, `width`, `prefix_tokens`, `grid` and `path`, as in
            `heat_map`.

    Returns:
        `PIL.Image.Image`: the picture.

    Raises:
        ValueError: if frames, age and options do not fit each other.
        OSError: if the file cannot be written.

    Example:

    ```python
    >>> import torch
    >>> from hf_ttr.visualization import age_map

    >>> age = torch.arange(8)[:, None].repeat(1, 197)  # all is made of the first frame
    >>> age_map(torch.rand(8, 3, 224, 224), age, columns=8).size[0]
    1200
    ```
    """
    return heat_map(frames, age, name="age", label=LABELS["age"], **options)


def error_map(frames: Any, error: Any, **options: Any) -> Image.Image:
    """
    Draws frames of a video and, below each, how far its patches are from what they are made of.

    Args:
        frames: the frames of one stream, as in `heat_map`.
        error (`torch.FloatTensor` of shape `(frames, tokens)`): distance of each token's patch embedding to that of
            what it is made of, relative to the mean norm: `output.reuse.maps.stream(number).error` of a call with
            `output_token_maps=True`.
        options: `maximum`, `captions`, `title`, `columns`, `width`, `prefix_tokens`, `grid` and `path`, as in
            `heat_map`.

    Returns:
        `PIL.Image.Image`: the picture.

    Raises:
        ValueError: if frames, error and options do not fit each other.
        OSError: if the file cannot be written.

    Example:

    ```python
    >>> import torch
    >>> from hf_ttr.visualization import error_map

    >>> error_map(torch.rand(8, 3, 224, 224), 0.1 * torch.rand(8, 197), maximum=0.1).size[0]
    1200
    ```
    """
    return heat_map(frames, error, name="error", label=LABELS["error"], **options)


def as_values(values: Any, name: str, prefix_tokens: int) -> np.ndarray:
    """
    Numbers of the tokens of one stream as an array, checked.

    Raises:
        ValueError: if they are of another shape, or some is below 0 or no number.
    """
    source = f"output.reuse.maps.stream(number).{name}" if name in LABELS else f"one number for each token as {name}"
    array = as_map(values, f"map of {name}", "numbers", ("frames", "tokens"), prefix_tokens, source)
    if not np.isfinite(array).all() or array.min() < 0:
        raise ValueError(
            f"the map of {name} has entries that are negative or no numbers; pass finite ones of at least 0."
        )
    return array


def top_of_scale(patches: np.ndarray, maximum: float | None) -> float:
    """
    The number that has the last colour.

    Raises:
        ValueError: if the one given is not above 0.
    """
    if maximum is None:
        # Where all is 0 there is still a scale.
        return float(patches.max()) or 1.0
    if not 0 < maximum < float("inf"):
        raise ValueError(f"maximum is {maximum}, but must be a number above 0; leave it out for the largest value.")
    return float(maximum)


def heat_colours(shares: np.ndarray) -> np.ndarray:
    """The colours `(..., 3)` of places on the scale, from 0 to 1."""
    places = np.clip(shares, 0, 1) * (len(PALETTE) - 1)
    return np.stack([np.interp(places, np.arange(len(PALETTE)), channel) for channel in PALETTE.T], axis=-1)


def paint_heat(tile: np.ndarray, values: np.ndarray, maximum: float) -> np.ndarray:
    """The tile without its colours, under those of the values `(rows, columns)` of its patches."""
    colours = PatchGrid.of(tile.shape, values.shape).spread(heat_colours(values / maximum))
    return blended(greyed(tile), colours, OPACITY)


def legend_of_scale(maximum: float, largest: float, label: str) -> Legend:
    """The legend of colours as they look over grey, from 0 to the maximum."""
    colours = blended(np.full(3, 128), heat_colours(np.linspace(0, 1, 256)), OPACITY)
    high = number_text(maximum) + (" or more" if largest > maximum else "")
    return colour_scale(colours, f"{label} 0", high)


def number_text(number: float) -> str:
    """A number with two or three digits that matter."""
    return f"{float(number):.3g}" if abs(number) < 100 else f"{float(number):.0f}"
