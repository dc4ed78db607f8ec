"""Archives on a Ray cluster: classes for `map_batches` of Ray Data, each of which holds one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .archive.actors import VideoClassifier, VideoEmbedder


def find_videos(source: str | Sequence[str]) -> Any:
    """
    The videos of an archive as a Ray data set, with a column `path`; nothing is opened.

    Args:
        source: a folder, a pattern (`"/archive/**/*.mp4"`), a file with a list of paths (`.txt`, `.csv`, `.jsonl`,
            `.parquet`), an address that fsspec knows (`"s3://bucket/prefix"`), or a list of paths.

    Returns:
        `ray.data.Dataset`

    Raises:
        DataError: if there is no video; one sentence.
    """
    from .archive.engine import data_set
    from .archive.sources import find_paths

    return data_set(find_paths(source).paths)


__all__ = ["VideoClassifier", "VideoEmbedder", "find_videos"]
