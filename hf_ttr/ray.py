"""Archives on a Ray cluster: classes for `map_batches` of Ray Data, each of which holds one model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from .archive.actors import VideoClassifier, VideoEmbedder
from .display import shown


def find_videos(source: str | Sequence[str]) -> Any:
    """
    The videos of an archive as a Ray data set, with a column `path`; nothing is opened. What is left out is a warning.

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

    found = find_paths(source)
    for note in found.notes:
        warnings.warn(shown(note, None), stacklevel=2)
    return data_set(found.paths)


__all__ = ["VideoClassifier", "VideoEmbedder", "find_videos"]
