"""What all commands share: modules of the user's own that they import."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Annotated, Any

import typer

from ..display import shown
from ..imports import NoPythonFile, import_named, names_file
from .errors import InputError, end_with, first_line


IMPORTS: ContextVar[tuple[str, ...]] = ContextVar("imports", default=())
"""What a command imported first: other processes that work for it have to do so, too."""

Import = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="MODULE|FILE.py",
        help="Import this first: a module or file that registers reductions or models of your own; may come several "
        "times.",
        show_default=False,
    ),
]


def with_imports(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the option `--import`, which is obeyed before anything else."""

    @functools.wraps(command)
    def wrapper(*args: Any, import_: list[str] | None = None, **kwargs: Any) -> None:
        IMPORTS.set(tuple(import_ or ()))
        try:
            for name in import_ or []:
                import_module(name)
        except InputError as error:
            end_with(str(error))
        command(*args, **kwargs)

    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("import_", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Import)
    parameters = [*signature.parameters.values(), option]
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapper


def import_module(name: str) -> None:
    """
    Imports a module by its name, as Python finds it from the current folder, or a file by its path.

    Raises:
        InputError: if there is none, or it fails; one sentence.
    """
    is_file = names_file(name)
    if is_file and not os.path.isfile(name):
        raise InputError(f"--import is '{shown(name)}', but there is no such file; check the path.")
    try:
        if not is_file and "" not in sys.path and os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        import_named(name)
    except NoPythonFile as error:
        raise InputError(
            f"--import is '{shown(name)}', which is no Python file; pass one that ends in .py."
        ) from error
    except Exception as error:  # code of others raises what it likes
        if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
            raise InputError(
                f"--import is '{shown(name)}', but there is no such module here or among what is installed; check its "
                "name, or pass the path of its file."
            ) from error
        raise InputError(
            f"--import is '{shown(name)}', which cannot be imported ({type(error).__name__}: "
            f"{shown(first_line(error))}); run it with Python to see where it fails."
        ) from error
