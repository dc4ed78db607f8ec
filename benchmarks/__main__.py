"""`python -m benchmarks run --suite NAME` measures; `python -m benchmarks report` makes the tables."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from . import ablation, clips, fidelity, motion, report, speed, speed_videomae, windows
from .common import RESULTS, ROOT, save


class Suite(str, Enum):
    """The suites."""

    fidelity = "fidelity"
    speed = "speed"
    ablation = "ablation"
    clips = "clips"
    motion = "motion"
    windows = "windows"
    speed_videomae = "speed_videomae"
    all = "all"


app = typer.Typer(add_completion=False, help="Benchmarks of hf_ttr.")


@app.command()
def run(
    suite: Annotated[Suite, typer.Option(help="What to measure.")] = Suite.all,
    quick: Annotated[bool, typer.Option(help="A small run, to see that it works.")] = False,
    out: Annotated[Path | None, typer.Option(help="Result file; by default benchmarks/results/SUITE.json.")] = None,
) -> None:
    """Measures, and writes the results to JSON."""
    modules = {
        "fidelity": fidelity,
        "speed": speed,
        "ablation": ablation,
        "clips": clips,
        "motion": motion,
        "windows": windows,
        "speed_videomae": speed_videomae,
    }
    for name, module in modules.items():
        if suite in (Suite.all, Suite(name)):
            path = save(name, module.run(quick=quick), out)
            typer.echo(f"{path}")
            typer.echo(report.table(path))


@app.command("report")
def make_report() -> None:
    """Writes the tables into the documents, between `<!-- results: NAME -->` and `<!-- /results -->`."""
    result_file = RESULTS / "windows.json"
    if result_file.exists():
        windows.plot(json.loads(result_file.read_text()))
    for document in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = document.read_text()
        filled = report.fill(text)
        if filled != text:
            document.write_text(filled)
            typer.echo(document.relative_to(ROOT))


if __name__ == "__main__":
    app()
