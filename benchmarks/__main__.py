"""`python -m benchmarks run` measures; `report` makes tables and plots, `claims` checks texts, `compare` runs."""

from __future__ import annotations

import json
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers.utils import logging

from . import claims
from .common import GPU_RESULTS, QUICK_RESULTS, RESULTS, ROOT
from .compare import Outcome, compare
from .gpu import session as gpu_session
from .gpu import tables as gpu_tables
from .paper.build import stale, write_paper
from .parts import PARTS, SUITES
from .report import outdated, write_report
from .runner import run_parts
from .store import ResultError, Results
from .table import as_markdown


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
        raise _failed(error) from error
    except KeyboardInterrupt:
        console.print(f"Stopped; what was measured is in {path}. The same command goes on from there.")
        raise typer.Exit(130) from None
    console.print(f"{outcome.measured} cells measured, {outcome.skipped} were there: {path}")
    if outcome.failed or (outcome.missing and not outcome.measured and not outcome.skipped):
        raise typer.Exit(1)


@app.command()
def gpu(
    minutes: Annotated[float, typer.Option(help="No measurement starts after so many minutes.")] = 7.0,
    out: Annotated[Path, typer.Option(help="Result file; every measurement is saved in it at once.")] = GPU_RESULTS,
    device: Annotated[str, typer.Option(help="cuda; or cpu, to rehearse.")] = "cuda",
    dtype: Annotated[str, typer.Option(help="Of the timings: bfloat16, float16 or float32.")] = "bfloat16",
    quick: Annotated[bool, typer.Option(help="Tiny models, one run of each: to see that it works.")] = False,
) -> None:
    """
    Measures reuse on a GPU against dense models that are compiled and captured, the most valuable questions first.

    The same command goes on where it was stopped. Exit code 1: what must hold does not, or a measurement failed.
    """
    logging.disable_progress_bar()
    console = Console(stderr=True)
    try:
        plan = gpu_session.Plan(gpu_session.find_device(device), gpu_session.known_dtype(dtype), quick)
        results = Results(out)
        outcome = gpu_session.run_session(plan, results, console, minutes)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    except ResultError as error:
        raise _failed(error) from error
    except KeyboardInterrupt:
        console.print(f"Stopped; what was measured is in {out}. The same command goes on from there.")
        raise typer.Exit(130) from None
    left = f", {len(outcome.missing)} left for want of time" if outcome.missing else ""
    console.print(f"{outcome.measured} cells measured, {outcome.skipped} were there{left}: {out}")
    typer.echo(as_markdown(gpu_tables.blocks(results)))
    broken = gpu_tables.broken(results)
    for text in broken:
        console.print(f"[red]{escape(text)}[/]", highlight=False)
    if outcome.failed or broken:
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
    quick: Annotated[
        bool, typer.Option("--quick", help="Take results of a quick run, too, and write above them what they are.")
    ] = False,
) -> None:
    """Fills the tables of README.md and the pages of docs/, and writes the tables in LaTeX and the plots in docs/."""
    try:
        found = Results(results)
        written = write_report(found, root, quick)
    except ResultError as error:
        raise _failed(error) from error
    if parts := found.quick_parts():
        Console(stderr=True).print(
            f"[yellow]--quick: {', '.join(parts)} come from a quick run, which measures nothing; do not commit what "
            "was written.[/]",
            highlight=False,
        )
    for path in written:
        typer.echo(path.relative_to(root))


@app.command("compare")
def make_comparison(
    results: Annotated[Path, typer.Argument(help="The result file of your run, as --out wrote it.")],
    ours: Annotated[Path, typer.Option(help="What it is compared with.")] = RESULTS,
    part: Annotated[list[str] | None, typer.Option(help="Only these parts; can be repeated.")] = None,
    outside: Annotated[bool, typer.Option("--outside", help="Show only what is not within its tolerance.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the reason of each tolerance.")] = False,
) -> None:
    """
    Compares your run with the committed results, value by value of every cell that both have.

    Exit code 0: all within their tolerances; 1: some are not; 2: nothing can be compared.
    """
    for path in (results, ours):
        if not path.is_file():
            raise typer.BadParameter(f"there is no file {path}; pass what `run --out FILE` wrote.")
    try:
        outcome = compare(Results(ours), Results(results), part)
    except ResultError as error:
        raise _failed(error, 2) from error
    if as_json:
        typer.echo(json.dumps(outcome.to_dict(), indent=1))
    else:
        _print(outcome, outside)
    if outcome.outside:
        raise typer.Exit(1)


def _print(outcome: Outcome, outside: bool) -> None:
    """A table of all values, or of those outside alone, the tolerances and what was seen that makes them so large."""
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("cell", overflow="fold")
    for name in ("ours", "yours", "tolerance"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    before = ""
    for one in outcome.outside if outside else outcome.comparisons:
        if before != (before := f"{one.part}: {one.cell}"):
            table.add_row(f"[bold]{escape(before)}[/]")
        table.add_row(
            f"  {escape(one.value)}",
            f"{one.ours:.4g}",
            f"{one.yours:.4g}",
            f"± {one.tolerance:.2g}" if one.tolerance else "equal",
            "within" if one.within else "[bold red]outside[/]",
        )
    if table.row_count:
        console.print(table)
    found = outcome.to_dict()
    for kind, tolerance in found["tolerances"].items():
        size = f"{tolerance['counted']} of those counted" if tolerance["counted"] else f"{tolerance['relative']:.1%}"
        console.print(f"Tolerance of {kind}, {size}: {tolerance['why']}.", style="dim", highlight=False)
    for names, what in (
        (outcome.other_settings, "were measured with other settings (a quick run has such) and are not compared"),
        (outcome.only_yours, "are not in the committed results"),
    ):
        if names:
            console.print(f"{len(names)} cells {what}: {escape(_listed(names))}", highlight=False)
    count = len(outcome.comparisons)
    if outcome.outside:
        console.print(f"[bold red]{len(outcome.outside)} of {count} values are outside their tolerance.[/]")
    else:
        console.print(f"[bold green]All {count} values are within their tolerance.[/]")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more." if len(names) > 3 else ".")


def _failed(error: ResultError, code: int = 1) -> typer.Exit:
    Console(stderr=True).print(f"[red]{escape(str(error))}[/]", highlight=False)
    return typer.Exit(code)


@app.command()
def paper(
    results: Annotated[Path, typer.Option(help="The result file.")] = RESULTS,
    out: Annotated[Path, typer.Option(help="Where to write.")] = ROOT / "build" / "paper",
) -> None:
    """Writes the numbers, tables and figures of docs/report and docs/poster; `make report poster` does the rest."""
    try:
        found = Results(results)
        found.refuse_quick()
        written = write_paper(found, ROOT, out)
    except ResultError as error:
        raise _failed(error) from error
    typer.echo(f"{len(written)} files in {out}")


@app.command("claims")
def list_claims(
    results: Annotated[Path, typer.Option(help="The result file.")] = RESULTS,
    root: Annotated[Path, typer.Option(help="Where README.md and docs/ lie.")] = ROOT,
) -> None:
    """
    Lists what the documents claim: each figure, its interval, the cells it is made of, and where it stands.

    Exit code 1: a text and the results differ; each such place is named.
    """
    try:
        found = Results(results)
        found.refuse_quick()
    except ResultError as error:
        raise _failed(error) from error
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("claim", "figure", "95 % interval", "cells", "files"):
        table.add_column(name, overflow="fold")
    for claim in claims.CLAIMS:
        with suppress(ResultError):
            figure = claims.figure_of(found, claim)
            interval = ", ".join(part for part in (figure.interval, figure.reason) if part)
            table.add_row(claim.name, *map(escape, (figure.text, interval, figure.cells, "\n".join(claim.files))))
    console.print(table)
    places = [*claims.check(found, root), *outdated(found, root), *stale(found, root)]
    for place in places:
        console.print(f"[red]{escape(place)}[/]", highlight=False, soft_wrap=True)
    if places:
        raise typer.Exit(1)
    console.print(f"[bold green]All {len(claims.CLAIMS)} claims stand as the results have them.[/]")


if __name__ == "__main__":
    app()
