"""The results of an archive: a folder of Parquet files, in which each video has one row."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from ..display import shown
from ..evaluation.held_folder import FolderKind, HeldFolder, described, unwritten
from ..evaluation.metadata import DataError
from ..storage.files import write_table
from ..video.errors import one_line
from .row import ClassifiedVideo, EmbeddedVideo, VideoRow, schema_of, to_table


KIND = FolderKind(
    format="hf-ttr archive 1",
    about="archive.json",
    lock="archive.lock",
    holds="the results of a run",
    holds_none="no results of an archive",
    user="another run",
    again="run the same command again with --resume",
)

PARTS = "parts"
"""Folder of the files of rows."""

PART_ROWS, PART_SECONDS, PART_BYTES = 2000, 30.0, 256 << 20
"""A part is written when there are so many rows or bytes, or after so many seconds."""

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


class ResultsFolder(HeldFolder):
    """
    Takes the folder of the results of an archive for this process, which writes rows to it.

    A video has one row: a newer one replaces an older one, at the latest when the folder is closed, or opened again
    after its process was killed.

    Args:
        folder: for the results; it is made.
        about: what they are of, as JSON has it; neither `format` nor `rows` are in it.
        kind: of the rows.
        per_frame: whether embeddings are of each frame.
        resume: whether to go on with results that are there.

    Attributes:
        done (`set[str]`): paths of the videos that have a row without an error.

    Raises:
        DataError: if another process is at work there; the folder holds something else, or results of something else,
            or any without `resume`; it cannot be read or written; one sentence.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        about: dict[str, Any],
        kind: type[VideoRow],
        per_frame: bool = False,
        resume: bool = False,
    ) -> None:
        folder = os.fspath(folder)
        if "://" in folder:
            raise DataError(
                f"results are not written to an address such as '{shown(folder)}'; pass a folder, and copy it there "
                "when it is complete."
            )
        super().__init__(folder, KIND)
        self.done: set[str] = set()
        self._failed: set[str] = set()
        self._kind, self._per_frame = kind, per_frame and kind is EmbeddedVideo
        self._buffer: list[Any] = []
        self._has_replaced = False
        try:
            self._begin({**about, "rows": _name_of(kind, self._per_frame)}, resume)
        except BaseException:
            self.free()
            raise
        self._next = max((number for number, _ in _parts(folder)), default=-1) + 1
        self._written = time.monotonic()

    def _begin(self, about: dict[str, Any], resume: bool) -> None:
        has_rows = bool(_parts(self.folder))
        if has_rows and not resume:
            raise DataError(
                f"the folder '{shown(self.folder)}' holds results already; pass --resume to go on with them, or "
                "another folder."
            )
        if self.is_begun() and resume:
            self.check_same(about)
        else:
            self.describe(about)
        self._about = described(self.folder, KIND)
        try:
            os.makedirs(os.path.join(self.folder, PARTS), exist_ok=True)
        except OSError as error:
            raise unwritten(self.folder, error, KIND.again) from error
        for path, fault in _remove_replaced(self.folder, self._about):
            (self.done if fault is None else self._failed).add(path)

    def add(self, rows: Sequence[VideoRow]) -> None:
        """
        Adds rows, which are written now or later; without any, looks whether it is time.

        Raises:
            DataError: if they cannot be written, for example to a full disk; what came before is whole, and they are
                kept for another try.
        """
        if rows:
            self._buffer.append(to_table(rows, self._kind, self._per_frame))
        for row in rows:
            self._has_replaced |= row.path in self.done or row.path in self._failed
            kept, other = (self.done, self._failed) if row.error is None else (self._failed, self.done)
            kept.add(row.path)
            other.discard(row.path)
        is_full = sum(map(len, self._buffer)) >= PART_ROWS or sum(table.nbytes for table in self._buffer) >= PART_BYTES
        if is_full or time.monotonic() - self._written >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """
        Writes what was added as a part.

        Raises:
            DataError: if it cannot be written.
        """
        import pyarrow

        self._written = time.monotonic()
        if not self._buffer:
            return
        _write(_path_of(self.folder, self._next), pyarrow.concat_tables(self._buffer), self._about)
        self._next += 1
        self._buffer.clear()

    def close(self) -> None:
        """
        Writes the rest, removes the rows that were replaced, and frees the folder for others.

        Raises:
            DataError: if something cannot be written.
        """
        if self._lock is None:
            return
        try:
            self.flush()
            if self._has_replaced:
                for _ in _remove_replaced(self.folder, self._about):
                    pass
        finally:
            self.free()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except DataError:
            # What went wrong first is what is to be said.
            if error is None:
                raise


def about_of(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """
    What the results in a folder are of.

    Raises:
        DataError: if it holds no results of an archive; one sentence.
    """
    found = _described(folder)
    return {name: value for name, value in found.items() if name not in ("format", "rows")}


def columns_of(folder: str | os.PathLike[str]) -> list[str]:
    """
    The columns of the results in a folder.

    Raises:
        DataError: if it holds no results of an archive; one sentence.
    """
    return list(schema_of(*_rows_of(_described(folder), folder)).names)


def read_table(folder: str | os.PathLike[str], columns: Sequence[str] | None = None) -> Any:
    """
    The results in a folder as a `pyarrow.Table`, each video once.

    Args:
        folder: of the results.
        columns (`Sequence[str]`, *optional*): the only ones that are read.

    Raises:
        DataError: if there are none, or they cannot be read; one sentence.
    """
    import pyarrow

    about = _described(folder)
    schema = schema_of(*_rows_of(about, folder))
    if columns is not None:
        schema = pyarrow.schema([schema.field(name) for name in columns])
    # In the order in which they were written.
    table = pyarrow.concat_tables([schema.empty_table(), *reversed(list(read_rows(folder, columns)))])
    return table.replace_schema_metadata(_metadata(about))


def read_rows(folder: str | os.PathLike[str], columns: Sequence[str] | None = None) -> Iterator[Any]:
    """
    The results in a folder, part by part, the newest first, each video once, also while they are written.

    Args:
        folder: of the results.
        columns (`Sequence[str]`, *optional*): the only ones that are read.

    Yields:
        A `pyarrow.Table` for each part.

    Raises:
        DataError: if there are none, or they cannot be read; one sentence.
    """
    about = _described(folder)
    seen: set[str] = set()
    known: set[str] = set()
    wanted = None if columns is None else list(dict.fromkeys(["path", *columns]))
    # Rows may move to newer parts meanwhile.
    while parts := [path for _, path in reversed(_parts(folder)) if path not in known]:
        known.update(parts)
        for path in parts:
            try:
                table = _read(path, about, wanted)
            except FileNotFoundError:
                continue
            kept = _unseen(table.column("path").to_pylist(), seen)
            table = table if len(kept) == len(table) else table.take(kept)
            yield table if columns is None else table.select(list(columns))


def _remove_replaced(folder: str, about: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Takes rows that have a newer one out of the parts, and gives the paths and errors of all others."""
    seen: set[str] = set()
    for _, part in reversed(_parts(folder)):
        table = _read(part, about, ["path", "error"])
        paths, errors = (table.column(name).to_pylist() for name in ("path", "error"))
        kept = _unseen(paths, seen)
        if len(kept) < len(paths):
            if kept:
                _write(part, _read(part, about).take(kept), about)
            else:
                _remove(part)
        for row in kept:
            yield paths[row], errors[row]


def _unseen(paths: Sequence[str], seen: set[str]) -> list[int]:
    """The rows whose videos have no newer one, in their order; their paths are seen from now on."""
    kept = []
    for row in range(len(paths) - 1, -1, -1):
        if paths[row] not in seen:
            seen.add(paths[row])
            kept.append(row)
    return kept[::-1]


def _described(folder: str | os.PathLike[str]) -> dict[str, Any]:
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise DataError(f"the folder '{shown(folder)}' does not exist; check the path.")
    if not os.path.lexists(os.path.join(folder, KIND.about)):
        raise DataError(f"the folder '{shown(folder)}' holds {KIND.holds_none}; pass another.")
    return described(folder, KIND)


def _name_of(kind: type[VideoRow], per_frame: bool) -> str:
    return next(name for name, rows in _ROWS.items() if rows == (kind, per_frame))


def _rows_of(about: dict[str, Any], folder: str | os.PathLike[str]) -> tuple[type[VideoRow], bool]:
    name = about.get("rows")
    if name not in _ROWS:
        raise DataError(
            f"'{shown(os.path.join(folder, KIND.about))}' says nothing of its rows; see to it, or pass another folder."
        )
    return _ROWS[name]


def _path_of(folder: str | os.PathLike[str], number: int) -> str:
    return os.path.join(folder, PARTS, f"{number:05}.parquet")


def _parts(folder: str | os.PathLike[str]) -> list[tuple[int, str]]:
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


def _read(path: str, about: dict[str, Any], columns: Sequence[str] | None = None) -> Any:
    """
    Columns of a part.

    Raises:
        FileNotFoundError: if it is no longer there.
        DataError: if it cannot be read, or is of something else.
    """
    import pyarrow.parquet

    kind, per_frame = _rows_of(about, os.path.dirname(os.path.dirname(path)))
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


def _metadata(about: dict[str, Any]) -> dict[bytes, bytes]:
    return {_ABOUT: json.dumps(about).encode()}


def _write(path: str, table: Any, about: dict[str, Any]) -> None:
    try:
        write_table(path, table.replace_schema_metadata(_metadata(about)), compression="zstd")
    except OSError as error:
        raise unwritten(path, error, KIND.again) from error


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        raise unwritten(path, error, KIND.again) from error


__all__ = ["ResultsFolder", "about_of", "columns_of", "read_rows", "read_table"]
