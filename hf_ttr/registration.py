"""
Makes the models and pipelines here known to transformers as soon as its own are loaded, and loads nothing before that.

So `import hf_ttr` costs nothing by itself, and the Auto classes know its models whichever of the two comes first.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any


_AUTO = tuple(
    f"transformers.models.auto.{part}_auto"
    for part in ("configuration", "modeling", "image_processing", "video_processing")
)
_PARTS: dict[str, tuple[str, ...]] = {
    f"{__package__}.models": _AUTO,
    f"{__package__}.pipeline": ("transformers.pipelines",),
}
"""Modules here that register what is in them when they are imported, and those of transformers that this is for."""

_WATCHED = ("transformers.", f"{__package__}.")


def register_when_loaded() -> None:
    """
    Registers what is here with what of transformers is loaded already, and with the rest when it comes.

    A second call changes nothing.
    """
    _register()
    if _pending() and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _pending() -> list[str]:
    return [module for module in _PARTS if module not in sys.modules]


def _register() -> None:
    if "torch" in sys.modules and sys.modules["torch"] is None:
        return  # a process that does without, such as one that decodes: there are no models in it
    for module in _pending():
        if any(part in sys.modules for part in _PARTS[module]):
            importlib.import_module(module)
    if not _pending():
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]


class _Finder(importlib.abc.MetaPathFinder):
    """
    Finds modules of transformers as Python does, and registers when the outermost of their imports is over.

    Not sooner: while one is loaded, those around it are there in part.
    """

    def __init__(self) -> None:
        self.depth = threading.local()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if not name.startswith(_WATCHED):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self.depth)
        return spec


class _Loader(importlib.abc.Loader):
    """Loads a module with its own loader, whose other methods it has too."""

    def __init__(self, loader: Any, depth: threading.local) -> None:
        self.loader, self.depth = loader, depth

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """See `importlib.abc.Loader`."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """See `importlib.abc.Loader`."""
        # Who looks at the module later finds what it would have without this package.
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.depth.count = getattr(self.depth, "count", 0) + 1
        try:
            self.loader.exec_module(module)
        finally:
            self.depth.count -= 1
        if self.depth.count == 0:
            _register()
