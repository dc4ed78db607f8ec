"""Archives: every video of a folder, a bucket or a list becomes one row of a table."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names


if TYPE_CHECKING:
    from .actors import VideoClassifier, VideoEmbedder
    from .engine import Workers, run_archive
    from .options import ArchiveOptions, LabelOptions
    from .row import ClassifiedVideo, EmbeddedVideo, VideoRow


__all__ = [
    "ArchiveOptions",
    "ClassifiedVideo",
    "EmbeddedVideo",
    "LabelOptions",
    "VideoClassifier",
    "VideoEmbedder",
    "VideoRow",
    "Workers",
    "run_archive",
]

# What decodes has no torch.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "actors": ["VideoClassifier", "VideoEmbedder"],
        "engine": ["Workers", "run_archive"],
        "options": ["ArchiveOptions", "LabelOptions"],
        "row": ["ClassifiedVideo", "EmbeddedVideo", "VideoRow"],
    },
)
