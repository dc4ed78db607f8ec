"""The command line, `hf-ttr`: one file for each command."""

from __future__ import annotations

from typing import Annotated

import typer

from .calibrate import calibrate
from .card import card
from .classify import classify
from .convert import convert
from .demo import demo
from .errors import write_what_there_is
from .evaluate import evaluate
from .stream import stream
from .visualize import visualize


app = typer.Typer(
    name="hf-ttr",
    help="Temporal token reuse for video transformers: the same labels for a fraction of the compute.",
    no_args_is_help=True,
    add_completion=False,
    # Faults of the program end in Python's own traceback, without the values of local variables.
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(classify)
app.command()(visualize)
app.command()(stream)
app.command()(evaluate)
app.command()(calibrate)
app.command()(card)
app.command()(convert)


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"hf-ttr {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options of the program itself; a help text here would take the place of that above."""


def main() -> None:
    """Runs the program with the arguments of the process."""
    write_what_there_is()
    app(prog_name="hf-ttr")
