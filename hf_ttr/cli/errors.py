"""How the commands end when something is wrong: one sentence on stderr, and no traceback."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from typing import Any, NoReturn, TextIO, cast

import typer

from ..checks import ContractError
from ..checks import first_line as first_line
from ..display import shown
from ..hub.checkpoints import CheckpointError


INTERRUPTED, PIPE_CLOSED = 130, 141
"""Exit codes of a shell for programs that SIGINT and SIGPIPE ended."""


class InputError(Exception):
    """The user gave something that cannot be used; the message is one sentence that says what and what to do."""


def ends_quietly(command: Callable[..., None]) -> Callable[..., None]:
    """
    Lets a command end without a traceback where that is not a fault of the program.

    With exit code 2 and a sentence if its input cannot be used, or its output cannot be written; with 130 when
    interrupted; and like other programs, silently, when nobody reads its output any more.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        write_what_there_is()
        output = _Output(sys.stdout)
        try:
            with redirect_stdout(cast(TextIO, output)):
                command(*args, **kwargs)
                # What is written at the very end fails without anybody noticing.
                output.flush()
        except (InputError, CheckpointError, ContractError) as error:
            end_with(shown(sentence(error), None))
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except (OSError, SystemExit):  # rich ends the program where nobody reads
            if output.fault is None:
                raise
            _let_go_of(sys.stdout)
            if isinstance(output.fault, BrokenPipeError):
                raise typer.Exit(PIPE_CLOSED) from None
            why = output.fault.strerror or output.fault
            end_with(f"the output cannot be written ({why}); make room, or write it elsewhere.")

    return wrapper


def write_what_there_is() -> None:
    """Lets stdout and stderr write characters that their encoding lacks as escapes, such as `\\xe9`."""
    for stream in (sys.stdout, sys.stderr):
        # What a test or a notebook has put there may not know how.
        with suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def end_with(sentence: str) -> NoReturn:
    """Ends a command whose input cannot be used, with exit code 2 and what is wrong on stderr."""
    with suppress(OSError):
        typer.echo(f"Error: {sentence}", err=True)
    raise typer.Exit(2) from None


class _Output:
    """Stdout, which remembers why it could not be written: an error by itself does not say of what it is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as fault:
            self.fault = fault
            raise

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as fault:
            self.fault = fault
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _let_go_of(stream: TextIO) -> None:
    """Sends what is still to be written to nowhere, or it fails once more when the program ends."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def sentence(error: BaseException | str) -> str:
    """What an error says, or a text, as a sentence of its own."""
    text = str(error)
    return text[:1].upper() + text[1:]
