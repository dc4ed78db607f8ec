"""A folder of results: held by one process at a time, and of one thing alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from ..display import shown
from ..storage.files import write_json
from ..storage.locks import try_lock
from .metadata import DataError


if TYPE_CHECKING:
    from typing import Self


_TEMPORARY = re.compile(r"\.(?:hf_ttr-)?[0-9a-f-]+\.json")
_LARGEST = 1 << 30
"""Bytes of a file that is read back."""


@dataclass(frozen=True)
class FolderKind:
    """
    What such a folder is of.

    Attributes:
        format: stands in its description; a folder without it is of something else.
        about: name of the file with its description.
        lock: name of the file that its process holds.
        holds, holds_none: what is in it, and what is not in another, in a sentence: "a run", "no run".
        user: who may be at work there: "another evaluation".
        again: how to go on after a fault, in a sentence: "run the same command again".
    """

    format: str
    about: str
    lock: str
    holds: str
    holds_none: str
    user: str
    again: str


class HeldFolder:
    """
    Takes a folder for this process, until it is closed.

    Args:
        folder: it is made.
        kind: what it is of.

    Raises:
        DataError: if another process is at work there, it holds something else, or it cannot be written; one
            sentence. Nothing is touched then.
    """

    def __init__(self, folder: str, kind: FolderKind) -> None:
        self.folder, self.kind = folder, kind
        self._lock: IO[Any] | None = None
        try:
            os.makedirs(folder, exist_ok=True)
            # A start that was killed leaves these.
            if any(name != kind.lock and not _TEMPORARY.fullmatch(name) for name in os.listdir(folder)):
                described(folder, kind)
            self._take()
        except OSError as error:
            raise unwritten(folder, error, kind.again) from error

    def _take(self) -> None:
        self._lock = open(os.path.join(self.folder, self.kind.lock), "a")  # noqa: SIM115
        if not try_lock(self._lock):
            self.free()
            raise DataError(
                f"the folder '{shown(self.folder)}' is in use by {self.kind.user}; wait for it, or pass another."
            )

    def is_begun(self) -> bool:
        """Whether the folder says what it is of."""
        return os.path.lexists(os.path.join(self.folder, self.kind.about))

    def check_same(self, about: Any, may_be_unknown: Iterable[str] = ()) -> None:
        """
        Makes sure that the folder is of the same as before.

        Args:
            about: content of JSON.
            may_be_unknown: paths at which `None` says nothing.

        Raises:
            DataError: if it is not, with the first difference, or of something else.
        """
        for path, old, new in differences(described(self.folder, self.kind), self._with_format(about)):
            if path not in may_be_unknown or None not in (old, new):
                raise DataError(
                    f"the folder '{shown(self.folder)}' holds {self.kind.holds} with {path} {short(old)}, and this "
                    f"one has {short(new)}; pass the same, or another folder."
                )

    def describe(self, about: Any) -> None:
        """
        Writes what the folder is of.

        Raises:
            DataError: if it cannot be written.
        """
        try:
            write_json(os.path.join(self.folder, self.kind.about), self._with_format(about))
        except OSError as error:
            raise unwritten(self.folder, error, self.kind.again) from error

    def _with_format(self, about: Any) -> Any:
        return json.loads(json.dumps({"format": self.kind.format, **about}))

    def free(self) -> None:
        """Frees the folder for others."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def close(self) -> None:
        """Ends the work in the folder, and frees it for others."""
        self.free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def described(folder: str, kind: FolderKind) -> dict[str, Any]:
    """
    What a folder says of itself.

    Raises:
        DataError: if it is of something else; one sentence.
    """
    found = read_json(os.path.join(folder, kind.about))
    if not isinstance(found, dict) or found.get("format") != kind.format:
        raise DataError(f"the folder '{shown(folder)}' is not empty, and holds {kind.holds_none}; pass another.")
    return found


def differences(before: Any, now: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Where two contents of JSON differ: the path to each place, and both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for name in sorted({*before, *now}):
            found += differences(before.get(name), now.get(name), f"{path}.{shown(name)}" if path else shown(name))
        return found
    # 1 is no truth value.
    return [] if before == now and isinstance(before, bool) == isinstance(now, bool) else [(path, before, now)]


def short(value: Any) -> str:
    """A value in a sentence."""
    return shown(repr(value), 80)


def unwritten(path: str, error: OSError, again: str = "run the same command again") -> DataError:
    """What to say where results cannot be written."""
    # What stands beside the number may be the sentence of a library.
    why = os.strerror(error.errno) if error.errno else str(error)
    return DataError(
        f"'{shown(path)}' cannot be written ({shown(why)}); what came before is complete: make room, or see to who "
        f"may write there, and {again}."
    )


def read_json(path: str) -> Any:
    """What a file of the folder says; `None` where it is none, or no JSON."""
    try:
        if os.path.getsize(path) > _LARGEST:
            return None
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    # What is nested too deeply ends in a RecursionError.
    except (OSError, ValueError, RecursionError):
        return None


__all__ = ["FolderKind", "HeldFolder", "described", "differences", "read_json", "short", "unwritten"]
