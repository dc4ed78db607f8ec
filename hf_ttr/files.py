"""Files that appear once they are complete."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


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
    """Gives a name next to the target, and renames what was written there, so that no one ever reads half a file."""
    target = os.path.abspath(os.fspath(path))
    temporary = os.path.join(os.path.dirname(target), f".{uuid.uuid4().hex}{os.path.splitext(target)[1].lower()}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        # Only what could not be finished is still there.
        if os.path.exists(temporary):
            os.unlink(temporary)


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[str]:
    """Gives a new folder next to the target, and puts it in the target's place once it is filled."""
    target = os.path.abspath(os.fspath(path))
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    temporary, old = (os.path.join(parent, f".{uuid.uuid4().hex}") for _ in range(2))
    os.mkdir(temporary)
    try:
        yield temporary
        if os.path.isdir(target):
            os.rename(target, old)
        try:
            os.rename(temporary, target)
        except OSError:
            if os.path.isdir(old):
                os.rename(old, target)
            raise
    finally:
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """
    Writes a JSON file that appears once it is complete.

    Raises:
        OSError: if it cannot be written.
    """
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, allow_nan=False)
        file.write("\n")
