"""Names of a package that are loaded when they are used, so that importing it costs nothing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """
    The two functions that give a package lazy names.

    Args:
        package (`str`): its `__name__`.
        modules (`dict[str, Sequence[str]]`): modules of the package, and the names that each of them has.

    Returns:
        The `__getattr__` and the `__dir__` of the package. Its modules are found as well.
    """
    place = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name in place:
            value = getattr(importlib.import_module(f".{place[name]}", package), name)
        elif not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}") is not None:
            value = importlib.import_module(f".{name}", package)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        # The next time it is there.
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        there = vars(sys.modules[package])
        return sorted({*there, *there.get("__all__", ()), *place})

    return get, names
