"""The one interface of all methods that are compared: clips in, logits and multiply-adds out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch


@dataclass
class Outcome:
    """
    What a method made of a clip.

    Attributes:
        logits (`torch.Tensor`): of every frame, `(frames, labels)`, for models of frames; of the clip, `(1, labels)`,
            for models of clips.
        multiply_adds (`int`): what the method computed for the clip, patch embedding and head included.
    """

    logits: torch.Tensor
    multiply_adds: int


class Method(ABC):
    """
    A way to run a trained model on a clip: the dense model, reuse, or a method of a paper.

    Args:
        model: the dense transformers model. It is not changed.
        setting: the one knob of the method; what it means stands in `knob`.

    Attributes:
        title (`str`): the name in tables and plots.
        paper (`str`): where the method comes from; empty for the plain baselines.
        knob (`str`): what `setting` is, in a few words.
        sweep (`tuple[float, ...]`): settings from almost dense to very sparse, for the curves.
        multiply_adds (`int`): of every matrix product and convolution since the clip began; methods add them up as
            they run, which costs nothing.
    """

    title: ClassVar[str]
    paper: ClassVar[str] = ""
    knob: ClassVar[str] = ""
    sweep: ClassVar[tuple[float, ...]] = (0.0,)

    def __init__(self, model: Any, setting: float = 0.0) -> None:
        self.model = model
        self.setting = setting
        self.multiply_adds = 0

    @abstractmethod
    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """What `clip` does; adds to `multiply_adds`."""

    @torch.no_grad()
    def clip(self, pixels: torch.Tensor) -> torch.Tensor:
        """
        Runs a clip from its first frame on; what is timed.

        Args:
            pixels (`torch.Tensor` of shape `(frames, channels, height, width)`): the frames.

        Returns:
            Logits: see `Outcome`.
        """
        self.multiply_adds = 0
        return self.run(pixels)

    def measured(self, pixels: torch.Tensor) -> Outcome:
        """The same, with its multiply-adds."""
        return Outcome(self.clip(pixels), self.multiply_adds)


class StreamMethod(Method):
    """A method that takes the frames of a stream one after another, and knows nothing of the future."""

    @abstractmethod
    def reset(self) -> None:
        """Forgets the stream."""

    @abstractmethod
    def advance(self, frame: torch.Tensor) -> torch.Tensor:
        """What `step` does; adds to `multiply_adds`."""

    @torch.no_grad()
    def step(self, frame: torch.Tensor) -> torch.Tensor:
        """Logits `(1, labels)` of the next frame, `(1, channels, height, width)`."""
        return self.advance(frame)

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """Frame by frame."""
        self.reset()
        return torch.cat([self.step(frame[None]) for frame in pixels])
