"""The results of an archive: a folder of Parquet files, in which each video has one row."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from ..display import shown
from ..evaluation.held_folder import FolderKind, HeldFolder, described, unwritten
from ..evaluation.metadata import DataError
from .parts import (
    ABOUT,
    AGAIN,
    PARTS,
    kind_of,
    list_parts,
    metadata_of,
    name_of,
    newest_rows,
    path_of,
    remove_replaced,
    write_part,
)
from .row import EmbeddedVideo, VideoRow, schema_of, to_table


KIND = FolderKind(
    format="hf-ttr archive 1",
    about=ABOUT,
    lock="archive.lock",
    holds="the results of a run",
    holds_none="no results of an archive",
    user="another run",
    again=AGAIN,
)

PART_ROWS, PART_SECONDS, PART_BYTES = 2000, 30.0, 256 << 20
"""A part is written when there are so many rows or bytes, or after so many seconds."""


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
        # Tables, and how many rows and bytes they have.
        self._buffer: list[Any] = []
        self._rows = self._bytes = 0
        self._has_replaced = False
        try:
            self._begin({**about, "rows": name_of(kind, self._per_frame)}, resume)
        except BaseException:
            self.free()
            raise
        self._written = time.monotonic()

    def _begin(self, about: dict[str, Any], resume: bool) -> None:
        has_rows = bool(list_parts(self.folder))
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
            raise unwritten(self.folder, error, AGAIN) from error
        for path, fault in remove_replaced(self.folder, self._about):
            (self.done if fault is None else self._failed).add(path)
        self._next = max((number for number, _ in list_parts(self.folder)), default=-1) + 1

    def add(self, rows: Sequence[VideoRow]) -> None:
        """
        Adds rows, which are written now or later; without any, looks whether it is time.

        Raises:
            DataError: if they cannot be written, for example to a full disk; what came before is whole, and they are
                kept for another try.
        """
        if rows:
            table = to_table(rows, self._kind, self._per_frame)
            self._buffer.append(table)
            self._rows += len(table)
            self._bytes += table.nbytes
        for row in rows:
            self._has_replaced |= row.path in self.done or row.path in self._failed
            kept, other = (self.done, self._failed) if row.error is None else (self._failed, self.done)
            kept.add(row.path)
            other.discard(row.path)
        is_full = self._rows >= PART_ROWS or self._bytes >= PART_BYTES
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
        write_part(path_of(self.folder, self._next), pyarrow.concat_tables(self._buffer), self._about)
        self._next += 1
        self._buffer, self._rows, self._bytes = [], 0, 0

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
                for _ in remove_replaced(self.folder, self._about):
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
    return list(schema_of(*kind_of(_described(folder), folder)).names)


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
    schema = schema_of(*kind_of(about, folder))
    if columns is not None:
        schema = pyarrow.schema([schema.field(name) for name in columns])
    # In the order in which they were written.
    table = pyarrow.concat_tables([schema.empty_table(), *reversed(list(read_rows(folder, columns)))])
    return table.replace_schema_metadata(metadata_of(about))


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
    yield from newest_rows(os.fspath(folder), _described(folder), columns)


def _described(folder: str | os.PathLike[str]) -> dict[str, Any]:
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise DataError(f"the folder '{shown(folder)}' does not exist; check the path.")
    if not os.path.lexists(os.path.join(folder, ABOUT)):
        raise DataError(f"the folder '{shown(folder)}' holds {KIND.holds_none}; pass another.")
    return described(folder, KIND)


__all__ = ["ResultsFolder", "about_of", "columns_of", "read_rows", "read_table"]
