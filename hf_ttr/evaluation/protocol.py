"""Which clips of a video, and which parts of its frames, the model looks at."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_counts
from ..video import VideoInfo, VideoLimits, read_frames
from ..video.limits import DEFAULT_LIMITS
from ..video.sampling import FrameSamplingRate, check_sampling, choose_clips
from ..video.views import check_sizes, check_views, views_of


if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Protocol:
    """
    What the model is shown of a video; the scores of a video are the mean over all of it.

    Args:
        num_clips (`int`): clips of a video, evenly spread over it.
        views (`int`): 1, the frame as the processor makes it, or 3 squares along its longer side.
        num_frames (`int`): frames of a clip.
        frame_sampling_rate (`int` or `"spread"`): step between them, see `hf_ttr.video.sampling`.

    Raises:
        ValueError: if one is out of range; one sentence.
    """

    num_clips: int = 1
    views: int = 1
    num_frames: int = 16
    frame_sampling_rate: FrameSamplingRate = 1

    def __post_init__(self) -> None:
        check_counts(num_clips=self.num_clips, num_frames=self.num_frames)
        check_views(self.views)
        check_sampling(self.num_frames, self.frame_sampling_rate)

    @property
    def parts(self) -> int:
        """Clips times views."""
        return self.num_clips * self.views

    def frames_of(self, total: int) -> list[list[int]]:
        """Indices of the frames of each clip in a video of `total` frames; a short one holds its last frame."""
        return choose_clips(total, self.num_frames, self.frame_sampling_rate, self.num_clips)

    def pixel_values(self, processor: Any, source: Any) -> torch.Tensor:
        """
        What the model sees of a video.

        Args:
            processor: a `TemporalReuseVideoProcessor`.
            source: what `hf_ttr.video.read_frames` takes.

        Returns:
            `torch.FloatTensor` of shape `(num_clips * views, num_frames, channels, height, width)`.

        Raises:
            VideoDecodingError: if the video cannot be read.
        """
        import torch

        clips, _ = self.clips(processor, source)
        return torch.from_numpy(np.concatenate(clips))

    def clips(
        self, processor: Any, source: Any, limits: VideoLimits = DEFAULT_LIMITS
    ) -> tuple[list[np.ndarray], VideoInfo]:
        """
        What the model sees of a video, without torch.

        Args:
            processor: a `TemporalReuseVideoProcessor`.
            source: what `hf_ttr.video.read_frames` takes.
            limits: of the video.

        Returns:
            `tuple[list[np.ndarray], VideoInfo]`: each clip, `float32` of shape `(views, num_frames, channels, height,
            width)`, and the facts about the video.

        Raises:
            VideoDecodingError: if the video cannot be read.
        """
        clips: list[list[int]] = []

        def select(total: int) -> list[int]:
            clips[:] = self.frames_of(total)
            return sorted({index for clip in clips for index in clip})

        # A frame that comes twice is read once.
        frames, info = read_frames(source, select, partial(views_of, processor, views=self.views), limits=limits)
        place = {index: number for number, index in enumerate(sorted({index for clip in clips for index in clip}))}
        check_sizes({frame.shape[2:] for frame in frames})
        return [np.stack([frames[place[index]] for index in clip], 1) for clip in clips], info
