"""The table of live streams on the terminal, and what is said of them in the end."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..display import shown
from ..streaming.states import ENDED, FAILED, LIVE, OPENING, READING, RECONNECTING, STALLED
from .stream_options import as_options


if TYPE_CHECKING:
    from rich.console import Console

    from ..streaming import StreamResult, StreamStatistics, VideoStreams

RECENT_SECONDS = 10.0
"""Results that the rate is taken from are no older, if there are others."""

SILENT_SECONDS = 1.0
"""Seconds without a result after which the rate comes down."""

WHO = ("stream", "label")
"""Columns that are always there."""

BY_IMPORTANCE = (
    *("state", "score", "fps", "last seen", "computed", "dropped", "cost", "p95 compute", "p95 wait"),
    *("threshold", "largest KL"),
)
"""The other columns; where they do not all have room, the last of these go first."""

LEAST_WIDTH = 24
"""Characters of a line that a name or a label has before other columns have theirs; longer ones are wrapped."""

GAP = 2
"""Characters between two columns."""

UNKNOWN_WIDTH = 160
"""Characters of a line where stderr is no terminal."""

_STYLES: dict[str, str] = {FAILED: "red", RECONNECTING: "red", STALLED: "yellow", OPENING: "yellow", LIVE: "green"}


@dataclass
class _Line:
    """What is shown of one stream."""

    last: StreamResult | None = None
    seen: deque[tuple[float, int]] = field(default_factory=deque)
    first_seen: tuple[float, int] | None = None
    results: int = 0
    computed: float = 0.0
    multiply_adds: int = 0
    dense_multiply_adds: int = 0
    largest_kl: float | None = None

    def add(self, result: StreamResult, now: float) -> None:
        """Takes a result that came at a time."""
        self.last = result
        self.seen.append((now, result.number))
        self.first_seen = self.first_seen or self.seen[0]
        while len(self.seen) > 2 and now - self.seen[0][0] > RECENT_SECONDS:
            self.seen.popleft()
        self.results += 1
        self.computed += result.computed_share
        self.multiply_adds += result.multiply_adds
        self.dense_multiply_adds += result.dense_multiply_adds
        if result.divergence is not None:
            self.largest_kl = max(self.largest_kl or 0.0, result.divergence.kl)

    def results_per_second(self, now: float | None) -> float | None:
        """How often a result comes at a time, less and less where none does; without one, how often one came."""
        if self.first_seen is None or len(self.seen) < 2:
            return None
        first_time, first = self.seen[0] if now is not None else self.first_seen
        last_time, last = self.seen[-1]
        rate = (last - first) / max(last_time - first_time, 1e-9)
        if now is not None and now - last_time > SILENT_SECONDS:
            return min(rate, 1 / (now - last_time))
        return rate


class StreamTable:
    """
    Shows a line for each stream, as long as it is entered and stderr is a terminal; elsewhere, a line at each change.

    Names, labels and faults are of others: they are shown without what would steer the terminal.

    Args:
        streams: what is shown.
        console: where; by default stderr.
        clock: gives the time in seconds.
    """

    def __init__(
        self, streams: VideoStreams, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from rich.live import Live

        self._streams = streams
        self._clock = clock
        self._lines = {name: _Line() for name in streams.statistics}
        self._console = _stderr() if console is None else console
        self._troubled: set[str] = set()
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self.render, transient=True)
        # Where there is no table, changes are said; where there is one, they are seen.
        streams.on_state = self._say_state

    def __enter__(self) -> StreamTable:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def add(self, result: StreamResult) -> None:
        """Takes a result."""
        self._lines[result.stream].add(result, self._clock())

    def print_summary(self, path: str | None, written: int = 0, fault: BaseException | None = None) -> None:
        """
        Prints what became of the streams to stderr.

        Args:
            path: of the file of results, if there is one.
            written: number of results that were written to it.
            fault: one that is said elsewhere.
        """
        self._console.print(self.render(in_the_end=True))
        for name, statistics in self._streams.statistics.items():
            facts = [
                f"{count} {one if count == 1 else many}{what}"
                for count, one, many, what in (
                    (statistics.dropped, "frame", "frames", " dropped, as they came too fast"),
                    (statistics.damaged_packets, "packet", "packets", " damaged and skipped"),
                    (statistics.repaired_timestamps, "timestamp", "timestamps", " repaired"),
                    (statistics.reconnections, "reconnection", "reconnections", ""),
                    (statistics.exceeded, "of", "of", f" {statistics.checks} dense checks above --max-divergence"),
                )
                if count
            ]
            if facts:
                self._say(f"{name}: {', '.join(facts)}.")
            if statistics.error is not None and statistics.error is not fault:
                self._say(as_options(str(statistics.error)))
        if (error := self._streams.snapshot_error) is not None:
            self._say(error)
        if path is not None:
            total = sum(line.results for line in self._lines.values())
            self._say(f"{written if written == total else f'{written} of {total}'} results in {path}")

    def _say(self, text: str) -> None:
        self._console.print(shown(text, None), markup=False, highlight=False, soft_wrap=True)

    def _say_state(self, name: str, statistics: StreamStatistics) -> None:
        # That a file is read, and that it ends, is nothing to be told unless something was wrong with it.
        is_usual = not statistics.is_live and statistics.state in (READING, ENDED) and name not in self._troubled
        if self._console.is_terminal or is_usual:
            return
        self._troubled.add(name)
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        why = _why(name, statistics)
        self._say(f"{now} {name}: {statistics.state}{f', as it {why}' if why else ''}")

    def render(self, in_the_end: bool = False) -> Any:
        """The table as it is now, as wide as there is room."""
        from rich.cells import cell_len
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, GAP, 0, 0), header_style="bold")
        statistics = self._streams.statistics
        rows = [self._cells(name, statistics[name], in_the_end) for name in self._lines]
        widths = {
            heading: max(cell_len(heading), *(cell_len(cells[heading]) for cells in rows))
            for heading in next(iter(rows), {})
            # A column where nothing is to be said takes the place of others.
            if heading in WHO or any(cells[heading] for cells in rows)
        }
        for heading in _fitting(widths, self._console.width):
            if heading in WHO:
                table.add_column(heading, overflow="fold")
            else:
                table.add_column(heading, no_wrap=True, justify="left" if heading == "state" else "right")
        shown_headings = [str(column.header) for column in table.columns]
        for cells in rows:
            # Labels come from a checkpoint, names from the user: they are text, not markup.
            styles = {"state": _STYLES.get(cells["state"], "")}
            table.add_row(*(Text(cells[heading], styles.get(heading, "")) for heading in shown_headings))
        notes = [
            Text(shown(f"{name}: {why}", None), "yellow")
            for name, one in statistics.items()
            if (why := _why(name, one))
        ]
        return Group(table, *notes)

    def _cells(self, name: str, state: StreamStatistics, in_the_end: bool) -> dict[str, str]:
        line = self._lines[name]
        last = line.last
        rate = line.results_per_second(None if in_the_end or state.ended else self._clock())
        # Frames that were looked at: those that were dropped do not count.
        fps = None if rate is None else rate * self._streams.engine.stride
        saved = line.dense_multiply_adds / line.multiply_adds if line.multiply_adds else None
        options = self._streams.engine.options
        moves = options.latency_budget_ms is not None or options.max_divergence is not None
        waiting = "no result" if state.ended or in_the_end else "waiting"
        # A file is read ahead, so that its frames always wait; of a camera that is time that is lost.
        waits = state.waiting_ms if state.is_live else None
        return {
            "stream": shown(name),
            "label": waiting if last is None else shown(last.label),
            "score": "" if last is None else f"{last.score:.2f}",
            "state": state.state,
            "last seen": _moment(state.last_seen) if state.is_live else "",
            "fps": "" if fps is None else f"{fps:.1f}",
            "computed": "" if last is None else f"{line.computed / line.results:.0%}",
            "cost": "" if saved is None else f"{saved:.1f}x less",
            "p95 compute": "" if state.computing_ms is None else f"{state.computing_ms:.0f} ms",
            "p95 wait": "" if waits is None else f"{waits:.0f} ms",
            "threshold": "" if last is None or last.threshold is None or not moves else f"{last.threshold:.2g}",
            "largest KL": "" if line.largest_kl is None else f"{line.largest_kl:.2g}",
            "dropped": str(state.dropped) if state.dropped else "",
        }


def _fitting(widths: dict[str, int], room: int) -> list[str]:
    """The columns that have room, in their order."""
    kept = [heading for heading in widths if heading in WHO]
    taken = sum(min(widths[heading], LEAST_WIDTH) for heading in kept) + GAP * (len(kept) - 1)
    for heading in BY_IMPORTANCE:
        if heading in widths:
            taken += GAP + widths[heading]
            if taken > room:
                break
            kept.append(heading)
    return [heading for heading in widths if heading in kept]


def _why(name: str, statistics: StreamStatistics) -> str:
    """Why a stream is not there that is looked for; nothing of others."""
    if statistics.fault is None:
        return ""
    from ..streaming.base import reason_of

    return reason_of(statistics.fault, name)


def _moment(time: datetime | None) -> str:
    """The time of a day, with the day where it is not today."""
    if time is None:
        return "never"
    is_today = time.date() == datetime.now().astimezone().date()
    return time.strftime("%H:%M:%S" if is_today else "%b %d %H:%M:%S")


def _stderr() -> Console:
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(stderr=True, width=UNKNOWN_WIDTH)
    return console
