"""Pictures of frames, as JPEG."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image


def jpeg_of(pixels: np.ndarray, quality: int = 80, width: int | None = None) -> bytes:
    """
    A frame as a JPEG.

    Args:
        pixels: RGB, `uint8` of shape `(height, width, 3)`.
        quality (`int`): from 1 to 95.
        width (`int`, *optional*): to which a wider picture is made smaller.
    """
    picture = PIL.Image.fromarray(pixels)
    if width is not None and picture.width > width:
        picture = picture.resize((width, max(1, round(picture.height * width / picture.width))))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()
