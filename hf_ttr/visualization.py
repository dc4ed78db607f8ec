"""Pictures of which patches of a video were computed and which were reused."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .video import read_frames


__all__ = ["reuse_map"]

# Dark orange and pale grey differ in lightness as well as in hue, so they are told apart with any colour vision.
COMPUTED_COLOUR = (230, 110, 0)
REUSED_COLOUR = (222, 225, 230)
BACKGROUND = (255, 255, 255)
TEXT_COLOUR = (33, 37, 43)

MARGIN, GAP = 20, 10
FONT_SIZES = {"title": 25, "text": 16}


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
            patches row by row: `output.reuse.plan[stream]` of a call with `output_reuse_plan=True`. That of a VideoMAE
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
    >>> from hf_ttr.visualization import reuse_map

    >>> plan = torch.rand(8, 1 + 14 * 14) < 0.2  # one stream of `output.reuse.plan`
    >>> reuse_map("hf_ttr/assets/demo.mp4", plan.repeat(8, 1)).size[0]
    1200
    ```
    """
    if path is not None and not os.fspath(path).lower().endswith(".png"):
        raise ValueError(f"the picture '{os.fspath(path)}' is written as PNG; end its name in '.png'.")
    computed = _as_plan(plan, prefix_tokens)
    if columns < 1:
        raise ValueError(f"columns is {columns}, but must be at least 1.")
    if captions is not None and len(captions) != len(computed):
        raise ValueError(f"there are {len(captions)} captions for the {len(computed)} frames of the plan.")
    chosen = np.linspace(0, len(computed) - 1, min(columns, len(computed))).round().astype(int).tolist()

    def choose(total: int) -> list[int]:
        if total != len(computed):
            raise ValueError(
                f"there are {total} frames, but the plan is of {len(computed)}; pass one for each row of the plan, of "
                "a VideoMAE the first of each tubelet."
            )
        return chosen

    pixels, _ = read_frames(frames, choose)
    grid = _checked_grid(grid, computed.shape[1] - prefix_tokens, pixels[0].shape)

    # A picture of few frames is as wide as one of many, with tiles of the same size.
    tile_width = (width - 2 * MARGIN - (columns - 1) * GAP) // columns
    tile_size = (tile_width, round(tile_width * pixels[0].shape[0] / pixels[0].shape[1]))
    if min(tile_size) < max(grid):
        raise ValueError(
            f"width is {width}, which is too little for {columns} frames of {grid[0]} x {grid[1]} patches."
        )
    fonts = {name: _font(round(size * width / 1200)) for name, size in FONT_SIZES.items()}
    line = fonts["text"].size * 1.35

    header = MARGIN + round(fonts["title"].size * 1.2) + GAP
    maps = header + tile_size[1] + GAP
    bars = maps + tile_size[1] + GAP
    bar_height = max(4, round(line / 3))
    height = round(bars + bar_height + GAP / 2 + line + MARGIN / 2)
    picture = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(picture)

    shares = computed.mean(axis=1)
    room = _draw_legend(draw, fonts["text"], (width - MARGIN, header - GAP)) - MARGIN
    if title is None:
        title = f"{_percent(computed.mean())} computed, {_percent(1 - computed.mean())} reused"
    draw.text((MARGIN, header - GAP), _shortened(title, fonts["title"], room), TEXT_COLOUR, fonts["title"], "ls")
    for place, (index, frame) in enumerate(zip(chosen, pixels)):
        left = MARGIN + place * (tile_width + GAP)
        tile = Image.fromarray(frame).resize(tile_size, Image.Resampling.LANCZOS)
        picture.paste(tile, (left, header))
        picture.paste(_draw_map(tile, computed[index, prefix_tokens:].reshape(grid)), (left, maps))
        draw.rectangle((left, bars, left + tile_width - 1, bars + bar_height), REUSED_COLOUR)
        lit = max(2, round(shares[index] * tile_width))
        draw.rectangle((left, bars, left + lit - 1, bars + bar_height), COMPUTED_COLOUR)
        baseline = round(bars + bar_height + GAP / 2 + line * 0.8)
        caption = f"frame {index + 1}" if captions is None else captions[index]
        share = f"{_percent(shares[index])} computed"
        if fonts["text"].getlength(f"{caption}  {share}") > tile_width:
            share = _percent(shares[index])
        room = tile_width - round(fonts["text"].getlength(f"  {share}"))
        draw.text((left, baseline), _shortened(caption, fonts["text"], room), TEXT_COLOUR, fonts["text"], anchor="ls")
        draw.text((left + tile_width, baseline), share, TEXT_COLOUR, fonts["text"], anchor="rs")
    if path is not None:
        _save(picture, path)
    return picture


def _as_plan(plan: Any, prefix_tokens: int) -> np.ndarray:
    if not isinstance(prefix_tokens, int) or isinstance(prefix_tokens, bool) or prefix_tokens < 0:
        raise ValueError(f"prefix_tokens is {prefix_tokens!r}, but must be a whole number of at least 0.")
    array = np.asarray(plan.detach().cpu() if hasattr(plan, "detach") else plan)
    if array.dtype != bool or array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 1:
        raise ValueError(
            f"the plan has shape {array.shape} and type {array.dtype}, but must be boolean, of shape (frames, "
            "tokens); pass `output.reuse.plan[stream]`."
        )
    if array.shape[1] <= prefix_tokens:
        raise ValueError(
            f"prefix_tokens is {prefix_tokens}, but the plan has {array.shape[1]} tokens; pass 1 for a plan with CLS, "
            "0 for that of a VideoMAE."
        )
    return array


def _checked_grid(grid: tuple[int, int] | None, patches: int, frame_shape: tuple[int, ...]) -> tuple[int, int]:
    if grid is None:
        # Patches are square in most models: of all divisions take the one whose patches come closest.
        aspect = frame_shape[0] / frame_shape[1]
        rows = [rows for rows in range(1, patches + 1) if patches % rows == 0]
        best = min(rows, key=lambda number: abs(np.log(number * number / patches / aspect)))
        return best, patches // best
    if grid[0] * grid[1] != patches:
        raise ValueError(f"the grid is {grid[0]} x {grid[1]}, but the plan has {patches} patches.")
    return grid


def _draw_map(tile: Image.Image, computed: np.ndarray) -> Image.Image:
    """The tile, pale and without colour where its patches were reused, with an edge around those computed."""
    grey = Image.merge("RGB", [tile.convert("L")] * 3)
    reused = Image.blend(grey, Image.new("RGB", tile.size, REUSED_COLOUR), 0.8)
    # Where patches begin, in pixels: a tile is no multiple of them.
    rows, columns = (
        np.linspace(0, side, patches + 1).round().astype(int) for side, patches in zip(tile.size[::-1], computed.shape)
    )
    mask = np.repeat(np.repeat(computed, np.diff(rows), 0), np.diff(columns), 1)
    result = Image.composite(tile, reused, Image.fromarray(mask.astype(np.uint8) * 255))
    draw = ImageDraw.Draw(result)
    padded = np.pad(computed, 1)
    for row, column in np.argwhere(computed):
        top, bottom, left, right = rows[row], rows[row + 1] - 1, columns[column], columns[column + 1] - 1
        neighbours = padded[row : row + 3, column : column + 3]
        for is_inside, edge in (
            (neighbours[0, 1], (left, top, right, top + 1)),
            (neighbours[2, 1], (left, bottom - 1, right, bottom)),
            (neighbours[1, 0], (left, top, left + 1, bottom)),
            (neighbours[1, 2], (right - 1, top, right, bottom)),
        ):
            if not is_inside:
                draw.rectangle([int(side) for side in edge], COMPUTED_COLOUR)
    return result


def _draw_legend(draw: Any, font: Any, corner: tuple[int, int]) -> int:
    """Two swatches with their words that end at the given corner; returns where they begin."""
    right, baseline = corner
    side = round(font.size * 0.8)
    for word, fill, edge in (
        ("reused", REUSED_COLOUR, REUSED_COLOUR),
        ("computed", BACKGROUND, COMPUTED_COLOUR),
    ):
        draw.text((right, baseline), word, TEXT_COLOUR, font, anchor="rs")
        right -= round(draw.textlength(word, font)) + side // 2
        draw.rectangle((right - side, baseline - side, right, baseline), fill, edge, 3)
        right -= side + 2 * GAP
    return right


def _shortened(text: str, font: Any, width: int) -> str:
    """The text, without its end if it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _font(size: int) -> Any:
    return ImageFont.load_default(max(8, size))


def _percent(share: float) -> str:
    """A share in per cent that reads 0 or 100 only when it is."""
    percent = round(100 * float(share))
    if share > 0:
        percent = max(1, percent)
    if share < 1:
        percent = min(99, percent)
    return f"{percent} %"


def _save(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Writes next to the target and renames, so that no one ever reads half a picture."""
    target = os.path.abspath(os.fspath(path))
    temporary = os.path.join(os.path.dirname(target), f".{uuid.uuid4().hex}.png")
    try:
        picture.save(temporary, format="PNG", optimize=True)
        os.replace(temporary, target)
    finally:
        # Only what could not be finished is still there.
        if os.path.exists(temporary):
            os.unlink(temporary)
