"""What the cameras of a long run show: objects that the small model knows, before still backgrounds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from .fidelity import scripts


LABELS = ("coffee cup", "space shuttle", "space helmet", "horse", "beach ball", "life ring", "die")
"""Of the labels of the model, those that it is sure of before each of the backgrounds."""
BACKGROUNDS = ("grass", "brick", "gravel")
SIZE, PAN, PICTURES = 256, 10, 40
"""Pixels of a side, pixels by which the camera turns, and pictures until it is back where it was."""
OBJECT, NOISE = 110, 2.0
"""Side of a square as large as the object, and standard deviation of the noise, in grey levels of 255."""
QUALITY = 85

Loops = dict[str, list[bytes]]
"""By label the pictures of a scene as JPEG, which may be shown again and again."""


def make_loops(background: str, labels: Sequence[str] = LABELS, seed: int = 0) -> Loops:
    """
    Scenes with one object each, seen by a camera that turns slowly to and fro; noise is fresh in every picture.

    Raises:
        MissingData: if what the pictures are made of is not installed.
    """
    script = scripts()
    sprites, photo = script.make_sprites(), script.load_photo(background)
    random = np.random.default_rng((seed, BACKGROUNDS.index(background)))
    return {label: _loop(photo, sprites[label], random) for label in labels}


def _loop(photo: Any, sprite: Any, random: np.random.Generator) -> list[bytes]:
    box = (140, 140, 140 + SIZE + PAN, 140 + SIZE)
    scene = photo.resize((SIZE + PAN, SIZE), Image.Resampling.BICUBIC, box=box)
    factor = OBJECT / (sprite.width * sprite.height) ** 0.5
    sprite = sprite.resize((round(sprite.width * factor), round(sprite.height * factor)), Image.Resampling.BICUBIC)
    scene.paste(sprite, ((scene.width - sprite.width) // 2, (scene.height - sprite.height) // 2), sprite)
    pixels = np.asarray(scene, np.float32)
    pictures = []
    for number in range(PICTURES):
        left = round(PAN * (1 - abs(2 * number / PICTURES - 1)))
        seen = pixels[:, left : left + SIZE]
        noisy = (seen + random.normal(0, NOISE, seen.shape)).round().clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=QUALITY)
        pictures.append(file.getvalue())
    return pictures
