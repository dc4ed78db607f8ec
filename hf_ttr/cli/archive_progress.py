"""How far an archive is: a bar with the videos per hour and the errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def archive_progress(total: int) -> Iterator[Callable[[int, int, int], None]]:
    """
    Shows how many videos are done, where stderr is a terminal.

    Args:
        total: how many there are.
    """
    from rich import progress as parts
    from rich.console import Console

    rate = parts.TextColumn("{task.fields[rate]}")
    times = (parts.TimeElapsedColumn(), parts.TimeRemainingColumn())
    columns = (parts.TextColumn("videos"), parts.BarColumn(), parts.MofNCompleteColumn(), rate, *times)
    console = Console(stderr=True)
    with parts.Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("videos", total=total, rate="")
        began: tuple[float, int] | None = None

        def show(done: int, errors: int, _: int) -> None:
            nonlocal began
            # What was there before is not of this run.
            began = began or (time.monotonic(), done)
            hours = (time.monotonic() - began[0]) / 3600
            rate = f"{(done - began[1]) / hours:,.0f} an hour" if done > began[1] else ""
            progress.update(task, completed=done, rate=f"{rate}{f', {errors} errors' if errors else ''}")

        yield show
