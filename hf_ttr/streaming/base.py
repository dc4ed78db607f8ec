"""What every source of frames has in common."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

from ..display import shown
from ..video import VideoDecodingError
from ..video.errors import one_line
from .frame import Frame
from .states import LIVE, READING
from .thinning import Thinning


SPARE = 1.1
"""Times a rate from which on frames are left out to come down to it."""


class SourceError(VideoDecodingError):
    """A stream cannot be opened or read on; one sentence names the stream, the fault and the remedy.

    Attributes:
        retry_seconds (`float`): For how long it is worth trying again, as the fault may pass by itself; 0 where it
            lies in what was asked for.
    """

    retry_seconds: float = 0.0


class FrameSource(ABC):
    """A stream of frames, read once, from its start to its end.

    `close` may be called from any thread, also while another one waits for a frame.

    Args:
        name (`str`): What the stream is called in messages.
        is_live (`bool`): Whether the frames come in their own time, so that a slow reader should drop some rather
            than fall behind.

    Attributes:
        fps (`float`, *optional*): Frames in a second, where the source says so.
        thinning (`Thinning`, *optional*): Which frames are given; all without one.
        received (`int`): Number of frames that came, whether or not they are given.
        decoded (`int`): Number of those that were decoded.
        damaged_packets (`int`): Number of packets that the decoder refused, and that were skipped.
        repaired_timestamps (`int`): Number of frames whose time was missing, or not after the frame before, and was
            replaced.
        reconnections (`int`): Number of times that the source vanished and came back.
        state (`str`): What it does, see `hf_ttr.streaming.states`; whether frames come is known to who reads them.
        fault (`SourceError`, *optional*): Why it is not there, while it is looked for.
    """

    def __init__(self, name: str, is_live: bool) -> None:
        self.name = name
        self.is_live = is_live
        self.fps: float | None = None
        self.thinning: Thinning | None = None
        self.received = 0
        self.decoded = 0
        self.damaged_packets = 0
        self.repaired_timestamps = 0
        self.reconnections = 0
        self.state = LIVE if is_live else READING
        self.fault: SourceError | None = None
        self._closing = threading.Event()
        self._begun = False

    @property
    def label(self) -> str:
        """What the stream is called at the start of a sentence."""
        return label(self.name)

    def thin(self, max_fps: float) -> None:
        """Give at most so many frames of each second, before the first is read.

        Args:
            max_fps (`float`): Frames in a second. A source that has about as many, or fewer, is given whole.
        """
        # What is not quite regular would lose some of the frames that are wanted.
        if self.fps is None or self.fps > SPARE * max_fps:
            self.thinning = Thinning(max_fps)

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Read the frames.

        Args:
            start (`int`): Number of frames to skip. They are decoded, as those behind them need them, but not
                converted.

        Returns:
            `Iterator[Frame]`: The frames, with strictly increasing times. It ends quietly after `close`.

        Raises:
            SourceError: The source broke off, after all the frames before the fault were given; or it was read
                before.
            ValueError: `start` is negative.
        """
        if start < 0:
            raise ValueError(f"`start` is a number of frames, 0 or more, not {start}.")
        if self._begun:
            raise SourceError(f"{self.label} has been read already; open it again.")
        self._begun = True
        return self._from(start)

    def _from(self, start: int) -> Iterator[Frame]:
        # Without a chain of `close`, the files of an iterator that is given up would stay open for a while.
        with closing(self._frames()) as frames:
            for frame in frames:
                # Those that are skipped count as well, so that a stream that goes on takes the same ones.
                takes = self.thinning is None or self.thinning.takes(frame.time)
                if takes and frame.index >= start:
                    yield frame

    @abstractmethod
    def _frames(self) -> Generator[Frame, None, None]:
        """Read the frames from the first one on."""

    def close(self) -> None:
        """Stop reading and let go of the files and connections; closing again does nothing."""
        self._closing.set()

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def label(name: str) -> str:
    """What a stream of this name is called at the start of a sentence."""
    return f"The stream '{shown(name)}'"


def reason_of(fault: SourceError, name: str) -> str:
    """What a fault says was wrong, for a sentence that names the stream already: without its name and the remedy."""
    return str(fault).rstrip(".").removeprefix(f"{label(name)} ").partition(";")[0]


__all__ = ["FrameSource", "SourceError", "label", "one_line", "reason_of"]
