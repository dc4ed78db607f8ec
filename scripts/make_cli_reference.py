"""Writes docs/reference/cli.md from the help texts of the commands; tests/test_documentation.py compares."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


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
    command = [sys.executable, "-m", "typer", "hf_ttr.cli", "utils", "docs", "--name", "hf-ttr"]
    made = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PAGE.parents[2]).stdout
    # Under a heading of its own, and without the list of commands, in which their texts are cut off.
    text = re.sub(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+\n", "", made.split("\n", 1)[1])
    lines = [line.rstrip() for line in text.replace("{", "").replace("}", "").splitlines()]
    return HEAD + "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
