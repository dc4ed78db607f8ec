"""What is raised where a video cannot be read."""

from __future__ import annotations

from ..display import shown


class VideoDecodingError(ValueError):
    """A video cannot be read; the message is one sentence that names the video, the fault and the remedy."""


def one_line(error: BaseException) -> str:
    """The type of an error and what it says, short enough for the middle of a sentence."""
    text = shown(" ".join(str(error).split()), 200).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def reason(error: BaseException) -> str:
    """What the system or FFmpeg says of an error, or else its type and text."""
    said = getattr(error, "strerror", None)
    return shown(said, 200).rstrip(".") if said else one_line(error)
