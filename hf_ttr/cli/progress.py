"""A bar on stderr for what takes long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """What a bar is told."""

    def __call__(self, done: int, remark: str = "") -> None:
        """Says how many are done, and what else is to be said of them."""


@contextmanager
def progress_bar(what: str, total: int | None, is_shown: bool = True) -> Iterator[Progress]:
    """
    Shows how many are done, where stderr is a terminal.

    Args:
        what: is counted.
        total: how many there are, if that is known.
        is_shown: whether this process is the one to show it.
    """
    from rich import progress as parts
    from rich.console import Console

    times = (parts.TimeElapsedColumn(), parts.TimeRemainingColumn())
    remark = parts.TextColumn("{task.fields[remark]}")
    columns = (parts.TextColumn(what), parts.BarColumn(), parts.MofNCompleteColumn(), remark, *times)
    console = Console(stderr=True)
    with parts.Progress(*columns, console=console, disable=not is_shown or not console.is_terminal) as progress:
        task = progress.add_task(what, total=total, remark="")

        def show(done: int, remark: str = "") -> None:
            progress.update(task, completed=done, remark=remark)

        yield show
