"""The files that say which label each video of a folder has."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..display import scrub, shown
from ..video.errors import one_line


METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


class DataError(ValueError):
    """A data set cannot be used; the message is one sentence that names it, the fault and the remedy."""


def read_metadata(path: str) -> list[tuple[str, str | None]]:
    """
    The names and labels of the videos in a metadata file.

    Args:
        path: of a metadata.csv, .jsonl or .parquet with a column `file_name`, or one whose name ends in `_file_name`,
            and perhaps a column `label`.

    Returns:
        Names relative to the folder of the file, with `/`, and labels, in the order of the file.

    Raises:
        DataError: if it cannot be read, or has no such column.
    """
    try:
        rows = list(rows_of(path))
    except Exception as error:
        why = one_line(error)
        raise DataError(f"the metadata '{shown(path)}' cannot be read ({why}); correct it.") from scrub(error)
    found: list[tuple[str, str | None]] = []
    for number, row in enumerate(rows, start=1):
        column = next((key for key in row if key == "file_name" or str(key).endswith("_file_name")), None)
        name = row.get(column) if column is not None else None
        if not isinstance(name, str) or not name:
            raise DataError(f"the metadata '{shown(path)}' has no file_name in row {number}; add it, or leave it out.")
        label = row.get("label")
        found.append((_plain(name), None if label is None or label == "" else str(label)))
    return found


def rows_of(path: str, columns: Sequence[str] | None = None) -> Iterator[Mapping[str, Any]]:
    """
    The rows of a table.

    Args:
        path: of a file whose name ends in `.csv`, `.parquet`, or else has an object of JSON in each line.
        columns (`Sequence[str]`, *optional*): the only ones that are read of Parquet files.

    Raises:
        Exception: of the reader, if there is no such table.
    """
    if path.lower().endswith(".parquet"):
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=None if columns is None else list(columns)):
                yield from batch.to_pylist()
        return
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines: Iterable[Any] = csv.DictReader(file) if path.lower().endswith(".csv") else map(_line, file)
        yield from (row for row in lines if row)


def _line(text: str) -> Mapping[str, Any]:
    row = json.loads(text) if text.strip() else {}
    if not isinstance(row, dict):
        raise TypeError("a line is no object")
    return row


def _plain(name: str) -> str:
    """The name as the list of a folder has it, without `./`."""
    return "/".join(part for part in name.replace(os.sep, "/").split("/") if part != ".")
