"""A file of results that grows line by line, of which nothing is ever half there."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO

from ..checks import first_line
from ..display import shown
from ..storage.locks import try_lock
from .result import RESULT_FIELDS, StreamResult
from .result_choice import ResultChoice


BLOCK = 2**22
"""Bytes that are read at a time."""

LONGEST_LINE = 2**26
"""Bytes of a line that is read back; one of a result has some hundred for each label."""

MOST_STREAMS = 100_000
"""Streams of a file."""

# Where the names of open files are, and of devices.
_SYSTEM = ("/dev/std", "/dev/fd/", "/proc/")
# How `write` begins a line.
_HEAD = b'{"stream": "'
_FIELDS = "|".join(RESULT_FIELDS).encode()
_BEGINNING = re.compile(rb'\{"stream": "(?:[^"\\]|\\.)*", "number": \d+, "(?:' + _FIELDS + rb')": ')


class ResultFileError(ValueError):
    """A result file cannot be used or written; the message is one sentence that says what and what to do."""


class ResultFile:
    """
    Results of any number of streams as JSON lines, each written when it is there.

    One process at a time holds the file; the system frees it however that ends. After a fault, what was written before
    is there, and no half line. A file that holds anything else than results is refused and left as it is. A pipe or a
    device, such as `/dev/null`, is written as it comes and cannot be resumed.

    Args:
        path (`str` or `os.PathLike`): of the file; it must be new or empty, unless `resume` is set.
        resume (`bool`): whether to go on behind the last result; a half-written last line is removed. The last result
            of each stream is read back and checked, of the other lines only how they begin and end.
        choice (`ResultChoice`, *optional*): which results are written, and what of them; by default all.

    Attributes:
        last (`dict[str, StreamResult]`): the last result of each stream in the file, as far as it was written.
        is_regular (`bool`): whether it is a file, and no pipe or device.

    Raises:
        ResultFileError: if it cannot be opened, is in use, holds something else, or holds results and is not resumed.
    """

    def __init__(self, path: str | os.PathLike[str], resume: bool = False, choice: ResultChoice | None = None) -> None:
        self.path = os.fspath(path)
        self._choice = ResultChoice() if choice is None else choice
        self._shown = shown(self.path, None)
        self.last: dict[str, StreamResult] = {}
        self._end = 0
        try:
            # What is not there yet becomes a file; a name of the system leads to one that has another.
            is_file = not os.path.exists(path) or os.path.isfile(path)
            is_file = is_file and not os.path.abspath(self.path).startswith(_SYSTEM)
            self._file: BinaryIO = open(path, "a+b" if is_file else "ab", buffering=0)  # noqa: SIM115
            self.is_regular = is_file and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        except (OSError, ValueError) as error:
            raise ResultFileError(
                f"the result file '{self._shown}' cannot be opened ({_reason(error)}); pass another."
            ) from error
        try:
            if self.is_regular:
                self._begin(resume)
            elif resume:
                raise ResultFileError(
                    f"the result file '{self._shown}' is a pipe or a device, of which nothing can be read back; pass "
                    "a file, or leave --resume out."
                )
        except BaseException:
            self._file.close()
            raise

    def _begin(self, resume: bool) -> None:
        if not try_lock(self._file):
            raise ResultFileError(
                f"the result file '{self._shown}' is in use by another process; wait for it, or pass another name."
            )
        self._end = self._file.seek(0, os.SEEK_END)
        if self._end and not resume:
            raise ResultFileError(
                f"the result file '{self._shown}' holds results already; go on behind them with --resume (in Python "
                "resume=True), or pass the name of a new one."
            )
        if not self._end:
            return
        try:
            complete = self._read()
            if complete < self._end:
                self._mend(complete)
            self._choice.go_on_from(self.last)
        except OSError as error:
            raise ResultFileError(
                f"the result file '{self._shown}' cannot be read ({_reason(error)}); pass another."
            ) from error

    def _read(self) -> int:
        """Finds the last result of each stream; returns where the last complete line ends."""
        # By how the line begins, which names the stream: the number of the line, where it is and how long.
        last: dict[bytes, tuple[int, int, int]] = {}
        number = complete = 0
        for number, (start, line) in enumerate(self._lines(), start=1):
            complete = start + len(line) + 1
            if line.startswith(_HEAD) and line.endswith(b"}") and (cut := line.find(b'", "number": ')) >= 0:
                last[line[:cut]] = (number, start, len(line))
            else:
                # Not as it is written here, but perhaps by another JSON library.
                last[b"\n" + self._parsed(number, line).stream.encode(errors="surrogatepass")] = (
                    number,
                    start,
                    len(line),
                )
            if len(last) > MOST_STREAMS:
                raise ResultFileError(
                    f"the result file '{self._shown}' is of more than {MOST_STREAMS} streams; pass another file."
                )
        for number, start, length in sorted(last.values()):
            self._file.seek(start)
            result = self._parsed(number, _read_all(self._file, length))
            self.last[result.stream] = result
        return complete

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Where each complete line begins, and the line."""
        self._file.seek(0)
        start, rest, number = 0, b"", 0
        while block := self._file.read(BLOCK):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                number += 1
                yield start, line
                start += len(line) + 1
            if len(rest) > LONGEST_LINE:
                raise self._foreign(number + 1)

    def _parsed(self, number: int, line: bytes) -> StreamResult:
        try:
            return StreamResult.from_dict(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise self._foreign(number, error) from error

    def _foreign(self, number: int, error: BaseException | None = None) -> ResultFileError:
        why = "" if error is None else f" ({shown(first_line(error))})"
        return ResultFileError(
            f"line {number} of the result file '{self._shown}' is no result of a stream{why}; pass another file."
        )

    def _mend(self, complete: int) -> None:
        """Removes a last line that was written by half, or ends it; anything else is left as it is."""
        if self._end - complete > LONGEST_LINE:
            raise self._foreign(1)
        self._file.seek(complete)
        line = _read_all(self._file, self._end - complete)
        with suppress(ValueError, RecursionError):
            # Only the end of the line is missing.
            result = StreamResult.from_dict(json.loads(line))
            self._file.write(b"\n")
            self._end += 1
            self.last[result.stream] = result
            return
        # The process was killed in the middle of a write. Behind results, a few characters show that.
        is_own = _BEGINNING.match(line) or (complete and line[: len(_HEAD)] == _HEAD[: len(line)])
        if not is_own:
            raise ResultFileError(
                f"the end of the result file '{self._shown}' is no result of a stream; pass another file."
            )
        self._file.truncate(complete)
        self._end = complete

    def write(self, result: StreamResult) -> bool:
        """
        Adds a result, unless it is in the file already or is left out by choice.

        Returns:
            `bool`: whether it was written.

        Raises:
            ResultFileError: if it cannot be written, for example to a full disk; the file ends with the last result.
        """
        before = self.last.get(result.stream)
        if before is not None and result.number <= before.number:
            return False
        if not self._choice.takes(result):
            return False
        line = json.dumps(self._choice.facts(result), allow_nan=False).encode() + b"\n"
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError as error:
            if not self.is_regular:
                raise ResultFileError(
                    f"the results cannot be written to '{self._shown}' ({_reason(error)}); check what reads them."
                ) from error
            with suppress(OSError):
                self._file.truncate(self._end)
            raise ResultFileError(
                f"the result file '{self._shown}' cannot be written ({_reason(error)}); what came before is complete: "
                "make room, and go on with --resume."
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


def _read_all(file: BinaryIO, length: int) -> bytes:
    """So many bytes from where the file is, which a read may give in parts."""
    parts = []
    while length > 0 and (part := file.read(length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or shown(first_line(error))
