"""A clip whose pixels are known, and maps of its tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hf_ttr.execution.token_maps import TokenMaps


# Frames of 32 x 48 have 4 x 6 patches of 8 x 8 pixels.
FRAMES = np.full((9, 32, 48, 3), 40, dtype=np.uint8)
PATCHES, LAYERS = 24, 3


def make_plan(frames: int = 9, patches: int = PATCHES) -> torch.Tensor:
    """All of the first frame is computed, and the CLS token of each."""
    plan = torch.zeros(frames, 1 + patches, dtype=torch.bool)
    plan[:, 0] = True
    plan[0] = True
    return plan


def make_groups(frames: int = 9, prefix_tokens: int = 1) -> torch.Tensor:
    """Each token alone, in all layers."""
    tokens = prefix_tokens + PATCHES
    return torch.arange(frames * tokens).reshape(frames, tokens, 1).repeat(1, 1, LAYERS + 1)


def make_maps(frames: int = 9, **changes: Any) -> TokenMaps:
    """Everything is made of the first frame, with an error that grows; groups as in `make_groups`."""
    age = torch.arange(frames)[:, None].repeat(1, 1 + PATCHES)
    age[:, 0] = 0
    maps = {"computed": make_plan(frames), "age": age, "error": age / 16, "groups": make_groups(frames)}
    return TokenMaps(**{**maps, **changes})


def patch(picture: np.ndarray, row: int, column: int, grid: tuple[int, int] = (4, 6)) -> np.ndarray:
    """The pixel in the middle of a patch."""
    height, width = picture.shape[:2]
    return picture[round((row + 0.5) * height / grid[0]), round((column + 0.5) * width / grid[1])]
