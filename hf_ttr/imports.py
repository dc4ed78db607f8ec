"""Modules and files of the user's own, which are imported by what they are called."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys


class NoPythonFile(ImportError):
    """The path is not that of a file which Python imports."""


def names_file(name: str) -> bool:
    """Whether a name is the path of a file, and not that of a module."""
    return name.endswith(".py") or os.sep in name


def name_of_module(name: str) -> str:
    """What a module, or a file by its path, is called in `sys.modules`."""
    return os.path.splitext(os.path.basename(name))[0] if names_file(name) else name


def import_named(name: str) -> None:
    """
    Imports a module by its name, or a file by its path.

    Raises:
        NoPythonFile: if a path does not end in .py.
        Exception: what the code of the module raises.
    """
    if not names_file(name):
        importlib.import_module(name)
        return
    own = name_of_module(name)
    spec = importlib.util.spec_from_file_location(own, name)
    if spec is None or spec.loader is None:
        raise NoPythonFile(name)
    module = importlib.util.module_from_spec(spec)
    # Where classes of the file are pickled or compared, they are found by its name.
    sys.modules[own] = module
    spec.loader.exec_module(module)
