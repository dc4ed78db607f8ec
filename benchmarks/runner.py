"""Runs the cells of the parts of a suite, the missing ones only, and shows what is being measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .common import MissingData, machine, versions
from .store import QUICK, ResultError, Results


@dataclass
class Cell:
    """
    One measurement.

    Attributes:
        key: its readable name, fields parted by " | ".
        measure: takes it; what it returns goes to JSON.
        settings: what else the result depends on; a cell measured with others is measured anew.
    """

    key: str
    measure: Callable[[], dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Part:
    """
    A part of a suite, with tables of its own.

    Attributes:
        suite, name: where it stands in the result file.
        cells: lists the cells, for the full run or (`True`) the quick one; models and videos are to be loaded by the
            first cell that needs them.
        about: what the tables say of it (model, methods), for the full run or the quick one.
    """

    suite: str
    name: str
    cells: Callable[[bool], Iterable[Cell]]
    about: Callable[[bool], dict[str, Any]] = lambda quick: {}


@dataclass
class Outcome:
    """
    What became of a run.

    Attributes:
        measured, skipped: number of cells.
        missing: sentences on what could not be run, without repetition.
        failed: sentences on cells whose measurement failed.
    """

    measured: int = 0
    skipped: int = 0
    missing: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run_parts(parts: Iterable[Part], results: Results, console: Console, quick: bool, fresh: bool) -> Outcome:
    """
    Measures what is missing of the parts, saving every cell.

    A part that lacks its data, or a cell that fails, leaves the others alone.
    """
    outcome = Outcome()
    for part in parts:
        try:
            # Quick cells are told apart by their settings: a full run measures them anew, and a report refuses them.
            cells = [_marked(cell) if quick else cell for cell in part.cells(quick)]
            todo = [cell for cell in cells if fresh or not results.has(part.suite, part.name, cell.key, cell.settings)]
            outcome.skipped += len(cells) - len(todo)
            if todo:
                results.open_part(part.suite, part.name, header(part, quick), fresh)
                failures = len(outcome.failed)
                _measure(part, todo, results, console, outcome)
                if len(outcome.failed) == failures:
                    results.complete(part.suite, part.name)
        except (MissingData, ResultError) as error:
            message = str(error)
            if message not in outcome.missing:
                outcome.missing.append(message)
                console.print(f"[yellow]{part.suite}, part {part.name}:[/] {message}", highlight=False)
    return outcome


def _marked(cell: Cell) -> Cell:
    return replace(cell, settings={**cell.settings, QUICK: True})


def header(part: Part, quick: bool) -> dict[str, Any]:
    """What stands above the cells of a part."""
    command = " ".join(["python -m benchmarks", *without_place(sys.argv[1:])])
    return {"command": command, "machine": machine(), "versions": versions(), **part.about(quick)}


def without_place(arguments: list[str]) -> list[str]:
    """The arguments of a command but for the file that it wrote to, which is of the machine and not of the result."""
    places = [place for place, argument in enumerate(arguments) if argument == "--out"]
    left_out = {*places, *(place + 1 for place in places)}
    return [
        argument
        for place, argument in enumerate(arguments)
        if place not in left_out and not argument.startswith("--out=")
    ]


def _measure(part: Part, cells: list[Cell], results: Results, console: Console, outcome: Outcome) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(part.name, total=len(cells))
        for cell in cells:
            progress.update(task, description=f"[bold]{part.name}[/]  {cell.key}")
            try:
                values = cell.measure()
            except MissingData:
                raise
            except Exception as error:  # One broken method must not end a run of hours.
                text = f"{part.name}: {cell.key} failed: {type(error).__name__}: {error}"
                outcome.failed.append(text)
                console.print(f"[red]{text}[/]", highlight=False)
            else:
                results.put(part.suite, part.name, cell.key, cell.settings, values)
                outcome.measured += 1
            progress.advance(task)
