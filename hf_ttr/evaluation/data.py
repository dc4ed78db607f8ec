"""The videos of a data set, from a folder or from the Hub, not decoded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


class DataError(ValueError):
    """A data set cannot be used; the message is one sentence that names it, the fault and the remedy."""


@dataclass(frozen=True)
class Video:
    """
    One video of a data set.

    Attributes:
        number: its place in the data set, from 0.
        name: its path in the data set, as far as it has one.
        source: what `hf_ttr.video.read_frames` takes.
        label: name of its class; `None` where it has none.
    """

    number: int
    name: str
    source: Any
    label: str | None


class VideoDataset:
    """
    Videos in a fixed order, the same in every process.

    Args:
        name: of the data set, as the user gave it.
        split: of it.
        videos: the videos; iterated once.
        size (`int`, *optional*): how many there are, where that is known beforehand.
        is_folder: whether the name is that of a folder, and not of a data set on the Hub.
    """

    def __init__(
        self,
        name: str,
        split: str | None,
        videos: Iterable[Video],
        size: int | None = None,
        is_folder: bool = True,
    ) -> None:
        self.name, self.split, self.size, self.is_folder = name, split, size, is_folder
        self._videos = videos

    def __iter__(self) -> Iterator[Video]:
        return iter(self._videos)


def open_dataset(name: str, split: str | None = None, streaming: bool | None = None) -> VideoDataset:
    """
    Opens a data set with the `datasets` library; nothing is decoded.

    Args:
        name: a folder in one of the layouts of `datasets`' videofolder (`CLASS/VIDEO`, `SPLIT/CLASS/VIDEO`, or with a
            metadata.csv that has the columns `file_name` and `label`), or the id of a data set on the Hub.
        split (`str`, *optional*): which part; needed where there are several.
        streaming (`bool`, *optional*): whether to fetch videos one by one as they are needed; by default those of the
            Hub.

    Raises:
        DataError: if there is no such data set or split, or no videos in it.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"the data set '{name}' is read with the package datasets, which is not installed; pip install "
            "'hf-ttr[evaluation]'."
        ) from error

    datasets.disable_progress_bars()
    is_folder = os.path.isdir(name)
    if not is_folder and (os.path.exists(name) or name.startswith((".", "/", "~"))):
        raise DataError(f"the data set '{name}' is no folder; pass one with videos, or the id of a data set.")
    streaming = not is_folder if streaming is None else streaming
    arguments: dict[str, Any] = {"path": name}
    if is_folder:
        arguments = {"path": "videofolder", "data_dir": name, "data_files": _splits_of(name)}
    try:
        loaded: Any = datasets.load_dataset(**arguments, streaming=streaming)
    except Exception as error:
        raise DataError(
            f"the data set '{name}' cannot be read ({_short(error)}); check its name and layout."
        ) from error
    splits = list(loaded)
    if split is None and len(splits) > 1:
        raise DataError(f"the data set '{name}' has the splits {', '.join(splits)}; pass one of them.")
    if split is not None and split not in splits:
        raise DataError(f"the data set '{name}' has no split '{split}', but {', '.join(splits)}; pass one of them.")
    part = loaded[split or splits[0]]
    column = next((key for key, kind in (part.features or {}).items() if isinstance(kind, datasets.Video)), None)
    if column is None:
        columns = ", ".join(part.features or {}) or "none"
        raise DataError(f"the data set '{name}' has no column of videos (its columns: {columns}); pass another.")
    # Decoding is ours: that of datasets needs torchcodec.
    part = part.cast_column(column, datasets.Video(decode=False))
    label = part.features.get("label")
    names = label.names if isinstance(label, datasets.ClassLabel) else None
    return VideoDataset(
        name,
        split or (splits[0] if len(splits) > 1 else None),
        _Rows(part, column, names, os.path.abspath(name) if is_folder else None),
        None if streaming else len(part),
        is_folder,
    )


class _Rows:
    """Rows of a data set as videos."""

    def __init__(self, part: Any, column: str, names: list[str] | None, folder: str | None) -> None:
        self.part, self.column, self.names, self.folder = part, column, names, folder

    def __iter__(self) -> Iterator[Video]:
        for number, row in enumerate(self.part):
            video, label = row[self.column], row.get("label")
            if self.names is not None and label is not None:
                # A test set without classes has -1.
                label = self.names[label] if 0 <= label < len(self.names) else None
            path = video.get("path")
            name = path or f"video {number}"
            if self.folder is not None and path is not None and os.path.isabs(path):
                name = os.path.relpath(path, self.folder)
            yield Video(number, name.replace(os.sep, "/"), video, None if label is None else str(label))


def _splits_of(folder: str) -> dict[str, list[str]]:
    """
    Which files of a folder are in which split: those of a subfolder that is named like one and holds more than videos.

    Left to itself, datasets takes every name with such a word in it for a split, such as that of a class
    "training dog", and leaves the others out.
    """
    from datasets.data_files import SPLIT_KEYWORDS

    found: dict[str, list[str]] = {}
    for split, words in SPLIT_KEYWORDS.items():
        for word in words:
            path = os.path.join(folder, word)
            parts = list(os.scandir(path)) if os.path.isdir(path) else []
            if any(part.is_dir() or part.name.startswith("metadata.") for part in parts):
                found.setdefault(str(split), []).append(f"{word}/**")
    return found or {"train": ["**"]}


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return (text if len(text) <= 200 else f"{text[:200]}...").rstrip(".")
