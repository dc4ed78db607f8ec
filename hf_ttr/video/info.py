"""The facts about a video."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video once its frames are read.

    Attributes:
        frames (`int`): Number of frames of the whole video. It is the number of decoded frames, or the number of
            packets of the file when the frames after the last chosen one were not decoded.
        fps (`float`, *optional*): Frames per second as the container states them, which may be wrong. `None` when it
            states nothing, and for arrays and pictures.
        width (`int`): Width of a frame in pixels, as it is shown: after rotation.
        height (`int`): Height of a frame in pixels, as it is shown: after rotation.
        unit_range (`bool`): Whether the video was given as float arrays in [0, 1]; its frames come out times 255.
        duration (`float`, *optional*): Seconds of the video as the container states them. `None` when it states
            nothing, and for arrays and pictures.
    """

    frames: int
    fps: float | None
    width: int
    height: int
    unit_range: bool = False
    duration: float | None = None
