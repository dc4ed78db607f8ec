"""A picture of a title, a legend, and rows of tiles of one size with their captions."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ..storage.files import replacing
from ..storage.ownership import MARK


# Dark orange and pale grey differ in lightness as well as in hue, so they are told apart with any colour vision.
COMPUTED_COLOUR = (230, 110, 0)
REUSED_COLOUR = (222, 225, 230)
BACKGROUND = (255, 255, 255)
TEXT_COLOUR = (33, 37, 43)

MARGIN, GAP = 20, 10
FONT_SIZES = {"title": 25, "text": 16}

Colour = tuple[int, int, int]
# Draws what ends at the corner (right, baseline), and returns where it begins.
Legend = Callable[[Any, Any, tuple[int, int]], int]


class Sheet:
    """
    Strips one below the other, as wide as the picture.

    Args:
        frame_shape (`tuple[int, ...]`): height and width of the frames.
        grid (`tuple[int, int]`): rows and columns of patches that have to be seen in a tile.
        columns (`int`): how many tiles there is room for in a row: few tiles are as large as many.
        width (`int`): of the picture, in pixels.

    Raises:
        ValueError: if there is too little room for the patches.
    """

    def __init__(self, frame_shape: tuple[int, ...], grid: tuple[int, int], columns: int, width: int) -> None:
        self.width = width
        self.tile_width = (width - 2 * MARGIN - (columns - 1) * GAP) // columns
        self.tile_height = round(self.tile_width * frame_shape[0] / frame_shape[1])
        if min(self.tile_width, self.tile_height) < max(grid):
            raise ValueError(
                f"width is {width}, which is too little for {columns} frames of {grid[0]} x {grid[1]} patches."
            )
        self.title_font, self.font = (font(round(FONT_SIZES[name] * width / 1200)) for name in ("title", "text"))
        self.line = self.font.size * 1.35
        self.strips: list[Image.Image] = []

    def tile(self, frame: np.ndarray) -> np.ndarray:
        """The frame in the size of a tile."""
        size = (self.tile_width, self.tile_height)
        return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))

    def add_title(self, title: str, legend: Legend) -> None:
        """A line on top, and the legend at its end."""
        # Letters go below the baseline by about a quarter of their size.
        below = max(GAP, round(self.title_font.size * 0.3))
        baseline = MARGIN + round(self.title_font.size * 1.2)
        _, draw = self._strip(baseline + below)
        room = legend(draw, self.font, (self.width - MARGIN, baseline)) - MARGIN
        draw.text((MARGIN, baseline), shortened(title, self.title_font, room), TEXT_COLOUR, self.title_font, "ls")

    def add_heading(self, text: str) -> None:
        """A line above the tiles that follow."""
        _, draw = self._strip(round(self.line * 2))
        text = shortened(text, self.font, self.width - 2 * MARGIN)
        draw.text((MARGIN, round(self.line * 1.6)), text, TEXT_COLOUR, self.font, "ls")

    def add_tiles(self, tiles: Sequence[np.ndarray]) -> None:
        """A row of pictures."""
        strip, _ = self._strip(self.tile_height + GAP)
        for left, tile in zip(self._lefts(), tiles):
            strip.paste(Image.fromarray(tile), (left, 0))

    def add_bars(self, shares: Sequence[float]) -> None:
        """Below each tile a bar that is lit as far as its share."""
        height = max(4, round(self.line / 3))
        _, draw = self._strip(height + GAP // 2)
        for left, share in zip(self._lefts(), shares):
            draw.rectangle((left, 0, left + self.tile_width - 1, height), REUSED_COLOUR)
            draw.rectangle((left, 0, left + max(2, round(share * self.tile_width)) - 1, height), COMPUTED_COLOUR)

    def add_captions(self, captions: Sequence[str], notes: Sequence[Sequence[str]]) -> None:
        """Below each tile its caption, and right of it the first of its notes that there is room for, or the last."""
        _, draw = self._strip(round(self.line))
        for left, caption, choice in zip(self._lefts(), captions, notes):
            fitting = [
                note for note in choice if self.font.getlength(f"{one_line(caption)}  {note}") <= self.tile_width
            ]
            note = (fitting or choice[-1:])[0]
            room = self.tile_width - round(self.font.getlength(f"  {note}"))
            baseline = round(self.line * 0.8)
            draw.text((left, baseline), shortened(caption, self.font, room), TEXT_COLOUR, self.font, anchor="ls")
            draw.text((left + self.tile_width, baseline), note, TEXT_COLOUR, self.font, anchor="rs")

    def finish(self, path: str | os.PathLike[str] | None = None) -> Image.Image:
        """The picture of all strips, also written as PNG if there is a path."""
        picture = Image.new("RGB", (self.width, sum(strip.height for strip in self.strips) + MARGIN // 2), BACKGROUND)
        top = 0
        for strip in self.strips:
            picture.paste(strip, (0, top))
            top += strip.height
        if path is not None:
            with replacing(path) as temporary:
                about = PngInfo()
                about.add_text("Software", MARK)
                picture.save(temporary, format="PNG", pnginfo=about)
        return picture

    def _strip(self, height: int) -> tuple[Image.Image, Any]:
        strip = Image.new("RGB", (self.width, height), BACKGROUND)
        self.strips.append(strip)
        return strip, ImageDraw.Draw(strip)

    def _lefts(self) -> range:
        return range(MARGIN, self.width, self.tile_width + GAP)


def evenly(total: int, columns: int) -> list[int]:
    """
    The numbers of so many of them, from the first to the last; all if there are fewer.

    Raises:
        ValueError: if there is to be none.
    """
    if columns < 1:
        raise ValueError(f"columns is {columns}, but must be at least 1.")
    return np.linspace(0, total - 1, min(columns, total)).round().astype(int).tolist()


def swatches(entries: Sequence[tuple[str, Colour, Colour]]) -> Legend:
    """A legend of words with a square before each, which has a colour and a colour of its edge."""

    def draw_swatches(draw: Any, font: Any, corner: tuple[int, int]) -> int:
        right, baseline = corner
        side = round(font.size * 0.8)
        for word, fill, edge in reversed(entries):
            draw.text((right, baseline), word, TEXT_COLOUR, font, anchor="rs")
            right -= round(draw.textlength(word, font)) + side // 2
            draw.rectangle((right - side, baseline - side, right, baseline), fill, edge, 3)
            right -= side + 2 * GAP
        return right

    return draw_swatches


def colour_scale(colours: np.ndarray, low: str, high: str) -> Legend:
    """A legend of colours `(number, 3)` from left to right between two numbers."""

    def draw_scale(draw: Any, font: Any, corner: tuple[int, int]) -> int:
        right, baseline = corner
        height, width = round(font.size * 0.8), font.size * 9
        draw.text((right, baseline), high, TEXT_COLOUR, font, anchor="rs")
        right -= round(draw.textlength(high, font)) + GAP
        for step in range(width):
            colour = tuple(colours[step * len(colours) // width].tolist())
            draw.line((right - width + step, baseline - height, right - width + step, baseline), colour)
        right -= width + GAP
        draw.text((right, baseline), low, TEXT_COLOUR, font, anchor="rs")
        return right - round(draw.textlength(low, font)) - 2 * GAP

    return draw_scale


def one_line(text: Any) -> str:
    """The text without line breaks, which cannot be measured."""
    return " ".join(str(text).split())


def shortened(text: str, font: Any, width: int) -> str:
    """The text in one line, without its end if it is wider than `width` pixels."""
    text = one_line(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def font(size: int) -> Any:
    """The font that comes with Pillow."""
    return ImageFont.load_default(max(8, size))


def percent(share: float) -> str:
    """A share in per cent that reads 0 or 100 only when it is."""
    number = round(100 * float(share))
    if share > 0:
        number = max(1, number)
    if share < 1:
        number = min(99, number)
    return f"{number} %"
