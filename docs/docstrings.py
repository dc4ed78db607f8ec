"""
Docstrings here have types as transformers writes them: in backticks, with *optional* and defaults.

Before they are rendered, the marks go, as types are shown as code, and so do the defaults, which the signature has.
Code with prompts is marked as a session, so that prompts and outputs are not copied.
"""

from __future__ import annotations

import re
from typing import Any

import griffe


SESSION = re.compile(r"^( *```)python(\n\s*>>> )", re.MULTILINE)
TYPED = re.compile(r"^( +\w+(?:, \w+)*) \((.*`.*)\):(?=\s|$)", re.MULTILINE)
RETURNED = re.compile(r"^( +)(`[^\n]*?`(?: [^\n:`]*(?:`[^`\n]*`[^\n:`]*)*)?):(?=\s)", re.MULTILINE)


class PlainTypes(griffe.Extension):
    """Takes the marks out of the types of all docstrings of a package."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Called once a package was read."""
        _clean(pkg)


def plain_types(text: str) -> str:
    """The docstring without marks in its types, and with sessions marked as such."""
    text = SESSION.sub(r"\1pycon\2", text)
    text = TYPED.sub(lambda match: f"{match[1]} ({_plain(match[2])}):", text)
    head, section, returns = text.partition("Returns:\n")
    return head + section + RETURNED.sub(lambda match: f"{match[1]}{_plain(match[2])}:", returns, count=1)


def _plain(kind: str) -> str:
    kind = re.sub(r",? (?:\*optional\*|defaults to [^,)]*(?:\[[^]]*\])?)", "", kind)
    return kind.replace("`", "").replace("*", "")


def _clean(item: griffe.Object) -> None:
    if item.docstring is not None:
        item.docstring.value = plain_types(item.docstring.value)
    for member in item.members.values():
        if not member.is_alias:
            _clean(member)  # type: ignore[arg-type]
