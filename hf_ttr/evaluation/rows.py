"""One row for each video, written when it is there, and brought together at the end."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..checks import is_number, is_whole
from ..display import shown
from ..storage.files import write_table
from .data import DataError
from .held_folder import unwritten


DECIMALS = 4
"""Of logits: what is beyond depends on the number of threads."""

LARGEST = 1e30
"""Of logits and times: squares and sums of such numbers are still numbers."""

LONGEST_LINE = 64 << 20
"""Bytes of a row; that of a model with a million classes is shorter."""


@dataclass(frozen=True)
class ClipRow:
    """
    What became of one video.

    Attributes:
        number, video, label: see `Video`.
        logits: of the video, such that their scores are the mean of the scores of its clips and views; `None` for a
            broken video.
        dense_logits: those of the dense model; `None` where it was not run.
        computed_tokens, total_tokens, multiply_adds, dense_multiply_adds: of all its clips and views.
        seconds, dense_seconds: of the model on it.
        error: what is wrong with a broken video.
        size, digest: bytes of its file, and their SHA-256, where it is one.
        modified: when its file was changed, in nanoseconds.
    """

    number: int
    video: str
    label: str | None
    logits: list[float] | None = None
    dense_logits: list[float] | None = None
    computed_tokens: int = 0
    total_tokens: int = 0
    multiply_adds: int = 0
    dense_multiply_adds: int = 0
    seconds: float | None = None
    dense_seconds: float | None = None
    error: str | None = None
    size: int | None = None
    digest: str | None = None
    modified: int | None = None

    @classmethod
    def from_dict(cls, values: Any) -> ClipRow:
        """
        A row out of what a file says.

        Raises:
            ValueError: if it says something else; what, for the middle of a sentence.
        """
        if not isinstance(values, dict):
            raise ValueError("it is no object")
        for name, is_right in _CHECKS.items():
            if name not in values:
                raise ValueError(f"it has no {name!r}")
            if not is_right(values[name]):
                raise ValueError(f"its {name!r} is {shown(repr(values[name]), 60)}")
        if len(values) > len(_CHECKS):
            raise ValueError("it has more entries")
        row = cls(**values)
        if (row.error is None) == (row.logits is None):
            raise ValueError("it has to have logits or an error")
        if row.dense_logits is not None and (row.logits is None or len(row.dense_logits) != len(row.logits)):
            raise ValueError("its 'dense_logits' do not fit its 'logits'")
        return row


def _is_count(value: Any) -> bool:
    return is_whole(value) and 0 <= value < 2**63


def _is_text(value: Any) -> bool:
    # JSON has a way to write halves of characters.
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode()


def _is_amount(value: Any) -> bool:
    return is_number(value) and 0 <= value <= LARGEST


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and are_numbers(value)


def _or_none(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "number": _is_count,
    "video": _is_text,
    "label": _or_none(_is_text),
    "logits": _or_none(_is_list),
    "dense_logits": _or_none(_is_list),
    "computed_tokens": _is_count,
    "total_tokens": _is_count,
    "multiply_adds": _is_count,
    "dense_multiply_adds": _is_count,
    "seconds": _or_none(_is_amount),
    "dense_seconds": _or_none(_is_amount),
    "error": _or_none(_is_text),
    "size": _or_none(_is_count),
    "digest": _or_none(_is_text),
    "modified": _or_none(is_whole),
}

OF_THE_DAY = ("seconds", "dense_seconds", "modified")
"""Fields that differ from run to run."""


class RowFiles:
    """
    The rows of a run, which several processes write to the same folder, each to a file of its own.

    Args:
        folder: of the run; it is made.
        rank (`int`): of this process.

    Attributes:
        known (`dict[int, ClipRow]`): the rows that were there, by their numbers.

    Raises:
        DataError: if a file holds something else, or cannot be read or made; one sentence.
    """

    def __init__(self, folder: str, rank: int) -> None:
        self.folder = os.path.join(folder, "rows")
        self._path = os.path.join(self.folder, f"{rank:05}.jsonl")
        self.known = {row.number: row for row in self.read()}
        try:
            os.makedirs(self.folder, exist_ok=True)
            _cut_half_line(self._path)
        except OSError as error:
            raise unwritten(self._path, error) from error

    def read(self) -> list[ClipRow]:
        """
        All rows that are whole, of all processes, in their order.

        Of several of one video there is the first with logits: a video that could not be read was tried again.

        Raises:
            DataError: if a file holds something else, or cannot be read; one sentence.
        """
        return best_rows(
            row for path in sorted(glob.glob(os.path.join(glob.escape(self.folder), "*.jsonl"))) for row in _read(path)
        )

    def write(self, rows: Iterable[ClipRow]) -> None:
        """
        Adds rows: all of them, or none.

        Raises:
            DataError: if they cannot be written, for example to a full disk; what came before is whole.
        """
        lines = b"".join(json.dumps(asdict(row), allow_nan=False).encode() + b"\n" for row in rows)
        try:
            with open(self._path, "ab", buffering=0) as file:
                end = file.tell()
                try:
                    written = 0
                    while written < len(lines):
                        written += file.write(lines[written:])
                except BaseException:
                    with suppress(OSError):
                        file.truncate(end)
                    raise
        except OSError as error:
            raise unwritten(self._path, error) from error


def are_numbers(logits: Iterable[float]) -> bool:
    """Whether logits are numbers that can be reckoned with."""
    return all(is_number(value) and abs(value) <= LARGEST for value in logits)


def best_rows(rows: Iterable[ClipRow]) -> list[ClipRow]:
    """Each video once, in their order: the first row with logits, else the last error."""
    found: dict[int, ClipRow] = {}
    for row in rows:
        if row.number not in found or found[row.number].error is not None:
            found[row.number] = row
    return [found[number] for number in sorted(found)]


def _read(path: str) -> Iterator[ClipRow]:
    number = 0
    try:
        with open(path, "rb") as file:
            while line := file.readline(LONGEST_LINE):
                number += 1
                if not line.endswith(b"\n"):
                    if len(line) == LONGEST_LINE:
                        raise ValueError("it is far too long")
                    # What a process that was killed left.
                    return
                yield ClipRow.from_dict(json.loads(line))
    except OSError as error:
        raise DataError(
            f"'{shown(path)}' cannot be read ({error.strerror}); see to it, or pass another folder."
        ) from error
    # What is nested too deeply ends in a RecursionError.
    except (ValueError, RecursionError) as error:
        reason = "it is no JSON" if isinstance(error, (json.JSONDecodeError, UnicodeError)) else str(error)
        raise DataError(
            f"line {number} of '{shown(path)}' is no row of an evaluation ({shown(reason)}); pass another folder, or "
            "remove that file to evaluate its videos again."
        ) from error


def _cut_half_line(path: str) -> None:
    """Removes what a process that was killed left of a line."""
    if not os.path.exists(path):
        return
    with open(path, "r+b") as file:
        end = file.seek(0, os.SEEK_END)
        # Backwards, as the last line alone may be half.
        while end > 0:
            start = max(0, end - (1 << 16))
            file.seek(start)
            if (place := file.read(end - start).rfind(b"\n")) >= 0:
                end = start + place + 1
                break
            end = start
        file.truncate(end)


def write_parquet(rows: list[ClipRow], path: str) -> None:
    """
    Writes rows as a table, without what differs from run to run.

    Raises:
        OSError: if the file cannot be written.
    """
    import pyarrow

    kinds: dict[str, Any] = {
        "number": pyarrow.int64(),
        "video": pyarrow.string(),
        "label": pyarrow.string(),
        "logits": pyarrow.list_(pyarrow.float64()),
        "dense_logits": pyarrow.list_(pyarrow.float64()),
        "error": pyarrow.string(),
        "digest": pyarrow.string(),
    }
    names = [field.name for field in fields(ClipRow) if field.name not in OF_THE_DAY]
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.int64())) for name in names])
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    write_table(path, pyarrow.table(columns, schema=schema))
