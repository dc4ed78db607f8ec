"""Open a file with FFmpeg, with nothing else in its reach, and find the stream of frames in it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

from ..display import scrub
from .errors import VideoDecodingError, one_line, reason
from .inputs import is_seekable
from .limits import VideoLimits
from .picture import UPRIGHT, Orientation, still_orientation


if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

# A file that holds less than this part of what its header promises was cut off.
COMPLETE_SHARE = 0.8

# The kinds of streams that have no picture, as PyAV sorts them.
STREAM_KINDS = ("audio", "subtitles", "data")

# Frames with more pixels than 4K count as large: how many of them a decoder holds is looked at.
LARGE_FRAME = 2**23

# Codecs that look back at up to 16 frames, by parts of the names of their decoders, and how many frames these hold.
_FAR_LOOKING = ("264", "265", "hevc", "vvc", "vp8", "vp9", "av1", "dav1d", "avs", "evc")
_HELD_FAR, _HELD = 27, 3

# Bytes that a decoder may hold for each pixel of the limit: 8K of 8 bits passes, and all stays below 2 GiB.
_BYTES_PER_PIXEL = 52

# How many pixels the flag "default" outweighs, where FFmpeg chooses among streams.
_DEFAULT_BONUS = 5_000_000


class GuardedFile:
    """A file without its name, that seems to be at its end where reading it fails.

    FFmpeg goes by the content alone, takes no name for a protocol or a pattern, and decodes what comes before a fault.

    Args:
        file (`BinaryIO`): The file; only one that says it cannot seek is read from front to back.

    Attributes:
        error (`Exception`, *optional*): Why it could not be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.error: Exception | None = None
        self.file = file
        if is_seekable(file):
            self.seek, self.tell = self._seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        try:
            data = self.file.read(size)
            if not isinstance(data, bytes) or len(data) > size >= 0:
                raise TypeError(f"`read({size})` gave no bytes, or too many")
            return data
        except Exception as error:
            self.error = error
            return b""

    def _seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self.file.seek(offset, whence)
        except Exception as error:
            # A wrong place in the index of the video is no fault of the file.
            if not isinstance(error, (ValueError, OverflowError)):
                self.error = self.error or error
            raise OSError("no such place in the file") from error


def open_container(file: GuardedFile, name: str, limits: VideoLimits) -> InputContainer:
    """Let FFmpeg open a file object, from its start if it can seek, with no other file or address in its reach."""
    import av

    if is_seekable(file):
        file.file.seek(0)
    # A playlist names other files and URLs: no protocol is allowed to open them.
    options = {"protocol_whitelist": "none", **limits_for_ffmpeg(limits)}
    try:
        return av.open(file, mode="r", options=options, metadata_errors="replace")
    except Exception as error:
        if file.error is not None:
            raise not_read(name, file.error) from scrub(file.error)
        if not isinstance(error, av.FFmpegError):
            raise not_read(name, error) from scrub(error)
        if is_seekable(file) and _is_mp4(file.file):
            fault, remedy = "is an MP4 file cut off before its index", "replace it by a complete copy"
        else:
            fault, remedy = "is not a video in a format that FFmpeg reads", "check that it is a complete video file"
        raise VideoDecodingError(f"{name} {fault} ({reason(error)}); {remedy}.") from scrub(error)


def limits_for_ffmpeg(limits: VideoLimits) -> dict[str, str]:
    """The limits as options of FFmpeg, for containers and for the decoders that look at their first packets."""
    # One more, as FFmpeg leaves out what exceeds it without a word.
    return {"max_pixels": _max_pixels(limits.pixels), "max_streams": str(limits.tracks + 1)}


def _max_pixels(pixels: int) -> str:
    # FFmpeg counts the margins of its blocks too. Where the size is known, `check_size` is exact.
    return str(pixels + pixels // 8 + 2**16)


def not_read(name: str, error: BaseException) -> VideoDecodingError:
    """What is raised where the file of a video, and not the video, is at fault."""
    return VideoDecodingError(f"{name} cannot be read ({one_line(error)}); check the file and its disk.")


def _is_mp4(file: BinaryIO) -> bool:
    file.seek(4)
    return file.read(4) == b"ftyp"


def choose_stream(container: InputContainer, name: str, limits: VideoLimits) -> VideoStream:
    """Give the video stream that FFmpeg would choose, and refuse a container without one that can be decoded.

    Covers and thumbnails are left out. Of several streams, the larger one is taken; one that is marked as default
    counts as if it had 5 million pixels more.

    Raises:
        VideoDecodingError: There is none, or its frames are larger than the limits allow.
    """
    import av

    if len(container.streams) > limits.tracks:
        raise VideoDecodingError(
            f"{name} has more than {limits.tracks} tracks; take out what is not needed, or raise `tracks` of the "
            "limits."
        )
    # The cover of a sound file is a video stream too, and so are the tiles of a still picture.
    flags = av.stream.Disposition
    others = flags.attached_pic | flags.timed_thumbnails | flags.dependent
    streams = [stream for stream in container.streams.video if not stream.disposition & others]
    if not streams:
        # `stream.type` of an unknown kind ends the process in some versions of PyAV.
        kinds = ", ".join(kind for kind in STREAM_KINDS if getattr(container.streams, kind)) or "nothing"
        raise VideoDecodingError(f"{name} has no video stream (it holds: {kinds}); pass a complete video file.")
    known = [stream for stream in streams if stream.codec_context is not None]
    if not known:
        raise VideoDecodingError(
            f"{name} has a video stream that FFmpeg cannot decode; check that the file is complete, or convert it."
        )
    # Of equal ones, the first.
    chosen = max(
        known,
        key=lambda stream: stream.width * stream.height + _DEFAULT_BONUS * bool(stream.disposition & flags.default),
    )
    check_size(chosen.width, chosen.height, name, limits)
    check_decoder(chosen, name, limits)
    # What grows on the way may be large only if it was announced.
    most = min(limits.pixels, max(chosen.width * chosen.height, LARGE_FRAME))
    chosen.codec_context.options = {**chosen.codec_context.options, "max_pixels": _max_pixels(most)}
    return chosen


def check_size(width: int, height: int, name: str, limits: VideoLimits) -> None:
    """Refuse frames that are larger than the limits allow, with a `VideoDecodingError`."""
    if width * height > limits.pixels:
        raise VideoDecodingError(
            f"{name} has frames of {width} x {height}, more than {limits.pixels:,} pixels; make it smaller, or raise "
            "`pixels` of the limits."
        )


def check_decoder(stream: VideoStream, name: str, limits: VideoLimits) -> None:
    """Refuse large frames of which the decoder might hold too many, with a `VideoDecodingError`."""
    context = stream.codec_context
    if context.width * context.height <= LARGE_FRAME or context.format is None:
        return
    held = _HELD_FAR if any(part in context.codec.name for part in _FAR_LOOKING) else _HELD
    size = context.width * context.height * context.format.padded_bits_per_pixel // 8 * held
    if size > _BYTES_PER_PIXEL * limits.pixels:
        raise VideoDecodingError(
            f"{name} has frames of {context.width} x {context.height} in the format '{context.format.name}', of which "
            f"a decoder may hold {size / 2**30:.1f} GiB; make it smaller, or raise `pixels` of the limits."
        )


def orientation_of_file(container: InputContainer, file: GuardedFile) -> Orientation:
    """How a file of one still picture says that it is turned; FFmpeg does not hand on that of every kind."""
    is_still = container.format.name.endswith("_pipe") and is_seekable(file)
    if not is_still:
        return UPRIGHT
    place = file.file.tell()
    try:
        return still_orientation(file.file)
    finally:
        file.file.seek(place)


class PacketTally:
    """Counts the packets of a file as they are demuxed, and compares them with what its header promises.

    Args:
        container (`InputContainer`): The opened file.
        stream (`VideoStream`): The stream whose packets hold the frames.

    Attributes:
        packets (`int`): Number of packets so far that hold a frame.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.container, self.stream = container, stream
        self.packets = 0
        self.end = Fraction(0)

    def add(self, packet: Packet) -> None:
        """Count a packet of any stream."""
        # An edit list discards packets that are only needed to decode others.
        self.packets += packet.stream_index == self.stream.index and packet.size > 0 and not packet.is_discard
        if packet.pts is not None and packet.time_base is not None:
            self.end = max(self.end, (packet.pts + (packet.duration or 0)) * packet.time_base)

    def promised_if_cut_off(self) -> int | None:
        """Give the number of frames that the header promises if much less was there at the end of the file."""
        import av

        # Each promise is wrong in some good files (a trimmed video, a variable rate, a longer sound): both must be
        # broken.
        container, stream = self.container, self.stream
        seconds = Fraction(container.duration or 0, av.time_base)
        start = Fraction(container.start_time or 0, av.time_base)
        rate = stream.average_rate or Fraction(0)
        if container.format.name == "avi" and rate:  # whose duration FFmpeg shortens to what is left of the file
            seconds = stream.frames / rate
        if "matroska" in container.format.name:  # whose duration counts from 0, wherever the first frame is
            start = Fraction(0)
        promised = stream.frames or int(seconds * rate)
        too_short = not seconds or self.end - start < COMPLETE_SHARE * seconds
        return promised if self.packets < COMPLETE_SHARE * promised and too_short else None
