"""Tables on the terminal as everything here prints them, and figures as words in them."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from rich.table import Table


def plain_table() -> Table:
    """A table without lines, as everything here prints it."""
    from rich.table import Table

    return Table(show_edge=False, pad_edge=False, box=None, padding=(0, 2, 0, 0), header_style="bold")


def duration(seconds: float) -> str:
    """A time, in the unit that fits."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def ratio(value: float, better: str, worse: str) -> str:
    """How many times better, or worse, such as \"2.0x fewer\"."""
    return f"{value:.1f}x {better}" if value >= 1 else f"{1 / value:.1f}x {worse}"


__all__ = ["duration", "plain_table", "ratio"]
