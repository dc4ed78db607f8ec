"""Decode a video frame by frame, past its damaged packets, and give all that is there before a fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..display import scrub
from ..video import VideoDecodingError, VideoLimits
from ..video.container import PacketTally, check_decoder, check_size
from ..video.errors import reason
from ..video.limits import DEFAULT_LIMITS
from ..video.picture import Orientation, to_rgb
from .base import FrameSource, SourceError, label, one_line
from .clock import StreamClock
from .container import OpenVideo
from .frame import Frame


if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame

# Packets in a row without a frame after which nothing more is hoped for.
BARREN_PACKETS = 500

# Seconds until a camera that had no frame is asked again.
CAMERA_PAUSE = 0.005

# Frames that are reordered, or wait for others, at a time.
MOST_MISSING = 64

DEFAULT_FPS = 25.0
# A rate above it is the time base of a container that does not know the rate.
HIGHEST_FPS = 1000.0


class DecodedSource(FrameSource):
    """The frames of an opened video.

    Args:
        video (`OpenVideo`): The opened video; it is closed with the source, at the latest at the end of the stream.
        name (`str`): What the stream is called in messages.
        is_live (`bool`): Whether it is live; its end is then never taken for a file that was cut off, and its frames
            that have no timestamps of their own get the time of their arrival.
        limits (`VideoLimits`): Of the size of its frames.

    Attributes:
        has_known_end (`bool`): Whether its length is known, so that it has ended once it was read to its end.
    """

    def __init__(self, video: OpenVideo, name: str, is_live: bool, limits: VideoLimits = DEFAULT_LIMITS) -> None:
        super().__init__(name, is_live)
        rate = float(video.stream.average_rate or video.stream.guessed_rate or 0)
        self.fps = rate if 0 < rate <= HIGHEST_FPS else None
        self._limits = limits
        self._has_timestamps = video.has_timestamps
        self._video: OpenVideo | None = video
        # Of a playlist it is that of the list.
        self.has_known_end = video.container.size > 0 and "hls" not in video.container.format.name
        self._tally = PacketTally(video.container, video.stream)
        self._packets = video.container.demux()
        self._clock = StreamClock()
        # The stamp of what is time 0.
        self._origin: float | None = None
        self._arrival = 0.0
        self._decodes: Literal["DEFAULT", "NONREF"] = "DEFAULT"
        self._left_out = 0
        # Of frames that did not come out of their packets.
        self._missing: set[int] = set()
        self._barren = 0
        self._lock = threading.Lock()  # held while FFmpeg is at work: it must not be closed meanwhile

    def _frames(self) -> Generator[Frame, None, None]:
        try:
            while True:
                with self._lock:
                    # Whoever holds the lock closes; `close` from another thread may have been refused it.
                    if self._closing.is_set() or self._video is None:
                        return
                    frames, end, fault = self._step(self._video)
                yield from frames
                if fault is not None:
                    raise fault
                if end:
                    return
        finally:
            self.close()

    def _step(self, video: OpenVideo) -> tuple[list[Frame], bool, SourceError | None]:
        """Read one packet: the frames that are ready, whether it is the end, and the fault that ended it."""
        import av

        broken: Exception | None = None
        packet: Packet | None = None
        began = time.monotonic()
        try:
            packet = next(self._packets, None)
        except av.error.BlockingIOError:  # some cameras have nothing yet, and do not wait
            self._closing.wait(CAMERA_PAUSE)
            self._packets = video.container.demux()
            return [], False, None
        except Exception as error:  # of FFmpeg, or of the file object of a caller
            broken = error
        # Of a wait that was broken off, FFmpeg's parser may give what it held back, as if nothing had been.
        is_silent = self.is_live and video.timeout is not None and time.monotonic() - began >= video.timeout
        end = packet is None or is_silent
        pictures: list[VideoFrame] = []
        if packet is not None:
            self._arrival = time.monotonic()
            self._tally.add(packet)
            # A packet without data is the mark of the end, or a frame left out: neither holds a picture.
            if packet.stream_index == video.stream.index and packet.size > 0:
                is_surplus = self._is_surplus(packet)
                pictures = self._decode(video, packet, is_surplus)
                self.received += not packet.is_discard
                if pictures or packet.is_discard:
                    self._barren = 0
                elif is_surplus:
                    self._leave_out(packet.pts)
                else:
                    self._barren += 1
                end = end or self._barren >= BARREN_PACKETS
        if end:
            pictures += self._decode(video, None)
        try:
            check_decoder(video.stream, self.label, self._limits)
            frames = [self._frame(video, picture) for picture in pictures]
        except VideoDecodingError as error:  # a frame that is too large
            return [], True, SourceError(str(error))
        return frames, end, self._fault(video, broken, is_silent) if end else None

    def _leave_out(self, pts: int | None) -> None:
        """Notes a frame that did not come out of its packet: it is left out, or comes later."""
        if pts is None or len(self._missing) >= MOST_MISSING:
            self._left_out += 1 + len(self._missing)
            self._missing.clear()
        else:
            self._missing.add(pts)

    def _number(self, pts: int | None) -> int:
        """The number of a frame in the source: those that were left out before it count."""
        if pts is not None and self._missing:
            self._missing.discard(pts)
            before = {one for one in self._missing if one < pts}
            self._missing -= before
            self._left_out += len(before)
        return self.decoded + self._left_out

    def _is_surplus(self, packet: Packet) -> bool:
        """Whether the frame of a packet is known not to be looked at."""
        if self.thinning is None or self._origin is None:
            return False
        stamp = self._stamp(packet.pts, packet.time_base)
        return stamp is not None and self.thinning.is_surplus(stamp - self._origin)

    def _stamp(self, pts: int | None, base: Fraction | None) -> float | None:
        """The time of a frame on the clock of its source, or of its arrival if that has none."""
        if self.is_live and not self._has_timestamps:
            return self._arrival
        # What the decoder gives at the end has no time base of its own.
        return None if pts is None or base is None else float(pts * base)

    def _decode(self, video: OpenVideo, packet: Packet | None, is_surplus: bool = False) -> list[VideoFrame]:
        """The frames that a packet completes; of one that is surplus, only what others need is decoded."""
        import av

        if is_surplus and video.stream.codec_context.codec.intra_only:
            return []
        wanted: Literal["DEFAULT", "NONREF"] = "NONREF" if is_surplus else "DEFAULT"
        if wanted != self._decodes:
            video.stream.codec_context.skip_frame = self._decodes = wanted
        try:
            return video.stream.decode(packet)
        except (av.FFmpegError, MemoryError, ValueError):
            self.damaged_packets += packet is not None
            return []

    def _frame(self, video: OpenVideo, picture: VideoFrame) -> Frame:
        check_size(picture.width, picture.height, self.label, self._limits)
        step = 1 / (self.fps or DEFAULT_FPS)
        stamp = self._stamp(picture.pts, video.stream.time_base)
        moment = self._clock.time_of(stamp, step, self._arrival if self.is_live else None)
        if self._origin is None and stamp is not None:
            self._origin = stamp - moment
        self.repaired_timestamps = self._clock.repaired
        frame = Frame(partial(_convert, picture, self.name, video.still), moment, self._number(picture.pts))
        self.decoded += 1
        return frame

    def _fault(self, video: OpenVideo, error: Exception | None, is_silent: bool) -> SourceError | None:
        """What was wrong with the stream that is at its end, if anything."""
        import av

        after = f"after {self.decoded} frames"
        copy = "replace it by a complete copy"
        sender = "check the network and its sender"
        if video.timeout is not None and (is_silent or isinstance(error, av.error.ExitError)):
            text = f"gave nothing for {video.timeout:g} s {after}; {sender}, or raise `timeout`"
        elif video.guard is not None and video.guard.error is not None:
            error = video.guard.error
            text = f"broke off {after} ({one_line(error)}); check the file object"
        elif error is not None:
            if video.timeout is not None:
                text = f"broke off {after} ({reason(error)}); {sender}"
            else:
                text = f"is damaged or cut off: reading failed {after} ({reason(error)}); {copy}"
        elif self._barren >= BARREN_PACKETS:
            text = f"gave no frame in {BARREN_PACKETS} packets in a row {after}; {copy}, or check its sender"
        elif self.decoded == 0:
            text = f"holds no frame that can be decoded; {copy}"
        elif not self.is_live and (promised := self._tally.promised_if_cut_off()):
            text = f"is cut off: it holds {self.decoded} of the {promised} frames that its header promises; {copy}"
        else:
            return None
        fault = SourceError(f"{self.label} {text}.")
        fault.__cause__ = scrub(error) if error is not None else None
        return fault

    def close(self) -> None:
        """Close the video now, or, while another thread is waiting for data, as soon as these have come."""
        super().close()
        if self._lock.acquire(blocking=False):
            try:
                if self._video is not None:
                    self._packets.close()  # type: ignore[attr-defined]
                    self._video.close()
                    self._video = None
            finally:
                self._lock.release()


def _convert(picture: VideoFrame, name: str, still: Orientation) -> np.ndarray:
    try:
        return to_rgb(picture, still)
    except Exception as error:
        raise SourceError(
            f"{label(name)} has frames in the pixel format '{picture.format.name}', which cannot be turned to RGB "
            f"({one_line(error)}); convert it."
        ) from scrub(error)
