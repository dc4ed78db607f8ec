"""`python -m benchmarks run --suite NAME` measures; `python -m benchmarks report` makes tables and plots."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from transformers.utils import logging

from .common import QUICK_RESULTS, RESULTS, ROOT
from .paper.build import write_paper
from .parts import PARTS, SUITES
from .report import write_report
from .runner import run_parts
from .store import ResultError, Results


Suite = Enum("Suite", {name: name for name in (*SUITES, "all")}, type=str)  # type: ignore[misc]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="Benchmarks of hf_ttr.")


@app.command()
def run(
    suite: Annotated[Suite, typer.Option(help="What to measure.")] = Suite["all"],
    part: Annotated[list[str] | None, typer.Option(help="Only these parts of it; can be repeated.")] = None,
    quick: Annotated[bool, typer.Option(help="A small run, to see that it works.")] = False,
    fresh: Annotated[bool, typer.Option(help="Measure anew what is there.")] = False,
    out: Annotated[Path | None, typer.Option(help="Result file; by default benchmarks/results.json.")] = None,
) -> None:
    """Measures what is missing, and saves every cell at once. Ctrl-C stops; the same command goes on."""
    logging.disable_progress_bar()  # Bars of loading weights would tear ours.
    console = Console(stderr=True)
    chosen = [entry for entry in PARTS if suite.value in ("all", entry.suite) and (not part or entry.name in part)]
    names = [entry.name for entry in PARTS if suite.value in ("all", entry.suite)]
    for name in part or []:
        if name not in names:
            raise typer.BadParameter(f"there is no part {name!r} in this suite; the parts are {', '.join(names)}.")
    path = out or (QUICK_RESULTS if quick else RESULTS)
    try:
        outcome = run_parts(chosen, Results(path), console, quick, fresh)
    except ResultError as error:
        console.print(f"[red]{error}[/]", highlight=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print(f"Stopped; what was measured is in {path}. The same command goes on from there.")
        raise typer.Exit(130) from None
    console.print(f"{outcome.measured} cells measured, {outcome.skipped} were there: {path}")
    if outcome.failed or (outcome.missing and not outcome.measured and not outcome.skipped):
        raise typer.Exit(1)


@app.command()
def merge(
    files: Annotated[list[Path], typer.Argument(help="Result files of other runs.")],
    out: Annotated[Path, typer.Option(help="The file that takes them.")] = RESULTS,
) -> None:
    """Puts the parts of other files into the result file; cells of runs on the same machine are put together."""
    results = Results(out)
    for path in files:
        if not path.is_file():
            raise typer.BadParameter(f"there is no file {path}; pass files that --out of a run wrote.")
        try:
            typer.echo(f"{path}: {', '.join(results.take(Results(path)))}")
        except ResultError as error:
            Console(stderr=True).print(f"[red]{error}[/]", highlight=False)
            raise typer.Exit(1) from error


@app.command("report")
def make_report(
    results: Annotated[Path, typer.Option(help="The result file.")] = RESULTS,
    root: Annotated[Path, typer.Option(help="Where README.md and docs/ lie.")] = ROOT,
) -> None:
    """Fills the tables of README.md and docs/*.md, and writes docs/tables/*.tex and docs/images/benchmarks/*.png."""
    try:
        for path in write_report(Results(results), root):
            typer.echo(path.relative_to(root))
    except ResultError as error:
        Console(stderr=True).print(f"[red]{error}[/]", highlight=False)
        raise typer.Exit(1) from error


@app.command()
def paper(
    results: Annotated[Path, typer.Option(help="The result file.")] = RESULTS,
    out: Annotated[Path, typer.Option(help="Where to write.")] = ROOT / "build" / "paper",
) -> None:
    """Writes the numbers, tables and figures of docs/report and docs/poster; `make report poster` does the rest."""
    try:
        written = write_paper(Results(results), ROOT, out)
    except ResultError as error:
        Console(stderr=True).print(f"[red]{error}[/]", highlight=False)
        raise typer.Exit(1) from error
    typer.echo(f"{len(written)} files in {out}")


if __name__ == "__main__":
    app()
