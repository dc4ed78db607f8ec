"""The command line, `hf-ttr`: one file for each command. What a command needs is loaded when it begins to work."""

from __future__ import annotations

from typing import Annotated

import typer

from .archive import archive
from .calibrate import calibrate
from .card import card
from .classify import classify
from .command import with_imports
from .convert import convert
from .demo import demo
from .env import env
from .errors import write_what_there_is
from .evaluate import evaluate
from .stream import stream
from .visualize import visualize
from .watch import watch


COMMANDS = {
    demo: ("What reuse does, on a model and a clip that are here.", "hf-ttr demo --model videomae"),
    classify: (
        "The labels of videos, and what reuse saves on them.",
        "hf-ttr classify example:demo.mp4 --model example:vit-demo --threshold 0.2",
    ),
    visualize: (
        "A page, a video and pictures of what was reused.",
        "hf-ttr visualize example:demo.mp4 --model example:vit-demo --out drawn/",
    ),
    stream: (
        "The labels of cameras and live streams, as they come.",
        "hf-ttr stream gate=rtsp://10.0.0.5/live --model example:vit-demo --out results.jsonl",
    ),
    watch: (
        "Cameras, and word of what changes in them to MQTT, webhooks and Prometheus.",
        "hf-ttr watch cameras.yaml",
    ),
    evaluate: (
        "Accuracy, fidelity and cost on a data set.",
        "hf-ttr evaluate --model my-vit --dataset videos/ --out results/",
    ),
    archive: (
        "A row for every video of an archive, here or on a Ray cluster.",
        "hf-ttr archive /archive my-vit --out results/",
    ),
    calibrate: (
        "The threshold that keeps a promise on your videos.",
        "hf-ttr calibrate --model my-vit --videos videos/ --target-agreement 0.95 --out calibration/",
    ),
    card: ("The model card of a checkpoint.", "hf-ttr card my-vit --evaluation results/"),
    convert: (
        "A plain checkpoint becomes one with reuse.",
        "hf-ttr convert google/vit-base-patch16-224 my-vit --budget 0.2",
    ),
    env: ("What a report of a fault should say.", "hf-ttr env"),
}
"""Every command, with its line in the list of them, and the example in its help."""

_SETTINGS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="hf-ttr",
    help="Temporal token reuse for video transformers: the same weights, a fraction of the compute.",
    epilog="Try it: hf-ttr demo",
    context_settings=_SETTINGS,
    no_args_is_help=True,
    # Faults of the program end in Python's own traceback, without the values of local variables.
    pretty_exceptions_enable=False,
    # Panels leave too few columns to the texts in a terminal of 80.
    rich_markup_mode=None,
)
for command, (line, example) in COMMANDS.items():
    app.command(context_settings=_SETTINGS, short_help=line, epilog=f"Example: {example}")(with_imports(command))


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
