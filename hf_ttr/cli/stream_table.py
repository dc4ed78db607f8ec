"""The table of live streams on the terminal, and what is said of them in the end."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..display import shown
from ..streaming.control import percentile


if TYPE_CHECKING:
    from ..streaming import StreamResult, StreamStatistics, VideoStreams

RECENT = 100
"""Results that rate and latency are taken from."""


@dataclass
class _Line:
    """What is shown of one stream."""

    last: StreamResult | None = None
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    seen: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RECENT))
    results: int = 0
    computed: float = 0.0
    multiply_adds: int = 0
    dense_multiply_adds: int = 0
    largest_kl: float | None = None

    def results_per_second(self) -> float | None:
        """How often a result comes."""
        if len(self.seen) < 2:
            return None
        (first_time, first), (last_time, last) = self.seen[0], self.seen[-1]
        return (last - first) / max(last_time - first_time, 1e-9)


class StreamTable:
    """
    Shows one line for each stream, as long as it is entered and stderr is a terminal.

    Names, labels and faults are of others: they are shown without what would steer the terminal.

    Args:
        streams: what is shown.
    """

    def __init__(self, streams: VideoStreams) -> None:
        from rich.console import Console
        from rich.live import Live

        self._streams = streams
        self._lines = {name: _Line() for name in streams.statistics}
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4, get_renderable=self._render, transient=True)

    def __enter__(self) -> StreamTable:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def add(self, result: StreamResult) -> None:
        """Takes a result."""
        line = self._lines[result.stream]
        line.last = result
        line.latencies.append(result.latency_ms)
        line.seen.append((time.monotonic(), result.number))
        line.results += 1
        line.computed += result.computed_share
        line.multiply_adds += result.multiply_adds
        line.dense_multiply_adds += result.dense_multiply_adds
        if result.divergence is not None:
            line.largest_kl = max(line.largest_kl or 0.0, result.divergence.kl)

    def print_summary(self, path: str | None) -> None:
        """Prints what became of the streams to stderr."""
        self._console.print(self._render(in_the_end=True))
        for name, statistics in self._streams.statistics.items():
            facts = [
                f"{count} {what}"
                for count, what in (
                    (statistics.dropped, "frames dropped, as they came too fast"),
                    (statistics.damaged_packets, "damaged packets skipped"),
                    (statistics.repaired_timestamps, "timestamps repaired"),
                    (statistics.reconnections, "times reconnected"),
                    (statistics.exceeded, f"of {statistics.checks} dense checks above --max-divergence"),
                )
                if count
            ]
            if facts:
                self._say(f"{name}: {', '.join(facts)}.")
            if statistics.error is not None:
                self._say(str(statistics.error))
        if (error := self._streams.snapshot_error) is not None:
            self._say(error)
        if path is not None:
            total = sum(line.results for line in self._lines.values())
            self._say(f"{total} results in {path}")

    def _say(self, text: str) -> None:
        self._console.print(shown(text, None), markup=False, highlight=False, soft_wrap=True)

    def _render(self, in_the_end: bool = False) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 2, 0, 0), header_style="bold")
        statistics = self._streams.statistics
        rows = {name: self._cells(name, statistics[name], in_the_end) for name in self._lines}
        # A column where nothing is to be said takes the place of others.
        for heading in list(next(iter(rows.values()), {})):
            if any(cells[heading] for cells in rows.values()) or heading in ("label", "score"):
                right = heading not in ("stream", "label")
                table.add_column(heading, justify="right" if right else "left", no_wrap=right)
            else:
                for cells in rows.values():
                    del cells[heading]
        for cells in rows.values():
            # Labels come from a checkpoint, names from the user: they are text, not markup.
            table.add_row(*map(Text, cells.values()))
        return table

    def _cells(self, name: str, state: StreamStatistics, in_the_end: bool) -> dict[str, str]:
        line = self._lines[name]
        last, rate = line.last, line.results_per_second()
        # Frames that were looked at: those that were dropped do not count.
        fps = None if rate is None else rate * self._streams.engine.stride
        saved = line.dense_multiply_adds / line.multiply_adds if line.multiply_adds else None
        options = self._streams.engine.options
        moves = options.latency_budget_ms is not None or options.max_divergence is not None
        waiting = "no result" if state.ended or in_the_end else "waiting"
        return {
            "stream": shown(name),
            "label": waiting if last is None else shown(last.label),
            "score": "" if last is None else f"{last.score:.2f}",
            "computed": "" if last is None else f"{line.computed / line.results:.0%}",
            "cost": "" if saved is None else f"{saved:.1f}x less",
            "fps": "" if fps is None else f"{fps:.1f}",
            "p95 latency": "" if last is None else f"{percentile(line.latencies, 95):.0f} ms",
            "threshold": "" if last is None or last.threshold is None or not moves else f"{last.threshold:.2g}",
            "largest KL": "" if line.largest_kl is None else f"{line.largest_kl:.2g}",
            "dropped": str(state.dropped) if state.dropped else "",
        }
