"""Text of others in Markdown, code and commands, and figures as words: nothing in it can break a card."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence

from ..display import printable, without_secrets


NOT_MEASURED = "not measured"
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
"""A licence as the Hub names it."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def plain(text: str) -> str:
    """The text in one line, without secrets and control characters, and with a mark in place of what is no Unicode."""
    return _clean(text).strip()


def markdown(text: str) -> str:
    """
    The text as it shows in Markdown, wherever it stands.

    Example:

    ```python
    >>> from hf_ttr.cards.text import markdown

    >>> print(markdown("a_b | <i>"))
    a\\_b \\| \\<i\\>
    ```
    """
    return re.sub(r"([\\`*_{}\[\]<>|&~$#])", r"\\\1", plain(text))


def code(text: str) -> str:
    """The text as code within a line; not for tables, which a bar would break."""
    text = plain(text) or " "
    fence = "`" * (_longest_run(text) + 1)
    # A space next to the fence belongs to the fence.
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def fenced(text: str, language: str = "") -> str:
    """The text as a block of code; its lines stay."""
    lines = "\n".join(_clean(line).rstrip() for line in text.strip("\n").split("\n"))
    fence = "`" * max(3, _longest_run(lines) + 1)
    return f"{fence}{language}\n{lines}\n{fence}"


def literal(text: str) -> str:
    """The text as a string of Python."""
    # A name of a file need not be Unicode.
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def command_line(arguments: Iterable[str]) -> str:
    """The arguments as a shell takes them, in one line."""
    return plain(shlex.join(arguments))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells are Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines)


def share(value: float | None) -> str:
    """A share in percent."""
    return NOT_MEASURED if value is None else f"{value:.1%}"


def points(value: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * value:+.1f} points"


def times(value: float | None, what: str) -> str:
    """A ratio."""
    return NOT_MEASURED if value is None else f"{value:.2f}x {what}"


def small(value: float | None) -> str:
    """A number of which the first digits count."""
    return NOT_MEASURED if value is None else f"{value:.3g}"


def seconds(value: float | None) -> str:
    """A duration."""
    return NOT_MEASURED if value is None else f"{value:.3g} s"


def large(value: float | None) -> str:
    """
    A count of operations.

    Example:

    ```python
    >>> from hf_ttr.cards.text import large

    >>> large(17_560_000_000)
    '17.56 G'
    ```
    """
    if value is None:
        return NOT_MEASURED
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:g}"


def _clean(text: str) -> str:
    return printable(without_secrets(_CONTROL.sub(" ", text).encode("utf-8", "replace").decode()))


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
