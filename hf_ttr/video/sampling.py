"""
Which frames of a video a model is shown: one rule for every processor, pipeline and command.

A clip is the first `num_frames` frames of a video, `frame_sampling_rate` apart: by default each frame, which is what
transformers' own pipeline takes, and what a stream has. Frames that follow each other are alike, and reuse lives on
that. Several clips begin at even distances, the last of them ends with the video. `"spread"` takes the frames of a
clip from the whole video instead: it sees more of it, seconds apart, and reuses less.
"""

from __future__ import annotations

from typing import Any, Literal

from ..checks import is_whole


SPREAD: Literal["spread"] = "spread"
"""The sampling rate of clips whose frames are spread over the whole video."""

FrameSamplingRate = int | Literal["spread"]


def check_sampling(num_frames: Any, frame_sampling_rate: Any) -> None:
    """
    Looks whether the two settings are such; `None` leaves one open.

    Raises:
        ValueError: if one is not; one sentence.
    """
    if num_frames is not None and not (is_whole(num_frames) and num_frames >= 1):
        raise ValueError(f"`num_frames` must be a positive integer or None, not {num_frames!r}.")
    rate = frame_sampling_rate
    if rate is not None and rate != SPREAD and not (is_whole(rate) and rate >= 1):
        raise ValueError(f"`frame_sampling_rate` must be a positive integer, '{SPREAD}' or None, not {rate!r}.")


def rate_in_force(asked: FrameSamplingRate | None, processor: Any) -> FrameSamplingRate:
    """The sampling rate that was asked for, or that of a `TemporalReuseVideoProcessor`, or 1."""
    rate: FrameSamplingRate = asked or processor.frame_sampling_rate or 1
    return rate


def choose_clips(
    total: int, num_frames: int | None, frame_sampling_rate: FrameSamplingRate | None = None, num_clips: int = 1
) -> list[list[int]]:
    """
    The frames of each clip, as the rule above has it.

    Args:
        total (`int`): frames of the video, at least 1.
        num_frames (`int`, *optional*): frames of a clip; without it one clip has all of them.
        frame_sampling_rate (`int` or `"spread"`, *optional*): step between them, in frames; 1 if left out.
        num_clips (`int`): how many clips.

    Returns:
        `list[list[int]]`: the indices, in order. Where the video is shorter than a clip, its last frame comes again.
    """
    rate = 1 if frame_sampling_rate is None else frame_sampling_rate
    if num_frames is None:
        return [list(range(0, total, 1 if rate == SPREAD else int(rate)))]
    if rate == SPREAD and num_frames <= total:
        # Clips of the same stretch, each between the frames of the others.
        places = _evenly(total - 1, num_frames * num_clips)
        return [places[number::num_clips] for number in range(num_clips)]
    step = 1 if rate == SPREAD else int(rate)
    room = max(0, total - 1 - (num_frames - 1) * step)
    return [
        [min(start + number * step, total - 1) for number in range(num_frames)] for start in _evenly(room, num_clips)
    ]


def _evenly(last: int, count: int) -> list[int]:
    """So many whole numbers from 0 to `last`, ends included; 0 if it is one alone."""
    return [round(index * last / (count - 1)) for index in range(count)] if count > 1 else [0]
