"""What somebody may have meant who wrote a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ..display import shown


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence on a name that is not known: the one that is nearest, or all that there are."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean {near[0]}?" if near else f"remove it, or use one of {shown(', '.join(names))}."
