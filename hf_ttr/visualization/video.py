"""A video of frames beside what became of their tokens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from ..execution.token_maps import TokenMaps
from ..storage.files import check_ending, replacing
from ..storage.ownership import MARK
from ..video import read_frames
from .groups import as_groups, layer_name, legend_of_groups, mean_colours, paint_groups, row_notes, set_of_layers
from .heat import LABELS, as_values, legend_of_scale, paint_heat, top_of_scale
from .patches import as_map, check_captions, checked_grid, one_for_each_row, patch_colours
from .reuse import LEGEND, paint_reuse
from .sheet import BACKGROUND, Legend, Sheet, percent


OVERLAYS = ("computed", "groups", "age", "error")
# Of arrays and pictures, which do not say how fast they follow each other.
DEFAULT_FPS = 10.0


def reuse_video(
    frames: Any,
    maps: TokenMaps,
    path: str | os.PathLike[str],
    *,
    overlay: str = "computed",
    layer: int = -1,
    maximum: float | None = None,
    fps: float | None = None,
    captions: Sequence[str] | None = None,
    width: int = 960,
    prefix_tokens: int = 1,
    grid: tuple[int, int] | None = None,
) -> None:
    """
    Writes a video of every frame beside what became of its patches.

    Args:
        frames: the frames of one stream as the model saw them: anything that `hf_ttr.video.read_frames` takes, such as
            a list of pictures, a `uint8` array of shape `(frames, height, width, 3)`, or floats in [0, 1].
        maps (`TokenMaps`): of one stream, without the batch dimension: `output.reuse.maps.stream(number)` of a call
            with `output_token_maps=True`. Those of a window have a row for each tubelet: pass them with
            `frames[::tubelet_size]` and `prefix_tokens=0`.
        path (`str` or `os.PathLike`): file to write, which appears once it is complete: `.mp4` (H.264) or `.gif`.
        overlay (`str`, defaults to `"computed"`): which of the maps to draw: `"computed"`, `"groups"`, `"age"` or
            `"error"`.
        layer (`int`, defaults to -1): whose groups to draw, from 0; -1 is behind the last.
        maximum (`float`, *optional*): the age or error from which on patches are yellow; by default the largest.
        fps (`float`, *optional*): frames per second; by default those of the video file, of other frames 10.
        captions (`Sequence[str]`, *optional*): what to write above each frame, such as its time; else its number.
        width (`int`, defaults to 960): of the video, in pixels.
        prefix_tokens (`int`, defaults to 1): how many tokens of the maps belong to no patch, such as CLS.
        grid (`tuple[int, int]`, *optional*): rows and columns of patches; by default what fits the shape of a frame.

    Raises:
        ValueError: if the overlay is not among the maps, frames and options do not fit them, or the path is of another
            kind of file.
        OSError: if the file cannot be written.

    Example:

    ```python
    >>> import os, tempfile
    >>> import torch
    >>> from hf_ttr.execution.token_maps import TokenMaps
    >>> from hf_ttr.visualization import reuse_video

    >>> maps = TokenMaps(computed=torch.rand(8, 197) < 0.2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     reuse_video(torch.rand(8, 3, 224, 224), maps, os.path.join(folder, "reuse.gif"))
    ...     os.listdir(folder)
    ['reuse.gif']
    ```
    """
    check_ending(path, [".mp4", ".gif"], "the video")
    if overlay not in OVERLAYS:
        raise ValueError(f"overlay is {overlay!r}, but must be one of {', '.join(map(repr, OVERLAYS))}.")
    if fps is not None and not 0 < fps <= 1000:
        raise ValueError(f"fps is {fps}, but must be a number above 0, at most 1000.")
    values = _as_overlay(overlay, getattr(maps, overlay), prefix_tokens)
    rows, tokens = values.shape[:2]
    name = "plan" if overlay == "computed" else f"map of {overlay}"
    if overlay == "groups":
        (layer,) = set_of_layers([layer], values.shape[2])
    shares = None if maps.computed is None else _as_overlay("computed", maps.computed, prefix_tokens).mean(axis=1)
    check_captions(captions, rows, name)
    first: list[tuple[tuple[int, int], Sheet]] = []

    def keep(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        # Frames in the size that they are drawn in are all that is held in memory.
        if not first:
            fitting = checked_grid(grid, tokens - prefix_tokens, frame.shape, name)
            first.append((fitting, Sheet(frame.shape, fitting, 2, width)))
        fitting, sheet = first[0]
        return sheet.tile(frame), patch_colours(frame, fitting) if overlay == "groups" else None

    read, info = read_frames(frames, one_for_each_row(rows, range(rows), name), keep)
    fitting, sheet = first[0]
    patches = values[:, prefix_tokens:].reshape(rows, *fitting, *values.shape[2:])
    paint, legend = _painter(overlay, patches, layer, maximum, [means for _, means in read])

    def pictures() -> Iterable[Image.Image]:
        for index, (tile, _) in enumerate(read):
            words = [f"frame {index + 1}" if captions is None else captions[index]]
            if shares is not None:
                words.append(f"{percent(shares[index])} computed")
            if overlay == "groups":
                words.append(f"{row_notes(values[index, :, layer])[0]} {layer_name(layer, values.shape[2])}")
            sheet.strips.clear()
            sheet.add_title(", ".join(words), legend)
            sheet.add_tiles([tile, paint(tile, index)])
            yield _of_even_size(sheet.finish())

    rate = fps or info.fps or DEFAULT_FPS
    with replacing(path) as temporary:
        (_write_gif if temporary.endswith(".gif") else _write_mp4)(pictures(), temporary, rate)


def _as_overlay(overlay: str, values: Any, prefix_tokens: int) -> np.ndarray:
    if overlay == "computed":
        source = "output.reuse.maps.stream(number).computed"
        return as_map(values, "plan", "boolean", ("frames", "tokens"), prefix_tokens, source)
    return as_groups(values, prefix_tokens) if overlay == "groups" else as_values(values, overlay, prefix_tokens)


def _painter(
    overlay: str, patches: np.ndarray, layer: int, maximum: float | None, colours: Sequence[np.ndarray | None]
) -> tuple[Callable[[np.ndarray, int], np.ndarray], Legend]:
    """What paints a tile with the map of the frame of that number, and the legend of it."""
    if overlay == "computed":
        return lambda tile, index: paint_reuse(tile, patches[index]), LEGEND
    if overlay == "groups":
        groups = patches[..., layer]
        means = mean_colours(np.stack([frame for frame in colours if frame is not None]), groups)
        return lambda tile, index: paint_groups(tile, groups[index], means[index]), legend_of_groups(groups)
    top = top_of_scale(patches, maximum)
    legend = legend_of_scale(top, patches.max(), LABELS[overlay])
    return lambda tile, index: paint_heat(tile, patches[index], top), legend


def _of_even_size(picture: Image.Image) -> Image.Image:
    """The picture with one more row or column where a video, whose colours have half the size, needs it."""
    size = (picture.width + picture.width % 2, picture.height + picture.height % 2)
    if size == picture.size:
        return picture
    larger = Image.new("RGB", size, BACKGROUND)
    larger.paste(picture)
    return larger


def _write_mp4(pictures: Iterable[Image.Image], path: str, fps: float) -> None:
    import av

    with av.open(path, mode="w") as container:
        container.metadata["comment"] = MARK
        stream: Any = None
        for picture in pictures:
            if stream is None:
                # Thin borders need more than the usual quality.
                stream = container.add_stream("libx264", Fraction(fps).limit_denominator(1001), {"crf": "18"})
                stream.width, stream.height, stream.pix_fmt = *picture.size, "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def _write_gif(pictures: Iterable[Image.Image], path: str, fps: float) -> None:
    first, *rest = pictures
    # A GIF counts hundredths of a second; players slow down what is shown for less than two of them.
    duration = 10 * max(2, round(100 / fps))
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=duration, loop=0, comment=MARK.encode())
