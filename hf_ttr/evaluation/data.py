"""The videos of a data set, from a folder or from the Hub, not decoded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..display import scrub, shown
from ..video import ConfinedVideo, Reach, list_videos
from ..video.reach import NOWHERE, host_of
from .metadata import METADATA_NAMES, DataError, read_metadata


# As datasets has them: a folder is that of a split if it is named by one of its words.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}

# Where the Hub keeps the files of its data sets.
HUB_HOSTS = ("huggingface.co", "hf.co")


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
        notes: what the user should know of what was left out, one sentence each.
    """

    def __init__(
        self,
        name: str,
        split: str | None,
        videos: Iterable[Video],
        size: int | None = None,
        is_folder: bool = True,
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.split, self.size, self.is_folder = name, split, size, is_folder
        self.notes = list(notes)
        self._videos = videos

    def __iter__(self) -> Iterator[Video]:
        return iter(self._videos)


def open_dataset(
    name: str,
    split: str | None = None,
    streaming: bool | None = None,
    allowed_hosts: Sequence[str] = (),
    allowed_folders: Sequence[str] = (),
) -> VideoDataset:
    """
    Opens a data set; nothing is decoded. Those of the Hub, and folders of Parquet files, go through `datasets`.

    What a row names is read only where it may lie: bytes in the row; a path in the folder of the data set, or in the
    caches of `datasets`; a URL on the Hub.

    Args:
        name: a folder in one of the layouts of `datasets`' videofolder (`CLASS/VIDEO`, `SPLIT/CLASS/VIDEO`, or with a
            metadata.csv, .jsonl or .parquet that has the columns `file_name` and `label`), or with Parquet files, or
            the id of a data set on the Hub. What is a video is told by `hf_ttr.video.VIDEO_ENDINGS`.
        split (`str`, *optional*): which part; needed where there are several.
        streaming (`bool`, *optional*): whether to fetch videos one by one as they are needed; by default those of the
            Hub.
        allowed_hosts: other hosts that rows may lead to, with those below them, also by redirection.
        allowed_folders: other folders that rows may lead to.

    Raises:
        DataError: if there is no such data set or split, or no videos in it.
    """
    is_folder = os.path.isdir(name)
    if not is_folder and (os.path.exists(name) or name.startswith((".", "/", "~"))):
        raise DataError(f"the data set '{shown(name)}' is no folder; pass one with videos, or the id of a data set.")
    if is_folder:
        if videos := _open_folder(name, split, tuple(allowed_folders)):
            return videos
        if not _has_parquet(name):
            raise DataError(f"the data set '{shown(name)}' holds no video; check its layout.")
    return _open_with_datasets(name, split, streaming, is_folder, allowed_hosts, allowed_folders)


def _open_folder(name: str, split: str | None, allowed: tuple[str, ...]) -> VideoDataset | None:
    """The videos of a folder, by their places in it or by its metadata; `None` if there are none."""
    splits = _splits_of(name)
    if splits:
        split = _chosen(name, split, list(splits))
    elif split not in (None, "train"):
        raise DataError(f"the data set '{shown(name)}' has no split '{shown(split)}', but train; pass one of them.")
    notes: list[str] = []
    found: list[tuple[str, str | None]] = []
    # Paths are relative to the data set.
    for part in splits[split] if splits and split else [""]:
        own, said = _part(os.path.join(name, part), f"{part}/" if part else "")
        found += own
        notes += said
    if not found:
        return None
    found.sort(key=lambda entry: entry[0].split("/"))
    videos = [Video(number, path, _source(name, path, allowed), label) for number, (path, label) in enumerate(found)]
    return VideoDataset(name, split if len(splits) > 1 else None, videos, len(videos), True, notes)


def _part(folder: str, prefix: str) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Paths and labels of the videos of one folder, and what is to be said of the others."""
    listed = list_videos(folder)
    notes = [f"{prefix or 'the folder'}: {note}" if prefix else note for note in listed.notes(METADATA_NAMES)]
    metadata = [path for path in listed.others if path.rpartition("/")[2].lower() in METADATA_NAMES]
    if not metadata:
        # The label is the folder that a video lies in.
        return [(prefix + path, _folder_of(path)) for path in listed.videos], notes
    labels: dict[str, str | None] = {}
    for path in metadata:
        above = path.rpartition("/")[0]
        for file_name, label in read_metadata(os.path.join(folder, path)):
            labels[f"{above}/{file_name}" if above else file_name] = label
    if left := [path for path in listed.videos if path not in labels]:
        notes.append(f"{len(left)} of the videos are not in the metadata, and left out; the first: {shown(left[0])}.")
    return [(prefix + path, label) for path, label in labels.items()], notes


def _folder_of(path: str) -> str | None:
    above = path.rpartition("/")[0]
    return above.rpartition("/")[2] or None


def _source(folder: str, path: str, allowed: tuple[str, ...]) -> ConfinedVideo:
    """What is read for a path: in the folder, links of the user's own followed, or where it is allowed."""
    # Only metadata can lead out of the folder by name.
    leads_out = os.path.isabs(path) or ".." in path.split("/")
    reach = Reach(hosts=(), roots=(folder, *allowed) if leads_out else None)
    return ConfinedVideo({"path": os.path.join(folder, path), "bytes": None}, reach)


def _has_parquet(folder: str) -> bool:
    return any(path.lower().endswith(".parquet") for path in list_videos(folder).others)


def _open_with_datasets(
    name: str,
    split: str | None,
    streaming: bool | None,
    is_folder: bool,
    allowed_hosts: Sequence[str],
    allowed_folders: Sequence[str],
) -> VideoDataset:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"the data set '{shown(name)}' is read with the package datasets, which is not installed; pip install "
            "datasets."
        ) from error

    datasets.disable_progress_bars()
    streaming = not is_folder if streaming is None else streaming
    arguments: dict[str, Any] = {"path": "parquet", "data_dir": name} if is_folder else {"path": name}
    try:
        loaded: Any = datasets.load_dataset(**arguments, streaming=streaming)
    except Exception as error:
        raise DataError(
            f"the data set '{shown(name)}' cannot be read ({_short(error)}); check its name and layout."
        ) from scrub(error)
    splits = list(loaded)
    split = _chosen(name, split, splits)
    part = loaded[split]
    column = next((key for key, kind in (part.features or {}).items() if isinstance(kind, datasets.Video)), None)
    if column is None:
        columns = ", ".join(part.features or {}) or "none"
        raise DataError(
            f"the data set '{shown(name)}' has no column of videos (its columns: {shown(columns)}); pass another."
        )
    # Decoding is ours: that of datasets needs torchcodec.
    part = part.cast_column(column, datasets.Video(decode=False))
    label = part.features.get("label")
    names = label.names if isinstance(label, datasets.ClassLabel) else None
    places = [name] if is_folder else [f"hf://datasets/{name}@", f"hf://datasets/{name}/", *_caches()]
    reach = Reach((*_hub_hosts(), *allowed_hosts), (*places, *allowed_folders))
    return VideoDataset(
        name,
        split if len(splits) > 1 else None,
        _Rows(part, column, names, os.path.abspath(name) if is_folder else None, reach),
        None if streaming else len(part),
        is_folder,
    )


def _chosen(name: str, split: str | None, splits: list[str]) -> str:
    if split is None and len(splits) > 1:
        raise DataError(f"the data set '{shown(name)}' has the splits {', '.join(splits)}; pass one of them.")
    if split is not None and split not in splits:
        raise DataError(
            f"the data set '{shown(name)}' has no split '{shown(split)}', but {', '.join(splits)}; pass one of them."
        )
    return split or splits[0]


def _caches() -> list[str]:
    """Where `datasets` and the Hub put what they fetch."""
    import datasets
    from huggingface_hub import constants

    places = (datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE)
    return [os.fspath(place) for place in places]


def _hub_hosts() -> tuple[str, ...]:
    """The hosts of the Hub, that of another endpoint included."""
    from huggingface_hub import constants

    return (*HUB_HOSTS, host) if (host := host_of(constants.ENDPOINT)) else HUB_HOSTS


class _Rows:
    """Rows of a data set as videos."""

    def __init__(
        self,
        part: Any,
        column: str,
        names: list[str] | None,
        folder: str | None,
        reach: Reach = NOWHERE,
    ) -> None:
        self.part, self.column, self.names, self.folder, self.reach = part, column, names, folder, reach

    def __iter__(self) -> Iterator[Video]:
        for number, row in enumerate(self.part):
            video, label = row[self.column] or {}, row.get("label")
            if self.names is not None and label is not None:
                # A test set without classes has -1.
                label = self.names[label] if 0 <= label < len(self.names) else None
            path = video.get("path")
            name = path or f"video {number}"
            if self.folder is not None and path is not None and os.path.isabs(path):
                name = os.path.relpath(path, self.folder)
            source = ConfinedVideo(video, self.reach)
            yield Video(number, name.replace(os.sep, "/"), source, None if label is None else str(label))


def _splits_of(folder: str) -> dict[str, list[str]]:
    """
    Which folders in a folder are splits: those that are named like one and hold more than videos.

    A class may be named by such a word too, such as "train".
    """
    found: dict[str, list[str]] = {}
    for split, words in SPLITS.items():
        for word in words:
            path = os.path.join(folder, word)
            parts = list(os.scandir(path)) if os.path.isdir(path) else []
            visible = [part for part in parts if not part.name.startswith(".")]
            if any(part.is_dir() or part.name.lower() in METADATA_NAMES for part in visible):
                found.setdefault(split, []).append(word)
    return found


def _short(error: Exception) -> str:
    return shown(" ".join(str(error).split()) or type(error).__name__, 200).rstrip(".")
