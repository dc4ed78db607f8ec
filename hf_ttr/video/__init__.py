"""Read the frames of a video: of a file, a URL, bytes, arrays or pictures, always as RGB `uint8` arrays."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names


if TYPE_CHECKING:
    from .errors import VideoDecodingError
    from .info import VideoInfo
    from .limits import VideoLimits
    from .listing import VIDEO_ENDINGS, VideoFolder, list_videos
    from .reach import ConfinedVideo, Reach
    from .reading import iterate_frames, read_frames


__all__ = [
    "VIDEO_ENDINGS",
    "ConfinedVideo",
    "Reach",
    "VideoDecodingError",
    "VideoFolder",
    "VideoInfo",
    "VideoLimits",
    "iterate_frames",
    "list_videos",
    "read_frames",
]

# What reads needs PyAV, what lists does not.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "errors": ["VideoDecodingError"],
        "info": ["VideoInfo"],
        "limits": ["VideoLimits"],
        "listing": ["VIDEO_ENDINGS", "VideoFolder", "list_videos"],
        "reach": ["ConfinedVideo", "Reach"],
        "reading": ["iterate_frames", "read_frames"],
    },
)
