"""Pictures of which tokens became one, layer by layer."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from PIL import Image

from ..storage.files import check_ending
from ..video import read_frames
from .patches import PatchGrid, as_map, blended, check_captions, checked_grid, one_for_each_row, patch_colours
from .sheet import BACKGROUND, Colour, Legend, Sheet, evenly, swatches


# How much of the mean colour of its group a patch has; the rest is what it shows.
MEAN_OPACITY = 0.75
# Hues a golden section of the circle apart are never close for numbers that are.
HUE_STEP, SATURATION, LIGHTNESS = 0.6180339887, 0.9, 0.55
LEFT_OUT_COLOUR, HATCH_COLOUR = (0, 0, 0), (90, 90, 90)


def group_map(
    frames: Any,
    groups: Any,
    *,
    layers: Sequence[int] | None = None,
    captions: Sequence[str] | None = None,
    title: str | None = None,
    columns: int = 4,
    width: int = 1200,
    prefix_tokens: int = 1,
    grid: tuple[int, int] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Image.Image:
    """
    Draws frames and, in a row for each layer, the groups of patches that one row of the layer stands for.

    Each patch has the mean colour of its group, in all frames, laid over what it shows. Borders between groups have a
    colour that belongs to the group, in every layer and frame. What was left out is black and hatched. The layers of a
    single frame, such as an image, are drawn side by side.

    Args:
        frames: the frames of one stream as the model saw them: anything that `hf_ttr.video.read_frames` takes, such as
            a list of pictures, a `uint8` array of shape `(frames, height, width, 3)`, or floats in [0, 1].
        groups (`torch.LongTensor` of shape `(frames, tokens, layers + 1)`): for each layer, as it begins, and behind
            the last, the number of the first token of each token's group, counted through the frames; -1 for a token
            that was left out: `output.reuse.maps.stream(number).groups` of a call with `output_token_maps=True`. That
            of a window has a row for each tubelet: pass it with `frames[::tubelet_size]` and `prefix_tokens=0`.
        layers (`Sequence[int]`, *optional*): which layers to show, from 0; -1 is behind the last. By default up to
            four, evenly chosen.
        captions (`Sequence[str]`, *optional*): what to write below each frame, such as its time; else its number.
        title (`str`, *optional*): the line on top; by default how many tokens became how many rows.
        columns (`int`, defaults to 4): how many frames to show, evenly chosen; all if there are fewer.
        width (`int`, defaults to 1200): of the picture, in pixels.
        prefix_tokens (`int`, defaults to 1): how many tokens of the groups belong to no patch, such as CLS.
        grid (`tuple[int, int]`, *optional*): rows and columns of patches; by default what fits the shape of a frame.
        path (`str` or `os.PathLike`, *optional*): PNG file to write, which appears once it is complete.

    Returns:
        `PIL.Image.Image`: the picture.

    Raises:
        ValueError: if frames, groups, layers, captions, grid and prefix do not fit each other, or the path is not one
            of a PNG.
        OSError: if the file cannot be written.

    Example:

    ```python
    >>> import torch
    >>> from hf_ttr.visualization import group_map

    >>> frame = torch.rand(1, 3, 224, 224)
    >>> groups = torch.arange(197).reshape(1, 197, 1).repeat(1, 1, 13)
    >>> groups[0, 2, 5:] = 1  # from the sixth layer on, the second patch is one with the first
    >>> group_map(frame, groups).size[0]
    1200
    ```
    """
    if path is not None:
        check_ending(path, [".png"], "the picture")
    groups = as_groups(groups, prefix_tokens)
    total = len(groups)
    shown = set_of_layers(layers, groups.shape[2])
    chosen = evenly(total, columns)
    check_captions(captions, total, "map of groups")
    numbers = count()

    def keep(frame: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        # A group has patches in frames that are not shown; of those no more than the mean colours are kept.
        fitting = checked_grid(grid, groups.shape[1] - prefix_tokens, frame.shape, "map of groups")
        return (frame if next(numbers) in chosen else None), patch_colours(frame, fitting)

    read, _ = read_frames(frames, one_for_each_row(total, range(total), "map of groups"), keep)
    pixels = [frame for frame, _ in read if frame is not None]
    colours = np.stack([means for _, means in read])
    patches = groups[:, prefix_tokens:].reshape(*colours.shape[:3], -1)

    if total == 1:
        columns = 1 + len(shown)
    sheet = Sheet(pixels[0].shape, colours.shape[1:3], columns, width)
    if title is None:
        title = f"{groups[..., 0].size} tokens, {row_count(groups[..., 0])} rows in the first layer"
        title += f", {row_count(groups[..., -1])} after the last"
    sheet.add_title(title, legend_of_groups(groups[..., shown]))
    tiles = [sheet.tile(frame) for frame in pixels]
    names = [f"frame {index + 1}" if captions is None else captions[index] for index in chosen]
    painted = []
    for layer in shown:
        means = mean_colours(colours, patches[..., layer])
        painted.append(
            [paint_groups(tile, patches[index, ..., layer], means[index]) for index, tile in zip(chosen, tiles)]
        )
    layer_names = [layer_name(layer, groups.shape[2]) for layer in shown]
    if total == 1:
        sheet.add_tiles([tiles[0], *(row[0] for row in painted)])
        sheet.add_captions([names[0], *layer_names], [("",), *(row_notes(groups[..., layer]) for layer in shown)])
        return sheet.finish(path)
    sheet.add_tiles(tiles)
    sheet.add_captions(names, [("",)] * len(names))
    for layer, name, row in zip(shown, layer_names, painted):
        sheet.add_heading(f"{name}: {row_count(groups[..., layer])} rows for {groups[..., layer].size} tokens")
        sheet.add_tiles(row)
        sheet.add_captions(names, [row_notes(groups[index, :, layer]) for index in chosen])
    return sheet.finish(path)


def as_groups(groups: Any, prefix_tokens: int) -> np.ndarray:
    """
    The groups of one stream as an array, checked.

    Raises:
        ValueError: if they are no groups of tokens.
    """
    source = "output.reuse.maps.stream(number).groups"
    array = as_map(groups, "map of groups", "integers", ("frames", "tokens", "layers + 1"), prefix_tokens, source)
    tokens = array.shape[0] * array.shape[1]
    if array.min() < -1 or array.max() >= tokens:
        raise ValueError(
            f"the map of groups goes from {array.min()} to {array.max()}, but must hold numbers of the {tokens} "
            f"tokens, or -1; pass `{source}`."
        )
    return array


def set_of_layers(layers: Sequence[int] | None, depth: int) -> list[int]:
    """
    The numbers of the layers to show; up to four if none are given.

    Raises:
        ValueError: if there is no such layer, or none is shown.
    """
    chosen = evenly(depth, 4) if layers is None else list(layers)
    if not chosen or any(not -depth <= layer < depth for layer in chosen):
        raise ValueError(
            f"layers is {chosen}, but the map of groups is of layers 0 to {depth - 1}; pass some of those."
        )
    return [layer % depth for layer in chosen]


def layer_name(layer: int, depth: int) -> str:
    """What to call the groups of that entry of the last dimension, of which there are `depth`."""
    return f"before layer {layer + 1}" if layer < depth - 1 else f"after layer {layer}"


def row_count(groups: np.ndarray) -> int:
    """How many rows stand for the tokens."""
    return len(np.unique(groups[groups >= 0]))


def row_notes(groups: np.ndarray) -> tuple[str, str]:
    """The number of rows in words, and alone."""
    rows = row_count(groups)
    return f"{rows} row{'s' if rows != 1 else ''}", str(rows)


def group_colour(number: int) -> Colour:
    """The colour of the borders of a group."""
    red, green, blue = colorsys.hls_to_rgb(number * HUE_STEP % 1, LIGHTNESS, SATURATION)
    return round(255 * red), round(255 * green), round(255 * blue)


def mean_colours(colours: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """To each patch `(frames, rows, columns, 3)` the mean colour of all patches of its group."""
    _, places = np.unique(groups, return_inverse=True)
    places = places.reshape(-1)
    flat = colours.reshape(-1, 3)
    sums = np.stack([np.bincount(places, flat[:, channel]) for channel in range(3)], axis=1)
    return (sums / np.bincount(places)[:, None])[places].reshape(colours.shape)


def paint_groups(tile: np.ndarray, groups: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """
    The tile with groups in their colours, and borders between them.

    Args:
        tile (`np.ndarray` of shape `(height, width, 3)`): what the frame shows.
        groups (`np.ndarray` of shape `(rows, columns)`): the number of each patch's group, -1 where it was left out.
        colours (`np.ndarray` of shape `(rows, columns, 3)`): the mean colours of the groups.
    """
    patches = PatchGrid.of(tile.shape, groups.shape)
    result = blended(tile, patches.spread(colours), MEAN_OPACITY)
    pixels = patches.spread(groups)
    borders = np.array([group_colour(number) for number in groups.flat], dtype=np.uint8).reshape(*groups.shape, 3)
    # A patch alone has a thin border, so that what is merged stands out.
    _, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    merged = patches.spread(sizes[places].reshape(groups.shape) > 1)
    edges = np.where(merged, patches.edges(groups), patches.edges(groups, thickness=1))
    result[edges] = patches.spread(borders)[edges]
    rows, columns = np.indices(pixels.shape)
    result[pixels < 0] = LEFT_OUT_COLOUR
    result[(pixels < 0) & ((rows + columns) % 8 < 2)] = HATCH_COLOUR
    return result


def legend_of_groups(groups: np.ndarray) -> Legend:
    """The legend of the groups that are shown."""
    entries = [("one row", BACKGROUND, group_colour(1))]
    if (groups < 0).any():
        entries.append(("left out", LEFT_OUT_COLOUR, HATCH_COLOUR))
    return swatches(entries)
