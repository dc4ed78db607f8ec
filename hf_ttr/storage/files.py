"""Files that appear once they are complete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any


fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def check_ending(path: str | os.PathLike[str], endings: Sequence[str], what: str) -> None:
    """
    Looks whether the name of a file says that it is of a kind that can be written.

    Raises:
        ValueError: if it does not.
    """
    if not os.fspath(path).lower().endswith(tuple(endings)):
        kinds = " or ".join(ending[1:].upper() for ending in endings)
        names = " or ".join(f"'{ending}'" for ending in endings)
        raise ValueError(f"{what} '{os.fspath(path)}' is written as {kinds}; end its name in {names}.")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[str]:
    """
    Gives a name next to the target, and renames what was written there, so that no one ever reads half a file.

    What a killed process left half-written is removed when the same target is written again.
    """
    target = os.path.abspath(os.fspath(path))
    with _own_place(target, os.path.splitext(target)[1].lower(), _create_file, os.unlink) as temporary:
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            # Only what could not be finished is still there.
            with suppress(OSError):
                os.unlink(temporary)


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[str]:
    """
    Gives a new folder next to the target, and puts it in the target's place once it is filled.

    What a killed process left is removed when the same target is written again; what it had already put aside is put
    back first.
    """
    target = os.path.abspath(os.fspath(path))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with _own_place(target, "", os.mkdir, _remove_folder) as temporary:
        old = f"{temporary}{_OLD}"
        _put_back(old, target)
        try:
            yield temporary
            if os.path.isdir(target):
                os.rename(target, old)
            try:
                os.rename(temporary, target)
            except OSError:
                _put_back(old, target)
                raise
        finally:
            for folder in (temporary, old):
                _remove_folder(folder)


_OLD = "-old"


def _put_back(old: str, target: str) -> None:
    if os.path.isdir(old) and not os.path.lexists(target):
        os.rename(old, target)
    _remove_folder(old)


def _remove_folder(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _create_file(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


@contextmanager
def _own_place(
    target: str, ending: str, create: Callable[[str], object], remove: Callable[[str], object]
) -> Iterator[str]:
    """
    A new, empty file or folder next to a target, which the process holds with a lock as long as it lives.

    Its name is known from the target: so what has that name and no living holder was left by a process that was
    killed. It is removed; what another one holds is not.
    """
    digest = hashlib.sha256(os.path.basename(target).encode(errors="surrogateescape")).hexdigest()[:16]
    start = os.path.join(os.path.dirname(target), f".hf_ttr-{digest}-")
    held: int | None = None
    place = ""
    if fcntl is not None:
        for number in range(_MOST_WRITERS):
            place = f"{start}{number}{ending}"
            if (held := _take_over(place, create, remove)) is not None:
                break
        else:
            number = _MOST_WRITERS
        for other in range(number + 1, _MOST_WRITERS):
            # Left behind, if nobody holds it.
            if not os.path.lexists(f"{start}{other}{ending}"):
                break
            if (lock := _lock(f"{start}{other}{ending}")) is not None:
                remove(f"{start}{other}{ending}")
                os.close(lock)
    if held is None:  # no locks here
        place = f"{start}{uuid.uuid4().hex}{ending}"
        create(place)
    try:
        yield place
    finally:
        if held is not None:
            os.close(held)


_MOST_WRITERS = 16
"""Processes at a time that write the same target with names that are used again."""


def _take_over(place: str, create: Callable[[str], object], remove: Callable[[str], object]) -> int | None:
    """Makes a file or folder anew and locks it; `None` if that cannot be, as it is held or not one's own."""
    if os.path.lexists(place):
        if (lock := _lock(place)) is None:
            return None
        remove(place)
        os.close(lock)
    try:
        create(place)
    except FileExistsError:
        return None
    return _lock(place)


def _lock(place: str) -> int | None:
    """Locks what was left there; `None` if it is held, or no file or folder of this user's."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        facts = os.fstat(descriptor)
        is_plain = stat.S_ISDIR(facts.st_mode) or (stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1)
        if not is_plain or facts.st_uid != os.geteuid():
            raise OSError("not one's own")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been removed by another one meanwhile.
        if not os.path.samestat(os.stat(place, follow_symlinks=False), facts):
            raise OSError("another one by now")
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """
    Writes a JSON file that appears once it is complete.

    Raises:
        OSError: if it cannot be written.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, allow_nan=False)
        file.write("\n")


def write_table(path: str | os.PathLike[str], table: Any, compression: str = "snappy") -> None:
    """
    Writes a `pyarrow.Table` as a Parquet file that appears once it is complete.

    Raises:
        OSError: if it cannot be written.
    """
    import pyarrow.parquet

    with replacing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary, compression=compression)
