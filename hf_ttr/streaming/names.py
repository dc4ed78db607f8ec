"""Names of streams."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any


def unique_names(sources: Iterable[Any]) -> list[str]:
    """A name for each source: that of its file or address, with a number where several have the same."""
    names: list[str] = []
    for number, source in enumerate(sources):
        name = os.path.basename(os.fspath(source).rstrip("/")) if isinstance(source, (str, os.PathLike)) else ""
        name = name or f"stream {number}"
        same = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({same + 1})" if same else name)
    return names
