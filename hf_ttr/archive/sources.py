"""The videos of an archive, by their paths: of a folder, a pattern, a bucket, or a list of them."""

from __future__ import annotations

import glob
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..checks import first_line
from ..display import scrub, shown
from ..evaluation.metadata import DataError, rows_of
from ..video.errors import one_line
from ..video.listing import VIDEO_ENDINGS, VideoFolder, list_videos


LIST_ENDINGS = (".txt", ".csv", ".jsonl", ".parquet")
"""How the names of lists of paths end."""

# Two letters at least, so that a drive such as C: remains a path.
_ADDRESS = re.compile(r"[a-z][\w+.-]+://", re.IGNORECASE)
_MAGIC = re.compile(r"[*?\[]")


@dataclass
class Found:
    """
    The videos of an archive.

    Attributes:
        paths: of them, sorted, each once: absolute paths of local files, and addresses.
        notes: what the user should know of what was left out, one sentence each.
    """

    paths: list[str]
    notes: list[str] = field(default_factory=list)


def find_paths(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Found:
    """
    The videos that a source stands for; none of them is opened.

    Args:
        source: a folder, with all below it (see `hf_ttr.video.list_videos`); a pattern, such as `/archive/**/*.mp4`;
            a video; an address of a video, or one that fsspec can list, with a pattern or without
            (`s3://bucket/prefix`); a list in a file: `.txt` with a path in each line, or `.csv`, `.jsonl` or
            `.parquet` with a column `path`, where relative paths are relative to the file; or a list of paths.
            What a list names is taken as it is, whatever its name, also where there is nothing.

    Raises:
        DataError: if there is nothing, or no video in it; one sentence.
    """
    if not isinstance(source, (str, os.PathLike)):
        return _each_once((_whole(os.fsdecode(path), os.getcwd()) for path in source), "the list of paths")
    path = os.fsdecode(source)
    name = f"'{shown(path)}'"
    if path.lower().startswith("file://"):
        path = _local(path)
    if path.lower().startswith(("http://", "https://")):
        return Found([path])
    if _ADDRESS.match(path):
        return _in_bucket(path)
    if os.path.isdir(path):
        listed = list_videos(path)
        root = os.path.abspath(path)
        videos = (os.path.join(root, *video.split("/")) for video in listed.videos)
        return _each_once(videos, f"the folder {name}", listed)
    if not os.path.lexists(path) and _MAGIC.search(path):
        return _matches(path, glob.iglob(path, recursive=True), os.path.isdir, os.path.abspath)
    if not os.path.exists(path):
        raise DataError(f"{name} does not exist; check the path.")
    if path.lower().endswith(LIST_ENDINGS):
        above = os.path.dirname(os.path.abspath(path))
        return _each_once((_whole(entry, above) for entry in _entries(path, name)), f"the list {name}")
    return _each_once([os.path.abspath(path)], name)


def _whole(path: str, folder: str) -> str:
    """An entry of a list in a folder, or at an address: an address, or an absolute path."""
    if path.lower().startswith("file://"):
        return _local(path)
    if _ADDRESS.match(path):
        return path
    if _ADDRESS.match(folder) and not os.path.isabs(path):
        return f"{folder}/{path.removeprefix('./')}"
    return os.path.abspath(os.path.join(folder, path))


def _local(address: str) -> str:
    try:
        return os.path.abspath(url2pathname(urlsplit(address).path))
    except ValueError as error:
        raise DataError(f"'{shown(address)}' is no file URL; check the path.") from scrub(error)


def _each_once(paths: Iterable[str], name: str, listed: VideoFolder | None = None) -> Found:
    """The paths in their order, without what cannot stand in a table."""
    notes = [] if listed is None else listed.notes()
    found = sorted(paths)
    kept: list[str] = []
    again: list[str] = []
    foreign: list[str] = []
    for path in found:
        if kept and path == kept[-1]:
            again.append(path)
        elif not path.isascii() and path != path.encode("utf-8", "replace").decode():
            foreign.append(path)
        else:
            kept.append(path)
    if again:
        one = len(again) == 1
        count, verb = ("1 path comes", "counts") if one else (f"{len(again)} paths come", "count")
        notes.append(f"{count} more than once, and {verb} once; the first: {shown(again[0])}.")
    if foreign:
        one = len(foreign) == 1
        names, them = ("1 name is", "it") if one else (f"{len(foreign)} names are", "them")
        notes.append(f"{names} no Unicode, and left out; rename {them}; the first: {shown(foreign[0])}.")
    if not kept:
        rest = "".join(f" ({note.rstrip('.')})" for note in notes)
        raise DataError(f"{name} holds no video{rest}; pass another.")
    return Found(kept, notes)


def _matches(
    pattern: str,
    paths: Iterable[str],
    is_folder: Callable[[str], bool],
    whole: Callable[[str], str],
) -> Found:
    """The videos that a pattern matches: what its own ending names, or else what has the ending of a video."""
    ending = os.path.splitext(pattern)[1]
    takes_all = bool(ending) and not _MAGIC.search(ending)
    listed, folders = VideoFolder(), 0
    for path in paths:
        if is_folder(path):
            folders += 1
        else:
            (listed.videos if takes_all or _is_video(path) else listed.others).append(path)
    if not listed.videos and folders:
        raise DataError(
            f"the pattern '{shown(pattern)}' matches folders, and no video; pass '{shown(pattern)}/**/*.mp4' for what "
            "is in them."
        )
    listed.others.sort()
    return _each_once(map(whole, listed.videos), f"the pattern '{shown(pattern)}'", listed)


def _is_video(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in VIDEO_ENDINGS


def _entries(path: str, name: str) -> Iterator[str]:
    """What a list in a file names; its name is for messages."""
    try:
        if path.lower().endswith(".txt"):
            # A name need not be Unicode.
            with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
                yield from (line.rstrip("\n") for line in file if line.strip())
            return
        for number, row in enumerate(rows_of(path, columns=["path"]), start=1):
            entry = row.get("path")
            if not isinstance(entry, str) or not entry:
                raise DataError(f"the list {name} has no path in row {number}; add it, or leave it out.")
            yield entry
    except DataError:
        raise
    # Whatever a reader says of it.
    except Exception as error:
        raise DataError(f"the list {name} cannot be read ({one_line(error)}); correct it.") from scrub(error)


def _in_bucket(address: str) -> Found:
    """What fsspec lists below an address, or what a pattern in it matches."""
    name = f"'{shown(address)}'"
    scheme, _, place = address.partition("://")
    address = f"{scheme}://{place.rstrip('/')}"
    files, path = _file_system(address, name)
    # What follows is the file that the first part is in, such as zip://*.mp4::s3://bucket/videos.zip.
    first, *rest = address.split("::")
    # Parts that fsspec takes off, such as a user and a host, are needed to open what is found.
    front = first[: len(first) - len(path)] if first.endswith(path) else f"{scheme}://"

    def whole(path: str) -> str:
        return "::".join([front + path, *rest])

    try:
        if _MAGIC.search(path) and not _is_there(files, path):
            kinds = {path: facts["type"] for path, facts in files.glob(path, detail=True).items()}
            return _matches(address, kinds, lambda path: kinds[path] == "directory", whole)
        if files.isfile(path):
            if not rest and path.lower().endswith(LIST_ENDINGS):
                above = address.rpartition("/")[0]
                return _each_once((_whole(entry, above) for entry in _fetched(files, path, name)), f"the list {name}")
            return _each_once([whole(path)], name)
        found = [entry for entry in files.find(path) if not _is_hidden(entry.removeprefix(path))]
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{name} cannot be listed ({one_line(error)}); check the address, and that you may read there."
        ) from scrub(error)
    listed = VideoFolder([entry for entry in found if _is_video(entry)])
    listed.others = sorted(entry for entry in found if not _is_video(entry))
    if not found:
        raise DataError(f"there is nothing at {name}; check the address.")
    return _each_once(map(whole, listed.videos), name, listed)


def _is_there(files: Any, path: str) -> bool:
    """Whether a file system has what is named like a pattern."""
    try:
        return bool(files.exists(path))
    # Some refuse what could be no name.
    except Exception:
        return False


def _fetched(files: Any, path: str, name: str) -> list[str]:
    """What a list that is not on this machine names."""
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, f"list{os.path.splitext(path)[1]}")
        files.get_file(path, copy)
        return list(_entries(copy, name))


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _file_system(address: str, name: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        # It says what to install.
        raise DataError(
            f"{name} needs a driver of fsspec that is not installed ({first_line(error)}); install it."
        ) from scrub(error)
    except Exception as error:
        raise DataError(f"{name} is no address that is read ({one_line(error)}); check it.") from scrub(error)
    return files, path


__all__ = ["LIST_ENDINGS", "Found", "find_paths"]
