"""Pictures of which patches of a video were computed and which were reused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..storage.files import check_ending
from ..video import read_frames
from .patches import PatchGrid, as_map, blended, check_captions, checked_grid, greyed, one_for_each_row
from .sheet import BACKGROUND, COMPUTED_COLOUR, REUSED_COLOUR, Sheet, evenly, percent, swatches


LEGEND = swatches([("computed", BACKGROUND, COMPUTED_COLOUR), ("reused", REUSED_COLOUR, REUSED_COLOUR)])


def reuse_map(
    frames: Any,
    plan: Any,
    *,
    captions: Sequence[str] | None = None,
    title: str | None = None,
    columns: int = 6,
    width: int = 1200,
    prefix_tokens: int = 1,
    grid: tuple[int, int] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Image.Image:
    """
    Draws frames of a video and, below each, the patches of it that were computed, edged; the reused ones are pale.

    Args:
        frames: the frames of one stream as the model saw them: anything that `hf_ttr.video.read_frames` takes, such as
            a list of pictures, a `uint8` array of shape `(frames, height, width, 3)`, or floats in [0, 1].
        plan (`torch.BoolTensor` of shape `(frames, tokens)`): what was computed, `prefix_tokens` first, then the
            patches row by row: `output.reuse.plan[stream]` of a call with `output_reuse_plan=True`. That of a window
            has a row for each tubelet: pass it with `frames[::tubelet_size]` and `prefix_tokens=0`.
        captions (`Sequence[str]`, *optional*): what to write below each frame, such as its time; else its number.
        title (`str`, *optional*): the line on top; by default the share of all frames that was computed.
        columns (`int`, defaults to 6): how many frames to show, evenly chosen; all if there are fewer.
        width (`int`, defaults to 1200): of the picture, in pixels.
        prefix_tokens (`int`, defaults to 1): how many tokens of the plan belong to no patch, such as CLS.
        grid (`tuple[int, int]`, *optional*): rows and columns of patches; by default what fits the shape of a frame.
        path (`str` or `os.PathLike`, *optional*): PNG file to write, which appears once it is complete.

    Returns:
        `PIL.Image.Image`: the picture.

    Raises:
        ValueError: if frames, plan, captions, grid and prefix do not fit each other, or the path is not one of a PNG.
        OSError: if the file cannot be written.

    Example:

    ```python
    >>> import torch
    >>> import hf_ttr
    >>> from hf_ttr.visualization import reuse_map

    >>> plan = torch.rand(8, 1 + 14 * 14) < 0.2  # one stream of `output.reuse.plan`
    >>> reuse_map(hf_ttr.example("demo.mp4"), plan.repeat(8, 1)).size[0]
    1200
    ```
    """
    if path is not None:
        check_ending(path, [".png"], "the picture")
    computed = as_map(plan, "plan", "boolean", ("frames", "tokens"), prefix_tokens, "output.reuse.plan[stream]")
    chosen = evenly(len(computed), columns)
    check_captions(captions, len(computed), "plan")
    pixels, _ = read_frames(frames, one_for_each_row(len(computed), chosen, "plan"))
    grid = checked_grid(grid, computed.shape[1] - prefix_tokens, pixels[0].shape)

    sheet = Sheet(pixels[0].shape, grid, columns, width)
    share = computed.mean()
    sheet.add_title(f"{percent(share)} computed, {percent(1 - share)} reused" if title is None else title, LEGEND)
    tiles = [sheet.tile(frame) for frame in pixels]
    sheet.add_tiles(tiles)
    patches = computed[:, prefix_tokens:].reshape(-1, *grid)
    sheet.add_tiles([paint_reuse(tile, patches[index]) for index, tile in zip(chosen, tiles)])
    shares = [computed[index].mean() for index in chosen]
    sheet.add_bars(shares)
    sheet.add_captions(
        [f"frame {index + 1}" if captions is None else captions[index] for index in chosen],
        [(f"{percent(share)} computed", percent(share)) for share in shares],
    )
    return sheet.finish(path)


def paint_reuse(tile: np.ndarray, computed: np.ndarray) -> np.ndarray:
    """The tile, pale and without colour where its patches were reused, with an edge around those computed."""
    patches = PatchGrid.of(tile.shape, computed.shape)
    mask = patches.spread(computed)
    result = np.where(mask[..., None], tile, blended(greyed(tile), REUSED_COLOUR, 0.8))
    result[patches.edges(computed.astype(int)) & mask] = COMPUTED_COLOUR
    return result
