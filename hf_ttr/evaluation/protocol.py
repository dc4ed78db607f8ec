"""Which clips of a video, and which parts of its frames, the model looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..checks import is_whole
from ..video.sampling import FrameSamplingRate, check_sampling, choose_clips


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
        for name in ("num_clips", "num_frames"):
            value = getattr(self, name)
            if not is_whole(value) or value < 1:
                raise ValueError(f"{name} is {value!r}, but must be a whole number of at least 1.")
        if self.views not in (1, 3):
            raise ValueError(f"views is {self.views!r}, but must be 1, or 3 squares along the longer side.")
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
        from ..video import read_frames

        clips: list[list[int]] = []

        def select(total: int) -> list[int]:
            clips[:] = self.frames_of(total)
            return sorted({index for clip in clips for index in clip})

        frames, _ = read_frames(source, select)
        place = {index: number for number, index in enumerate(sorted({index for clip in clips for index in clip}))}
        options: dict[str, Any] = {"do_sample_frames": False, "return_tensors": "pt"}
        if self.views == 3:
            options |= {"size": {"shortest_edge": min(_side(processor))}, "do_center_crop": False}
        pixels: torch.Tensor = processor(frames, **options)["pixel_values"][0]
        views = [pixels] if self.views == 1 else _squares(pixels)
        # A frame that comes twice was read once.
        return torch.stack([view[[place[index] for index in clip]] for clip in clips for view in views])


def _side(processor: Any) -> tuple[int, int]:
    """Height and width of what the processor makes."""
    size = processor.crop_size if processor.do_center_crop else processor.size
    if "shortest_edge" in size:
        return size["shortest_edge"], size["shortest_edge"]
    return size["height"], size["width"]


def _squares(pixels: torch.Tensor) -> list[torch.Tensor]:
    """Three squares along the longer side of frames of shape `(frames, channels, height, width)`."""
    height, width = pixels.shape[-2:]
    side, dim = min(height, width), -1 if width >= height else -2
    room = max(height, width) - side
    return [pixels.narrow(dim, start, side) for start in (0, room // 2, room)]
