"""Modules that moved into groups are still found under the names that they had, with a warning."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType


_GROUPS = {
    "answers": ("promise", "scores", "statistics"),
    "caching": ("cache", "fingerprint", "window_cache"),
    "execution": ("compact", "flops", "linear", "packed", "packed_weights", "token_maps"),
    "hub": ("checkpoints", "remote_code", "weight_files"),
    "storage": ("files", "locks", "ownership"),
    "video": ("processing", "sampling"),
}
RENAMED = {
    **{f"{__package__}.{name}": f"{__package__}.{group}.{name}" for group, names in _GROUPS.items() for name in names},
    f"{__package__}.cache_snapshot": f"{__package__}.caching.snapshot",
    f"{__package__}.model_card": f"{__package__}.cards.model_card",
}
"""Names of before, and those of now."""


def find_renamed() -> None:
    """Has Python find modules of this package under the names that they had. A second call changes nothing."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Asked last: where a module has the name, that one is taken."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        return importlib.util.spec_from_loader(name, _Loader()) if name in RENAMED else None


class _Loader(importlib.abc.Loader):
    """Hands out the module of the new name, as it is."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """See `importlib.abc.Loader`."""
        now = RENAMED[spec.name]
        warnings.warn(f"{spec.name} is now {now}; import it from there.", FutureWarning, stacklevel=2)
        module = importlib.import_module(now)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Python has put the old name into a module that has its own."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state
