"""One row for each video, written when it is there, and brought together at the end."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..files import replacing


DECIMALS = 4
"""Of logits: what is beyond depends on the number of threads."""


@dataclass(frozen=True)
class ClipRow:
    """
    What became of one video.

    Attributes:
        number, video, label: see `Video`.
        logits: of the video, logarithms of the mean scores of its clips and views; `None` for a broken video.
        dense_logits: those of the dense model; `None` where it was not run.
        computed_tokens, total_tokens, multiply_adds, dense_multiply_adds: of all its clips and views.
        seconds, dense_seconds: of the model on it.
        error: what is wrong with a broken video.
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


TIMES = ("seconds", "dense_seconds")
"""Fields that differ from run to run."""


class RowFiles:
    """
    The rows of a run, which several processes write to the same folder, each to a file of its own.

    Args:
        folder: of the run; it is made.
        rank (`int`): of this process.
    """

    def __init__(self, folder: str, rank: int) -> None:
        self.folder = os.path.join(folder, "rows")
        os.makedirs(self.folder, exist_ok=True)
        self.known = {row.number: row for row in self.read()}
        self._path = os.path.join(self.folder, f"{rank:05}.jsonl")
        _cut_half_line(self._path)

    def read(self) -> list[ClipRow]:
        """All rows that are whole, of all processes, in their order; what is there twice comes once."""
        found: dict[int, ClipRow] = {}
        for path in sorted(glob.glob(os.path.join(glob.escape(self.folder), "*.jsonl"))):
            with open(path, "rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        row = ClipRow(**json.loads(line))
                        found.setdefault(row.number, row)
        return [found[number] for number in sorted(found)]

    def write(self, rows: Iterable[ClipRow]) -> None:
        """Adds rows, all at once."""
        lines = b"".join(json.dumps(asdict(row), allow_nan=False).encode() + b"\n" for row in rows)
        with open(self._path, "ab") as file:
            file.write(lines)


def _cut_half_line(path: str) -> None:
    """Removes what a process that was killed left of a line."""
    if not os.path.exists(path):
        return
    with open(path, "r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def write_parquet(rows: list[ClipRow], path: str) -> None:
    """
    Writes rows as a table, without what differs from run to run.

    Raises:
        OSError: if the file cannot be written.
    """
    import pyarrow
    import pyarrow.parquet

    kinds: dict[str, Any] = {
        "number": pyarrow.int64(),
        "video": pyarrow.string(),
        "label": pyarrow.string(),
        "logits": pyarrow.list_(pyarrow.float64()),
        "dense_logits": pyarrow.list_(pyarrow.float64()),
        "error": pyarrow.string(),
    }
    names = [field.name for field in fields(ClipRow) if field.name not in TIMES]
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.int64())) for name in names])
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns, schema=schema), temporary)
