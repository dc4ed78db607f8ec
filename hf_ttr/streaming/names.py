"""Names of streams, and what they stand for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..display import shown, without_secrets


def unique_names(sources: Iterable[Any]) -> list[str]:
    """
    A name for each source: that of its file or address, with a number where several have the same.

    Names are printed and stand in results and names of files: they hold no password, and no character that steers.
    """
    names: list[str] = []
    for number, source in enumerate(sources):
        name = ""
        if isinstance(source, (str, os.PathLike)):
            # Without the secrets first: a part of one is not known for what it is.
            name = os.path.basename(without_secrets(os.fsdecode(source)).rstrip("/"))
        name = shown(name) or f"stream {number}"
        same, unique = 1, name
        while unique in names:
            same += 1
            unique = f"{name} ({same})"
        names.append(unique)
    return names


def shown_names(sources: Mapping[Any, Any]) -> dict[str, Any]:
    """
    Sources by names that may be shown, out of those by names of the caller.

    Raises:
        ValueError: if two of the names are the same then.
    """
    named: dict[str, Any] = {}
    for given, source in sources.items():
        name = shown(given, None)
        if name in named:
            raise ValueError(f"two streams have the name '{name}'; give each its own.")
        named[name] = source
    return named


def origin(source: Any) -> str | None:
    """What a source is known by when a run goes on: its path or address, without secrets; `None` of other objects."""
    if isinstance(source, Mapping):
        source = None if source.get("bytes") else source.get("path")
    if not isinstance(source, (str, os.PathLike)):
        return None
    text = os.fsdecode(source)
    is_address = re.match(r"[a-z][\w+.-]+:", text, re.IGNORECASE) and not os.path.exists(text)
    return without_secrets(text) if is_address else os.path.abspath(text)
