"""How a video is cut into the pieces that go through a model."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from typing import Protocol as Interface

import numpy as np

from ..checks import check_counts
from ..evaluation.protocol import Protocol
from ..video import VideoInfo, VideoLimits, iterate_frames
from ..video.views import check_sizes, check_views, views_of
from .opening import opened


if TYPE_CHECKING:
    import torch


ONE_THREAD = VideoLimits(threads=1)
"""Of the decoders beside each other, each with a core of its own."""


@dataclass(frozen=True, eq=False)
class Piece:
    """
    What the model sees of a video at once.

    Attributes:
        pixels: `np.ndarray` of `float32` and of shape `(views, frames, channels, height, width)`.
    """

    pixels: np.ndarray

    @property
    def pixel_values(self) -> torch.Tensor:
        """The same as a `torch.FloatTensor`, which shares its memory."""
        import torch

        return torch.from_numpy(self.pixels)

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.pixels.shape[1]


class Cut(Interface):
    """How videos are cut: an object that can be pickled, and needs no torch."""

    def pieces(self, processor: Any, source: Any) -> Generator[Piece, None, VideoInfo]:
        """The pieces of a video in their order, and in the end the facts about it."""


@dataclass(frozen=True)
class WholeVideo:
    """
    A whole video in pieces that follow each other, of which one is in memory at a time.

    Args:
        num_frames (`int`): frames of a piece; the last one may have fewer.
        views (`int`): 1, the frame as the processor makes it, or 3 squares along its longer side.
        frame_sampling_rate (`int`): step between the frames that are shown, in frames.
        limits (`VideoLimits`): of a video.

    Raises:
        ValueError: if one is out of range; one sentence.
    """

    num_frames: int
    views: int = 1
    frame_sampling_rate: int = 1
    limits: VideoLimits = ONE_THREAD

    def __post_init__(self) -> None:
        check_counts(num_frames=self.num_frames, frame_sampling_rate=self.frame_sampling_rate)
        check_views(self.views)

    def pieces(self, processor: Any, source: Any) -> Generator[Piece, None, VideoInfo]:
        """
        Cuts a video.

        Args:
            processor: a `TemporalReuseVideoProcessor`.
            source: a path, an address or bytes.

        Yields:
            `Piece`: frame by frame what the processor makes of the whole video at once.

        Returns:
            `VideoInfo`: the facts about the video, all of whose frames were counted.

        Raises:
            VideoDecodingError: if it cannot be read, or not to its end.
        """
        kept: list[np.ndarray] = []
        sizes: set[tuple[int, ...]] = set()
        with (
            opened(source, self.limits) as file,
            closing(iterate_frames(file, self.frame_sampling_rate, self.limits)) as frames,
        ):
            while True:
                try:
                    frame = next(frames)
                except StopIteration as end:
                    info: VideoInfo = end.value
                    break
                kept.append(views_of(processor, frame, self.views))
                sizes.add(kept[-1].shape[2:])
                check_sizes(sizes)
                if len(kept) == self.num_frames:
                    yield Piece(np.stack(kept, 1))
                    kept.clear()
        if kept:
            yield Piece(np.stack(kept, 1))
        return info


@dataclass(frozen=True)
class Clips:
    """
    The clips of a protocol of evaluation: all are read at once, and each is a piece.

    Args:
        protocol (`Protocol`): how many clips, of which frames and views.
        limits (`VideoLimits`): of a video.
    """

    protocol: Protocol
    limits: VideoLimits = ONE_THREAD

    def pieces(self, processor: Any, source: Any) -> Generator[Piece, None, VideoInfo]:
        """
        Cuts a video.

        Args:
            processor: a `TemporalReuseVideoProcessor`.
            source: a path, an address or bytes.

        Yields:
            `Piece`: a clip, of which `Protocol.pixel_values` has all.

        Returns:
            `VideoInfo`: the facts about the video.

        Raises:
            VideoDecodingError: if it cannot be read.
        """
        with opened(source, self.limits) as file:
            clips, info = self.protocol.clips(processor, file, self.limits)
        for clip in clips:
            yield Piece(clip)
        return info
