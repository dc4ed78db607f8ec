"""How the videos of an archive are looked at, and which labels a row of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ..answers.candidate_labels import HYPOTHESIS_TEMPLATE, check_candidate_labels, hypotheses
from ..checks import check_counts, is_number, is_whole
from ..evaluation.protocol import Protocol
from ..video.limits import VideoLimits
from ..video.sampling import FrameSamplingRate, check_sampling, rate_in_force
from ..video.views import check_views
from .cut import ONE_THREAD, Clips, WholeVideo


PACK_OF_GPU = 4

PIECE = 32
"""Frames of a whole video that go through a model of frames at a time."""


@dataclass(frozen=True)
class LabelOptions:
    """
    Which labels a row has.

    Args:
        top_k (`int`): so many of the best.
        candidate_labels (`list[str]`, *optional*): what may be seen, for a model with a text tower.
        hypothesis_template (`str`): the sentence that it reads, with `{}` where the label belongs.

    Raises:
        ValueError: if one of them is none; one sentence.
    """

    top_k: int = 5
    candidate_labels: Sequence[str] | None = None
    hypothesis_template: str = HYPOTHESIS_TEMPLATE

    def __post_init__(self) -> None:
        check_counts(top_k=self.top_k)
        if self.candidate_labels is not None:
            hypotheses(check_candidate_labels(self.candidate_labels, exclusive=False), self.hypothesis_template)


@dataclass(frozen=True)
class ArchiveOptions:
    """
    How the videos of an archive are looked at.

    Args:
        views (`int`): 1, the frame as the processor makes it, or 3 squares along its longer side.
        num_clips (`int`, *optional*): look at so many clips of `num_frames`, spread over the video, as `hf-ttr
            evaluate` does, and not at the whole.
        num_frames (`int`, *optional*): frames of a clip, by default as many as the model's config says; of a whole
            video, those that go through a model of frames at a time, by default 32.
        frame_sampling_rate (`int` or `"spread"`, *optional*): step between frames, by default the processor's or 1.
        temporal_reuse (`dict`, *optional*): settings of reuse that differ from those of the checkpoint.
        verify (`float`): share of the videos that the dense model sees as well; their rows say how far the two are
            apart.
        pack (`int`, *optional*): videos in one call of the model, by default 1, and 4 on a GPU. By itself a video
            does not depend on others; together they are rounded differently in the last digits.
        decoders (`int`): processes that decode.
        time_limit (`float`): seconds for one piece, after which its decoder counts as hung.
        memory_limit (`int`): bytes that a decoder may take beyond those that it starts with.
        limits (`dict`, *optional*): how much a video may ask for, where it differs from `hf_ttr.video.VideoLimits`,
            such as `{"pixels": 2**23}`; a decoder has one thread unless `threads` says otherwise.
        device, dtype (`str`, *optional*): where and in what to run, by default on a GPU if there is one, as saved.

    Raises:
        ValueError: if one is out of range; one sentence.
    """

    views: int = 1
    num_clips: int | None = None
    num_frames: int | None = None
    frame_sampling_rate: FrameSamplingRate | None = None
    temporal_reuse: dict[str, Any] | None = None
    verify: float = 0.0
    pack: int | None = None
    decoders: int = 1
    time_limit: float = 120.0
    memory_limit: int = 4 << 30
    limits: dict[str, Any] | None = None
    device: str | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        chosen = {"pack": self.pack, "num_clips": self.num_clips}
        chosen = {name: value for name, value in chosen.items() if value is not None}
        check_counts(decoders=self.decoders, memory_limit=self.memory_limit, **chosen)
        check_views(self.views)
        check_sampling(self.num_frames, self.frame_sampling_rate)
        if not is_number(self.verify) or not 0 <= self.verify <= 1:
            raise ValueError(f"verify is {self.verify!r}, but is a share of the videos, from 0 to 1.")
        if not is_number(self.time_limit) or self.time_limit <= 0:
            raise ValueError(f"time_limit is {self.time_limit!r}, but must be a number of seconds above 0.")
        known = [one.name for one in fields(VideoLimits)]
        if unknown := sorted(set(self.limits or {}) - set(known)):
            raise ValueError(f"limits has no {unknown[0]!r}; there are {', '.join(known)}.")
        # Looks at the values.
        _ = self.video_limits

    @property
    def video_limits(self) -> VideoLimits:
        """How much a video may ask for."""
        return replace(ONE_THREAD, **(self.limits or {}))

    def pack_on(self, device: str) -> int:
        """Videos in one call of a model on a device of this type: few fill a CPU."""
        return self.pack or (1 if device == "cpu" else PACK_OF_GPU)

    def cut_for(self, config: Any, processor: Any) -> WholeVideo | Clips:
        """
        Which frames a model sees, in which pieces.

        Args:
            config: of the model.
            processor: a `TemporalReuseVideoProcessor`.

        Raises:
            ValueError: if they do not fit the model; one sentence.
        """
        window = config.window_frames
        if window is not None and self.num_frames not in (None, window):
            raise ValueError(
                f"num_frames is {self.num_frames}, but the model sees windows of {window} frames; leave it out."
            )
        rate = rate_in_force(self.frame_sampling_rate, processor)
        if self.num_clips is not None:
            protocol = Protocol(self.num_clips, self.views, self.num_frames or config.num_frames, rate)
            return Clips(protocol, self.video_limits)
        if not is_whole(rate):
            raise ValueError(
                f"frame_sampling_rate is {rate!r}, which is for clips; pass num_clips too, or a whole number."
            )
        return WholeVideo(self.num_frames or window or PIECE, self.views, int(rate), self.video_limits)
