"""The files of the rows of an archive: written whole, and read so that each video counts once."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..display import shown
from ..evaluation.held_folder import unwritten
from ..evaluation.metadata import DataError
from ..storage.files import write_table
from ..video.errors import one_line
from .row import ClassifiedVideo, EmbeddedVideo, VideoRow, schema_of


ABOUT, PARTS = "archive.json", "parts"
"""Names of the file that says what results are of, and of the folder of the files of rows."""

AGAIN = "run the same command again with --resume"
"""How to go on after a fault, in a sentence."""

_PART = re.compile(r"(\d{5,})\.parquet")
_ABOUT = b"hf_ttr"
"""Of the metadata of a part: what it is of, as JSON."""

_ROWS: dict[str, tuple[type[VideoRow], bool]] = {
    "videos": (VideoRow, False),
    "labels": (ClassifiedVideo, False),
    "embeddings": (EmbeddedVideo, False),
    "embeddings of each frame": (EmbeddedVideo, True),
}
"""Kinds of rows, by the names that `archive.json` has for them."""


def newest_rows(folder: str, about: dict[str, Any], columns: Sequence[str] | None = None) -> Iterator[Any]:
    """
    The rows of a folder, part by part, the newest first, each video once, also while they are written.

    Args:
        folder: of the results.
        about: what they are of.
        columns (`Sequence[str]`, *optional*): the only ones that are read.

    Yields:
        A `pyarrow.Table` for each part.

    Raises:
        DataError: if a part cannot be read, or is of something else; one sentence.
    """
    seen: set[str] = set()
    known: set[str] = set()
    wanted = None if columns is None else list(dict.fromkeys(["path", *columns]))
    # Rows may move to newer parts meanwhile.
    while parts := [path for _, path in reversed(list_parts(folder)) if path not in known]:
        known.update(parts)
        for path in parts:
            try:
                table = read_part(path, about, wanted)
            except FileNotFoundError:
                continue
            kept = _unseen(table.column("path").to_pylist(), seen)
            table = table if len(kept) == len(table) else table.take(kept)
            yield table if columns is None else table.select(list(columns))


def remove_replaced(folder: str, about: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Takes rows that have a newer one out of the parts, and gives the paths and errors of all others."""
    seen: set[str] = set()
    for _, part in reversed(list_parts(folder)):
        table = read_part(part, about, ["path", "error"])
        paths, errors = (table.column(name).to_pylist() for name in ("path", "error"))
        kept = _unseen(paths, seen)
        if len(kept) < len(paths):
            if len(kept):
                write_part(part, read_part(part, about).take(kept), about)
            else:
                _remove(part)
        for row in kept.tolist():
            yield paths[row], errors[row]


def _unseen(paths: Sequence[str], seen: set[str]) -> np.ndarray:
    """Numbers of the rows whose videos have no newer one, in their order; their paths are seen from now on."""
    kept = []
    for row in range(len(paths) - 1, -1, -1):
        if paths[row] not in seen:
            seen.add(paths[row])
            kept.append(row)
    return np.array(kept[::-1], np.int64)


def name_of(kind: type[VideoRow], per_frame: bool) -> str:
    """What `archive.json` calls such rows."""
    return next(name for name, rows in _ROWS.items() if rows == (kind, per_frame))


def kind_of(about: dict[str, Any], folder: str | os.PathLike[str]) -> tuple[type[VideoRow], bool]:
    """
    The kind of the rows of results, and whether embeddings are of each frame.

    Raises:
        DataError: if their description says nothing of it.
    """
    name = about.get("rows")
    if name not in _ROWS:
        raise DataError(
            f"'{shown(os.path.join(folder, ABOUT))}' says nothing of the rows; see to it, or pass another folder."
        )
    return _ROWS[name]


def path_of(folder: str | os.PathLike[str], number: int) -> str:
    """The path of a part."""
    return os.path.join(folder, PARTS, f"{number:05}.parquet")


def list_parts(folder: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """The parts and their numbers, the oldest first."""
    place = os.path.join(folder, PARTS)
    found = []
    try:
        names = os.listdir(place)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(
            f"'{shown(place)}' cannot be read ({shown(error.strerror)}); see to it, or pass another folder."
        ) from error
    for name in names:
        # Hidden are those that are being written.
        if name.startswith("."):
            continue
        if (number := _PART.fullmatch(name)) is None:
            raise DataError(f"'{shown(os.path.join(place, name))}' is none of the results; move it elsewhere.")
        found.append((int(number[1]), os.path.join(place, name)))
    return sorted(found)


def read_part(path: str, about: dict[str, Any], columns: Sequence[str] | None = None) -> Any:
    """
    Columns of a part.

    Raises:
        FileNotFoundError: if it is no longer there.
        DataError: if it cannot be read, or is of something else.
    """
    import pyarrow.parquet

    kind, per_frame = kind_of(about, os.path.dirname(os.path.dirname(path)))
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata or {}
            is_ours = file.schema_arrow.equals(schema_of(kind, per_frame))
            is_ours = is_ours and json.loads(metadata.get(_ABOUT, b"null")) == about
            if is_ours:
                return file.read(columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise
    # Whatever the reader says of it.
    except Exception as error:
        raise DataError(
            f"'{shown(path)}' cannot be read ({one_line(error)}); remove it to do its videos again, or pass another "
            "folder."
        ) from error
    raise DataError(f"'{shown(path)}' is of another run; move it elsewhere, or pass another folder.")


def metadata_of(about: dict[str, Any]) -> dict[bytes, bytes]:
    """What the schema of a table says of the results."""
    return {_ABOUT: json.dumps(about).encode()}


def write_part(path: str, table: Any, about: dict[str, Any]) -> None:
    """
    Writes a part that appears once it is complete.

    Raises:
        DataError: if it cannot be written; one sentence.
    """
    try:
        write_table(path, table.replace_schema_metadata(metadata_of(about)), compression="zstd")
    except OSError as error:
        raise unwritten(path, error, AGAIN) from error


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        raise unwritten(path, error, AGAIN) from error


__all__ = [
    "ABOUT",
    "AGAIN",
    "PARTS",
    "kind_of",
    "list_parts",
    "metadata_of",
    "name_of",
    "newest_rows",
    "path_of",
    "remove_replaced",
    "write_part",
]
