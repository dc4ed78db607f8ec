"""Archives: every video of a folder, a bucket or a list becomes one row of a table."""

from .actors import VideoClassifier, VideoEmbedder
from .engine import Workers, run_archive
from .options import ArchiveOptions
from .row import ClassifiedVideo, EmbeddedVideo, VideoRow


__all__ = [
    "ArchiveOptions",
    "ClassifiedVideo",
    "EmbeddedVideo",
    "VideoClassifier",
    "VideoEmbedder",
    "VideoRow",
    "Workers",
    "run_archive",
]
