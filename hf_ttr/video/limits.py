"""How much a video may ask for, whatever it declares."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class VideoLimits:
    """Limits of one video, which are looked at before memory is taken.

    They hold for what comes from outside: files, bytes, addresses, and pictures that are decoded when their frame is
    read. Arrays are already in memory.

    Args:
        pixels (`int`): Largest number of pixels of a frame. The default, 2**25, lets 7680 x 4320 pass.
        frames (`int`): Largest number of frames of a file, where they are counted before some are chosen.
        tracks (`int`): Largest number of tracks in a file.
        bytes (`int`): Largest size of what is downloaded, or read from a pipe, before it is decoded.
        seconds (`float`): Longest time of a download, all its redirections together.
        redirects (`int`): Largest number of redirections of a download.
        threads (`int`, *optional*): Largest number of threads that decode; by default as many as FFmpeg finds good for
            one video at a time.

    Raises:
        ValueError: A limit is not positive, or negative for `redirects`.

    Example:

    ```python
    >>> import hf_ttr
    >>> from hf_ttr.video import VideoLimits, read_frames

    >>> frames, info = read_frames(hf_ttr.example("demo.mp4"), limits=VideoLimits(pixels=1920 * 1080))
    ```
    """

    pixels: int = 2**25
    frames: int = 10_000_000
    tracks: int = 256
    bytes: int = 2**31
    seconds: float = 600.0
    redirects: int = 10
    threads: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "redirects" else 1
            if field.name == "threads" and value is None:
                continue
            if field.name == "seconds":
                fine = isinstance(value, (int, float)) and value > 0
            else:
                fine = isinstance(value, int) and value >= least
            if isinstance(value, bool) or not fine:
                raise ValueError(f"the limit `{field.name}` is {value!r}; pass a larger number.")


DEFAULT_LIMITS = VideoLimits()
