"""How the commands end when something is wrong: one sentence on stderr, and no traceback."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

import typer

from ..checkpoints import CheckpointError
from ..checks import first_line as first_line
from ..display import shown


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
        try:
            command(*args, **kwargs)
            # What is written at the very end fails without anybody noticing.
            sys.stdout.flush()
        except (InputError, CheckpointError) as error:
            _end_with(shown(error, None))
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            _end_if_output_failed(error)
            raise
        except SystemExit as stop:
            # As rich ends it where nobody reads.
            if isinstance(stop.__context__, BrokenPipeError):
                raise typer.Exit(PIPE_CLOSED) from None
            raise

    return wrapper


def write_what_there_is() -> None:
    """Lets stdout and stderr write characters that their encoding lacks as escapes, such as `\\xe9`."""
    for stream in (sys.stdout, sys.stderr):
        # What a test or a notebook has put there may not know how.
        with suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _end_with(sentence: str) -> None:
    with suppress(OSError):
        typer.echo(f"Error: {sentence}", err=True)
    raise typer.Exit(2) from None


def _end_if_output_failed(error: OSError) -> None:
    """Ends the program if it was stdout that could not be written; what failed there fails again."""
    fault = _fault_of(sys.stdout)
    if fault is None:
        return
    if fault.errno == errno.EPIPE:
        raise typer.Exit(PIPE_CLOSED) from None
    _end_with(f"The output cannot be written ({fault.strerror or fault}); make room, or write it elsewhere.")


def _fault_of(stream: TextIO) -> OSError | None:
    """Why a stream cannot be written; nothing is written to it from then on."""
    try:
        stream.flush()
    except OSError as fault:
        with suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        return fault
    return None


def sentence(error: BaseException) -> str:
    """What an error says, as a sentence of its own."""
    text = str(error)
    return text[:1].upper() + text[1:]
