"""Names of streams, and what they stand for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..display import shown, without_secrets


def said_kind(text: str) -> tuple[str, bool | None]:
    """
    A path or address, and whether the user said in front of it that it is live.

    `live:` may stand in front of anything, `file:` in front of an address with a `//` of its own.

    Args:
        text (`str`): Such as `live:http://host/video` or `file:http://host/clip`.

    Returns:
        `tuple[str, bool | None]`: What is to be opened; `None` where nothing was said.
    """
    kind, _, rest = text.partition(":")
    if not os.path.lexists(text):
        if kind.lower() == "live" and rest:
            return rest, True
        if kind.lower() == "file" and re.match(r"[a-z][\w+.-]+://", rest, re.IGNORECASE):
            return rest, False
    return text, None


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
            name = os.path.basename(without_secrets(said_kind(os.fsdecode(source))[0]).rstrip("/"))
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
    text, _ = said_kind(os.fsdecode(source))
    is_address = re.match(r"[a-z][\w+.-]+:", text, re.IGNORECASE) and not os.path.exists(text)
    return without_secrets(text) if is_address else os.path.abspath(text)
