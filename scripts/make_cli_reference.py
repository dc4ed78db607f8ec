"""Writes docs/reference/cli.md from the help texts of the commands; tests/test_documentation.py compares."""

from __future__ import annotations

import html
import re
from pathlib import Path

import typer
import typer.main
from typer.cli import get_docs_for_click

from hf_ttr.cli import app


PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"
HEAD = """# Commands

What `hf-ttr COMMAND --help` says of each. Guides: [classify](../quickstart.md), [visualize](../visualization.md),
[stream](../streams.md), [evaluate](../evaluation.md), [calibrate](../choosing_a_threshold.md#find-it-on-your-videos),
[card](../../model_cards/README.md), [convert](../hub.md). `python -m hf_ttr.evaluate`, for torchrun and accelerate,
takes what `hf-ttr evaluate` takes.

Each ends with exit code 0 if all went well, 2 if its input cannot be used (one sentence on stderr says why), and 130
if it was interrupted; `evaluate --strict` with 1 if a video cannot be read, `calibrate` with 1 if no threshold keeps
the promise. A traceback is a fault of the program.
"""


def page() -> str:
    """The page, as it should be."""
    command = typer.main.get_command(app)
    made = html.unescape(get_docs_for_click(obj=command, ctx=typer.Context(command), name="hf-ttr"))
    # Under a heading of its own, and without the list of commands, in which their texts are cut off.
    text = re.sub(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+\n", "", made.split("\n", 1)[1])
    lines = [line.rstrip() for line in text.replace("{", "").replace("}", "").splitlines()]
    return HEAD + "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
