"""What is wrong with a file of settings, and where."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..display import HIDDEN, shown


KeyPath = tuple[str | int, ...]
"""The way to a value: names of keys, and numbers within lists."""

WEBHOOK_KEYS = ("url", "headers", "cooldown_s", "timeout_s", "picture", "most_waiting")
"""What may stand in a webhook."""


@dataclass(frozen=True, order=True)
class Problem:
    """
    One thing that is wrong with a file of settings.

    Attributes:
        line, column: where, counted from 1.
        key: of what, such as `"cameras.door.labels[0]"`; empty of the file as a whole.
        sentence: what is wrong with it, and what to do.
    """

    line: int
    column: int
    key: str
    sentence: str


class SettingsError(ValueError):
    """
    A file of settings cannot be used.

    Args:
        path (`str` or `os.PathLike`): of the file.
        problems (`Sequence[Problem]`): at least one; they are kept in the order of the file.

    Attributes:
        path (`str`): as it may be shown.
        problems (`list[Problem]`): all of them.
    """

    def __init__(self, path: str | os.PathLike[str], problems: Sequence[Problem]) -> None:
        self.path = shown(os.fspath(path))
        self.problems = sorted(set(problems))
        first, *others = self.lines()
        also = f" ({len(others)} other problem{'s' if len(others) > 1 else ''})" if others else ""
        super().__init__(f"{first}{also}")

    def lines(self) -> list[str]:
        """One line for each problem, with its place in front, as compilers and editors have it."""
        return [f"{self.path}:{one.line}:{one.column}: {one.sentence}" for one in self.problems]

    def __reduce__(self) -> tuple[type[SettingsError], tuple[str, list[Problem]]]:
        return SettingsError, (self.path, self.problems)


def key_text(path: KeyPath) -> str:
    """The way to a value as people write it: `cameras.door.labels[0]`."""
    text = ""
    for index, part in enumerate(path):
        name = "" if isinstance(part, int) else without_value(shown(part, 80))
        if is_of_webhook(path) and _may_be_secret(name, index):
            name = HIDDEN
        text += f"[{part}]" if isinstance(part, int) else f".{name}" if text else name
    return text


def is_of_webhook(path: KeyPath) -> bool:
    """Whether something stands in a webhook, where addresses and headers are secrets: also in the wrong place."""
    return path[:1] == ("cameras",) and path[2:3] == ("webhook",)


def _may_be_secret(name: str, index: int) -> bool:
    """Whether what is a key in a webhook may be an address or a header as a whole."""
    return name not in WEBHOOK_KEYS if index == 3 else index > 3 and not re.fullmatch(r"[A-Za-z0-9_-]+", name)


def without_value(name: str) -> str:
    """What stands in place of a key, without what may be a secret where the space behind the colon is missing."""
    key, colon, value = name.partition(":")
    return f"{key}:..." if colon and value else name
