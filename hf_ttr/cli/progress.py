"""A bar on stderr for what takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(what: str, total: int | None, is_shown: bool = True) -> Iterator[Callable[[int], None]]:
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
    columns = (parts.TextColumn(what), parts.BarColumn(), parts.MofNCompleteColumn(), *times)
    console = Console(stderr=True)
    with parts.Progress(*columns, console=console, disable=not is_shown or not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)
