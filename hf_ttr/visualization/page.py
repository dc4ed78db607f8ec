"""A page for browsers that shows what became of the tokens of a call, frame by frame and layer by layer."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

from ..execution.token_maps import TokenMaps
from ..storage.files import check_ending, replacing
from ..video import read_frames
from .groups import HUE_STEP, LEFT_OUT_COLOUR, LIGHTNESS, MEAN_OPACITY, SATURATION, as_groups, layer_name
from .heat import LABELS, OPACITY, PALETTE, as_values, top_of_scale
from .patches import as_map, check_captions, checked_grid, one_for_each_row, patch_colours
from .sheet import COMPUTED_COLOUR, REUSED_COLOUR


JPEG_QUALITY = 88


def reuse_page(
    frames: Any,
    maps: TokenMaps,
    path: str | os.PathLike[str],
    *,
    title: str = "What became of the tokens",
    captions: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    fps: float = 8.0,
    frame_size: int = 448,
    maximum: Mapping[str, float] | None = None,
    prefix_tokens: int = 1,
    grid: tuple[int, int] | None = None,
) -> None:
    """
    Writes one HTML file, which needs no network, to go through frames and layers with keyboard and mouse.

    It shows what was computed and reused, the groups of tokens that are one row in each layer, and age and error of
    what tokens are made of: whichever of them the maps have.

    Args:
        frames: the frames of one stream as the model saw them: anything that `hf_ttr.video.read_frames` takes, such as
            a list of pictures, a `uint8` array of shape `(frames, height, width, 3)`, or floats in [0, 1].
        maps (`TokenMaps`): of one stream, without the batch dimension: `output.reuse.maps.stream(number)` of a call
            with `output_token_maps=True`. Those of a window have a row for each tubelet: pass them with
            `frames[::tubelet_size]` and `prefix_tokens=0`.
        path (`str` or `os.PathLike`): HTML file to write, which appears once it is complete.
        title (`str`, *optional*): heading of the page.
        captions (`Sequence[str]`, *optional*): what to write beside each frame's number, such as its time.
        settings (`Mapping[str, Any]`, *optional*): names and values to list, such as the settings of reuse.
        fps (`float`, defaults to 8): frames per second while the page plays.
        frame_size (`int`, defaults to 448): the longer side of frames, in pixels, to which larger ones are reduced.
        maximum (`Mapping[str, float]`, *optional*): the `"age"` and the `"error"` from which on patches are yellow; by
            default the largest of each.
        prefix_tokens (`int`, defaults to 1): how many tokens of the maps belong to no patch, such as CLS.
        grid (`tuple[int, int]`, *optional*): rows and columns of patches; by default what fits the shape of a frame.

    Raises:
        ValueError: if the maps are empty, frames and options do not fit them, or the path is not one of an HTML file.
        OSError: if the file cannot be written.

    Example:

    ```python
    >>> import os, tempfile
    >>> import torch
    >>> from hf_ttr.execution.token_maps import TokenMaps
    >>> from hf_ttr.visualization import reuse_page

    >>> maps = TokenMaps(computed=torch.rand(8, 197) < 0.2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     reuse_page(torch.rand(8, 3, 224, 224), maps, os.path.join(folder, "reuse.html"))
    ...     os.listdir(folder)
    ['reuse.html']
    ```
    """
    check_ending(path, [".html", ".htm"], "the page")
    if not 0 < fps <= 1000:
        raise ValueError(f"fps is {fps}, but must be a number above 0, at most 1000.")
    if frame_size < 1:
        raise ValueError(f"frame_size is {frame_size}, but must be at least 1.")
    arrays = _checked_maps(maps, prefix_tokens)
    rows, tokens = next(iter(arrays.values())).shape[:2]
    check_captions(captions, rows, "set of maps")

    def keep(frame: np.ndarray) -> tuple[str, tuple[int, int], np.ndarray]:
        fitting = checked_grid(grid, tokens - prefix_tokens, frame.shape, "set of maps")
        return _data_url(frame, frame_size), fitting, patch_colours(frame, fitting)

    read, _ = read_frames(frames, one_for_each_row(rows, range(rows), "set of maps"), keep)
    data: dict[str, Any] = {
        "title": title,
        "captions": None if captions is None else [str(caption) for caption in captions],
        "settings": [[str(key), str(value)] for key, value in (settings or {}).items()],
        "fps": fps,
        "grid": read[0][1],
        "prefix": prefix_tokens,
        "tokens": tokens,
        "frames": [picture for picture, _, _ in read],
        "maps": {name: _encoded(array) for name, array in arrays.items()},
        "colours": {
            "computed": COMPUTED_COLOUR,
            "reused": REUSED_COLOUR,
            "leftOut": LEFT_OUT_COLOUR,
            "palette": PALETTE.tolist(),
            "heatOpacity": OPACITY,
            "meanOpacity": MEAN_OPACITY,
            "hueStep": HUE_STEP,
            "saturation": SATURATION,
            "lightness": LIGHTNESS,
        },
        "scales": {
            name: {
                "label": LABELS[name],
                "maximum": top_of_scale(arrays[name][:, prefix_tokens:], (maximum or {}).get(name)),
                "largest": float(arrays[name][:, prefix_tokens:].max()),
            }
            for name in LABELS
            if name in arrays
        },
    }
    if "groups" in arrays:
        depth = arrays["groups"].shape[2]
        data["layers"] = [layer_name(layer, depth) for layer in range(depth)]
        # A page cannot read the pixels of all frames before it shows the first.
        data["patchColours"] = _encoded(np.rint(np.stack([means for _, _, means in read])).astype(np.uint8))
    # Names of files may hold what is no text.
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", errors="replace") as file:
        file.write(_filled_template(title, data))


def _checked_maps(maps: TokenMaps, prefix_tokens: int) -> dict[str, np.ndarray]:
    """
    The maps that there are, as arrays.

    Raises:
        ValueError: if there is none, one is wrong, or they are of different calls.
    """
    arrays: dict[str, np.ndarray] = {}
    if maps.computed is not None:
        source = "output.reuse.maps.stream(number).computed"
        arrays["computed"] = as_map(
            maps.computed, "plan", "boolean", ("frames", "tokens"), prefix_tokens, source
        ).astype(np.uint8)
    for name, values in (("age", maps.age), ("error", maps.error)):
        if values is not None:
            array = as_values(values, name, prefix_tokens)
            arrays[name] = array.astype(np.float32 if array.dtype.kind == "f" else np.uint32)
    if maps.groups is not None:
        # 0 is what was left out.
        groups = as_groups(maps.groups, prefix_tokens) + 1
        arrays["groups"] = groups.astype(np.uint16 if groups.max() < 2**16 else np.uint32)
    if not arrays:
        raise ValueError("the maps are empty; call the model with `output_token_maps=True`, and pass a stream of its.")
    (first, shape), *others = ((name, array.shape[:2]) for name, array in arrays.items())
    for name, other in others:
        if other != shape:
            raise ValueError(
                f"the map of {name} is of {other[0]} frames of {other[1]} tokens, but that of {first} of {shape[0]} "
                f"of {shape[1]}; pass maps of one call."
            )
    return arrays


def _data_url(frame: np.ndarray, size: int) -> str:
    """The frame as JPEG in a URL, with its longer side no longer than the given size."""
    picture = Image.fromarray(frame)
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _encoded(array: np.ndarray) -> dict[str, Any]:
    """An array as what JavaScript can make a typed array of: its little-endian bytes."""
    little_endian = array.astype(array.dtype.newbyteorder("<"))
    return {
        "type": f"{array.dtype.name.capitalize()}Array",
        "shape": array.shape,
        "data": base64.b64encode(little_endian.tobytes()).decode(),
    }


def _filled_template(title: str, data: dict[str, Any]) -> str:
    template = resources.files("hf_ttr.visualization").joinpath("page.html").read_text(encoding="utf-8")
    # In a script element `<` alone could end it; JSON has another way to write it.
    payload = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    before, after = template.split("__DATA__")
    return before.replace("__TITLE__", html.escape(title)) + payload + after
