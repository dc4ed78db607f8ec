"""Run-length tokenization: a patch that stays as it is becomes one token, however long it lasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import avg_pool2d

from ..checks import is_number
from .base import ModelShape, WindowReduction, register_reduction


@register_reduction
@dataclass(frozen=True)
class RunLength(WindowReduction):
    """
    Run-length tokenization without training (Choudhury et al., Don't look twice, NeurIPS 2024).

    A patch of a tubelet is left to the last one of its position that was not, as long as its pixels stay near those:
    the mean absolute difference of its last frame to the first frame of that tubelet. The paper compares neighbouring
    tubelets, so that slow drift is never seen; here it adds up until the run ends. The token of a run counts in
    attention and in the mean over tokens as often as the run is long.

    Args:
        threshold (`float`, defaults to 0.1):
            Largest difference within a run, of normalised pixels.
    """

    method: ClassVar[str] = "run_length"
    paper: ClassVar[str] = "Choudhury et al., Don't look twice, NeurIPS 2024"

    threshold: float = 0.1

    def __post_init__(self) -> None:
        self.require(
            "threshold",
            is_number(self.threshold) and self.threshold >= 0,
            "a difference of normalised pixels of at least 0",
        )

    def check(self, model: ModelShape) -> None:
        """See `Reduction.check`."""
        if model.times < 2:
            raise ValueError(
                f"reduction {self.method!r} looks for runs in a window of several times, but a {model.name} like this "
                "sees one at a time; temporal reuse does the same between its frames."
            )

    def sources(self, pixels: torch.Tensor, patch_size: tuple[int, int, int]) -> torch.Tensor:
        """See `WindowReduction.sources`."""
        tubelets = pixels.detach().float().unflatten(1, (-1, patch_size[0]))
        first, last = tubelets[:, :, 0], tubelets[:, :, -1]
        start = first[:, 0]
        source = torch.zeros_like(_of_patches(start, patch_size), dtype=torch.long)
        sources = [source]
        for time in range(1, tubelets.shape[1]):
            change = _of_patches((last[:, time] - start).abs(), patch_size)
            is_new = change > self.threshold
            source = torch.where(is_new, time, source)
            sources.append(source)
            start = torch.where(_of_pixels(is_new, start.shape, patch_size), first[:, time], start)
        return torch.stack(sources, dim=1)


def _of_patches(frames: torch.Tensor, patch_size: tuple[int, int, int]) -> torch.Tensor:
    """Means over the patches of frames `(batch, channels, height, width)`, shape `(batch, positions)`."""
    return avg_pool2d(frames.mean(1, keepdim=True), patch_size[1:]).flatten(1)


def _of_pixels(patches: torch.Tensor, shape: torch.Size, patch_size: tuple[int, int, int]) -> torch.Tensor:
    """What holds for patches `(batch, positions)`, for every pixel; `shape` is that of the frames."""
    _, height, width = patch_size
    grid = patches.unflatten(1, (shape[2] // height, shape[3] // width))
    pixels = grid.repeat_interleave(height, 1).repeat_interleave(width, 2)
    # Pixels beyond the last whole patch belong to none.
    missing = (0, shape[3] - pixels.shape[2], 0, shape[2] - pixels.shape[1])
    return torch.nn.functional.pad(pixels, missing)[:, None]
