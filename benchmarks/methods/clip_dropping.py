"""Methods for models of clips that choose tokens before the model and run the dense one on them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch.nn.functional import avg_pool2d

from .base import Method
from .clip_model import taken_apart


SHARES = (0.875, 0.75, 0.6, 0.5, 0.375, 0.25, 0.125, 0.06)


class DenseClip(Method):
    """The dense model."""

    title = "dense"

    def __init__(self, model: Any, setting: float = 0.0) -> None:
        super().__init__(model, setting)
        self.parts = taken_apart(model)

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """The clip."""
        self.multiply_adds += self.parts.dense_multiply_adds
        return self.model(pixels[None]).logits


class Dropping(Method):
    """Embeds and computes some of the tokens, each at its own position; the head sees nothing else."""

    def __init__(self, model: Any, setting: float = 0.5) -> None:
        super().__init__(model, setting)
        self.parts = taken_apart(model)

    @abstractmethod
    def kept(self, pixels: torch.Tensor) -> torch.Tensor:
        """
        The tokens of a clip to keep.

        Args:
            pixels (`torch.Tensor` of shape `(frames, channels, height, width)`): the clip.

        Returns:
            `torch.LongTensor` of shape `(kept,)`, increasing, times before positions.
        """

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """The kept tokens of the clip."""
        parts, kept = self.parts, self.kept(pixels)
        states = parts.through_layers(parts.embed(pixels, kept), kept)
        rows = len(kept)
        embedding = rows * parts.cost.patch // parts.positions
        self.multiply_adds += embedding + parts.cost.rows(rows, rows, rows) + parts.head(rows)
        return parts.logits(states)


class RunLength(Dropping):
    """
    Run-length tokenization: a tubelet in which nothing happens is dropped.

    A token is kept if the pixels of its patch differ, in the mean, by more than the threshold between the last frame
    of its tubelet and the first frame of the tubelet before. The first tubelet is always kept. Run without training,
    so without the length embedding, and the mean over the kept tokens is plain.
    """

    title = "RLT"
    paper = "Choudhury et al., Don't look twice, NeurIPS 2024"
    knob = "threshold on normalised pixels"
    sweep = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8)

    def kept(self, pixels: torch.Tensor) -> torch.Tensor:
        """Tokens that change."""
        changes = tubelet_changes(pixels, self.parts.patch_size)
        return (changes > self.setting).flatten().nonzero().squeeze(-1)


class RandomTokens(Dropping):
    """A random share of the tokens, the same in every run."""

    title = "random drop"
    knob = "share of the tokens kept"
    sweep = SHARES

    def kept(self, pixels: torch.Tensor) -> torch.Tensor:
        """Any tokens."""
        return random_choice(self.parts.tokens, self.setting).to(pixels.device)


class Tubes(Dropping):
    """A random share of the positions, each at all times."""

    title = "uniform tube drop"
    knob = "share of the positions kept"
    sweep = SHARES

    def kept(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tokens of some positions."""
        positions = random_choice(self.parts.positions, self.setting)
        times = torch.arange(self.parts.times)[:, None] * self.parts.positions
        return (times + positions).flatten().to(pixels.device)


class FewerFrames(Dropping):
    """Evenly spaced tubelets, each at its own time."""

    title = "fewer frames"
    knob = "share of the tubelets kept"
    sweep = (0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125)

    def kept(self, pixels: torch.Tensor) -> torch.Tensor:
        """The tokens of some times."""
        count = min(max(round(self.setting * self.parts.times), 1), self.parts.times)
        times = ((torch.arange(count) + 0.5) * self.parts.times / count).long()[:, None] * self.parts.positions
        return (times + torch.arange(self.parts.positions)).flatten().to(pixels.device)


def random_choice(count: int, share: float) -> torch.Tensor:
    """A share of the numbers below `count`, at least one, increasing; the same in every call."""
    chosen = min(max(round(share * count), 1), count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:chosen].sort().values


def tubelet_changes(pixels: torch.Tensor, patch_size: tuple[int, int, int]) -> torch.Tensor:
    """
    Mean absolute difference of the pixels of each patch, from the first frame of the tubelet before to the last frame.

    Args:
        pixels (`torch.Tensor` of shape `(frames, channels, height, width)`): a clip.
        patch_size (`tuple`): frames of a tubelet, height and width of a patch.

    Returns:
        `torch.FloatTensor` of shape `(times, positions)`, infinite in the first tubelet.
    """
    tubelets = pixels.unflatten(0, (-1, patch_size[0]))
    change = (tubelets[1:, -1] - tubelets[:-1, 0]).abs().mean(1, keepdim=True)
    later = avg_pool2d(change, patch_size[1:]).flatten(1)
    return torch.cat([torch.full_like(later[:1], torch.inf), later]) if len(later) else _first_only(pixels, patch_size)


def _first_only(pixels: torch.Tensor, patch_size: tuple[int, int, int]) -> torch.Tensor:
    """Of a clip of one tubelet."""
    positions = (pixels.shape[-2] // patch_size[1]) * (pixels.shape[-1] // patch_size[2])
    return pixels.new_full((1, positions), torch.inf)
