"""How the commands end when something is wrong: one sentence on stderr, and no traceback."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import typer

from ..checkpoints import CheckpointError
from ..checks import first_line as first_line


class InputError(Exception):
    """The user gave something that cannot be used; the message is one sentence that says what and what to do."""


def ends_quietly(command: Callable[..., None]) -> Callable[..., None]:
    """Lets a command end with exit code 2 and a sentence if its input cannot be used, with 130 when interrupted."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (InputError, CheckpointError) as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return wrapper


def sentence(error: BaseException) -> str:
    """What an error says, as a sentence of its own."""
    text = str(error)
    return text[:1].upper() + text[1:]
