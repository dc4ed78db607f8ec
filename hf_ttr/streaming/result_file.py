"""A file of results that grows line by line, of which nothing is ever half there."""

from __future__ import annotations

import json
import os
from types import TracebackType
from typing import BinaryIO

from .result import StreamResult


class ResultFileError(ValueError):
    """A result file cannot be used or written; the message is one sentence that says what and what to do."""


class ResultFile:
    """
    Results of any number of streams as JSON lines, each written when it is there.

    One process at a time holds the file; the system frees it however that ends. After a fault, what was written before
    is there, and no half line.

    Args:
        path (`str` or `os.PathLike`): of the file; it must be new or empty, unless `resume` is set.
        resume (`bool`): whether to go on behind the last result; a half-written last line is removed.

    Attributes:
        last (`dict[str, StreamResult]`): the last result of each stream that was in the file.

    Raises:
        ResultFileError: if it cannot be opened, is in use, holds something else, or holds results and is not resumed.
    """

    def __init__(self, path: str | os.PathLike[str], resume: bool = False) -> None:
        self.path = os.fspath(path)
        self.last: dict[str, StreamResult] = {}
        try:
            self._file: BinaryIO = open(path, "a+b", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise ResultFileError(
                f"the result file '{self.path}' cannot be opened ({error.strerror}); pass another."
            ) from error
        try:
            _lock(self._file, self.path)
            self._end = self._file.seek(0, os.SEEK_END)
            if self._end and not resume:
                raise ResultFileError(
                    f"the result file '{self.path}' holds results already; resume it, or pass the name of a new one."
                )
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        self._file.seek(0)
        complete = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                # The process was killed in the middle of a write.
                self._file.truncate(complete)
                break
            complete += len(line)
            try:
                result = StreamResult.from_dict(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                raise ResultFileError(
                    f"line {number} of the result file '{self.path}' is no result of a stream; pass another file."
                ) from error
            self.last[result.stream] = result
        self._end = complete

    def write(self, result: StreamResult) -> bool:
        """
        Adds a result, unless it is in the file already.

        Returns:
            `bool`: whether it was new.

        Raises:
            ResultFileError: if it cannot be written, for example to a full disk; the file ends with the last result.
        """
        before = self.last.get(result.stream)
        if before is not None and result.number <= before.number:
            return False
        line = json.dumps(result.to_dict(), allow_nan=False).encode() + b"\n"
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError as error:
            self._file.truncate(self._end)
            raise ResultFileError(
                f"the result file '{self.path}' cannot be written ({error.strerror}); what came before is complete: "
                "make room and resume."
            ) from error
        self._end += len(line)
        self.last[result.stream] = result
        return True

    def close(self) -> None:
        """Closes the file and frees it for others."""
        self._file.close()

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lock(file: BinaryIO, path: str) -> None:
    """Takes the file for this process, until it is closed."""
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            # A byte far behind any result, so that others can read the file.
            file.seek(1 << 40)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ResultFileError(
            f"the result file '{path}' is in use by another process; wait for it, or pass another name."
        ) from error
