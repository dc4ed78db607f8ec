"""How the commands end when something is wrong: one sentence on stderr, and no traceback."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import typer


class InputError(Exception):
    """The user gave something that cannot be used; the message is one sentence that says what and what to do."""


def ends_quietly(command: Callable[..., None]) -> Callable[..., None]:
    """Lets a command end with exit code 2 and a sentence on an `InputError`, and with 130 when interrupted."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except InputError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    return wrapper


def first_line(error: BaseException) -> str:
    """What an error says, short enough for the middle of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # A message that quotes a traceback says in its last line what happened.
    line = lines[-1] if any(line.startswith("Traceback (most recent call last)") for line in lines) else lines[0]
    return (line if len(line) <= 200 else f"{line[:200]}...").rstrip(".:")


def sentence(error: BaseException) -> str:
    """What an error says, as a sentence of its own."""
    text = str(error)
    return text[:1].upper() + text[1:]
