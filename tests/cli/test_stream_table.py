"""What the table of streams shows, at every width: names and labels are there whatever has no room."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from hf_ttr.cli.stream_options import as_options
from hf_ttr.cli.stream_table import StreamTable
from hf_ttr.streaming import SourceError, StreamResult, StreamStatistics


NAMES = ("gate", "entrance of the car park, level 2", "clip.mp4")
LABEL = "Polaroid camera, Polaroid Land camera"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def table_of(width: int, clock: Clock | None = None) -> tuple[StreamTable, dict[str, StreamStatistics], io.StringIO]:
    today = datetime.now().astimezone()
    refused = SourceError(f"The stream '{NAMES[0]}' cannot be opened (Connection refused); check the address.")
    statistics = {
        NAMES[0]: StreamStatistics(state="reconnecting", is_live=True, fault=refused, waiting_ms=900.0),
        NAMES[1]: StreamStatistics(state="live", is_live=True, waiting_ms=7.4, computing_ms=41.0, dropped=12345),
        NAMES[2]: StreamStatistics(state="reading", waiting_ms=812.0, computing_ms=43.0),
    }
    statistics[NAMES[0]].last_seen = today - timedelta(days=1)
    statistics[NAMES[1]].last_seen = today.replace(hour=23, minute=5, second=9)
    options = SimpleNamespace(latency_budget_ms=200.0, max_divergence=0.1)
    streams: Any = SimpleNamespace(
        statistics=statistics, engine=SimpleNamespace(stride=1, options=options), snapshot_error=None
    )
    written = io.StringIO()
    console = Console(file=written, width=width, height=24)
    table = StreamTable(streams, console, clock or Clock())
    for name, label in zip(NAMES, (LABEL, LABEL, "tabby")):
        labels = [{"label": label, "score": 0.87}]
        table.add(StreamResult(name, 0, labels=labels, multiply_adds=1, dense_multiply_adds=4, threshold=0.1))
    return table, statistics, written


def shown_at(width: int) -> list[str]:
    table, _, written = table_of(width)
    table._console.print(table.render())
    return written.getvalue().splitlines()


@pytest.mark.parametrize("width", [200, 120, 100, 80, 60, 40, 30])
def test_names_and_labels_are_whole_at_every_width(width: int) -> None:
    lines = shown_at(width)
    assert max(map(len, lines)) <= width
    letters = "".join("".join(line.split()) for line in lines)
    # A long one goes on in the next line, at the same place.
    for text in (*NAMES, LABEL):
        words = text.split() if width >= 60 else []
        assert all(word in letters for word in words), text
    assert "gate" in letters and "tabby" in letters and "…" not in "".join(lines[:-1])


HEADINGS = [
    "state",
    "score",
    "fps",
    "last seen",
    "computed",
    "dropped",
    "cost",
    "p95 compute",
    "p95 wait",
    "threshold",
]


@pytest.mark.parametrize("width, most", [(200, 9), (80, 2), (60, 0)])
def test_what_matters_least_goes_first(width: int, most: int) -> None:
    first = shown_at(width)[0]
    found = [heading for heading in HEADINGS if heading in first]
    # Of one result there is no rate yet.
    assert sorted(found) == sorted([heading for heading in HEADINGS if heading != "fps"][: len(found)])
    assert len(found) >= most


def test_a_table_of_short_names_has_its_numbers_at_80() -> None:
    table, statistics, written = table_of(80)
    for name in NAMES[1:]:
        del table._lines[name], statistics[name]
    table._lines[NAMES[0]].last = StreamResult("gate", 0, labels=[{"label": "tabby", "score": 0.5}])
    table._console.print(table.render())
    first, row, fault = written.getvalue().splitlines()
    headings = ["stream", "label", "score", "state", "last seen", "computed", "cost"]
    assert first.split() == " ".join(headings).split()
    assert row.split()[:4] == ["gate", "tabby", "0.50", "reconnecting"]
    assert fault == "gate: cannot be opened (Connection refused)"


def test_waiting_is_that_of_cameras_alone() -> None:
    gate, park, clip = (line for line in shown_at(200)[1:4])
    assert "900 ms" in gate and "7 ms" in park and "41 ms" in park
    assert "43 ms" in clip and "812" not in clip


def test_last_seen_has_its_day_where_that_is_not_today() -> None:
    gate, park = shown_at(200)[1:3]
    day = (datetime.now().astimezone() - timedelta(days=1)).strftime("%b %d")
    assert day in gate and "23:05:09" in park and day not in park


def test_the_rate_comes_down_where_nothing_comes() -> None:
    clock = Clock()
    table, _, _ = table_of(200, clock)

    def rate() -> str:
        return table._cells(NAMES[1], table._streams.statistics[NAMES[1]], in_the_end=False)["fps"]

    for number in range(1, 101):
        clock.now = number / 25
        table.add(StreamResult(NAMES[1], number, labels=[{"label": "tabby", "score": 0.5}]))
    assert rate() == "25.0"
    rates = []
    for seconds in (0.5, 2.0, 10.0, 60.0):
        clock.now = 4.0 + seconds
        rates.append(rate())
    assert rates == ["25.0", "0.5", "0.1", "0.0"]
    # What was before an interruption does not count for what comes after it.
    for number in range(101, 111):
        clock.now += 1 / 25
        table.add(StreamResult(NAMES[1], number, labels=[{"label": "tabby", "score": 0.5}]))
    assert rate() == "25.0"


def test_where_there_is_no_terminal_changes_are_lines() -> None:
    table, statistics, written = table_of(160)
    assert table._streams.on_state is not None
    # That a file is read is nothing to be told.
    for name in NAMES:
        table._streams.on_state(name, statistics[name])
    gate, park = (line.partition(" ")[2] for line in written.getvalue().splitlines())
    assert gate == "gate: reconnecting, as it cannot be opened (Connection refused)"
    assert park == f"{NAMES[1]}: live"


@pytest.mark.parametrize(
    "said, expected",
    [
        ("window is 0, but must be 1.", "--window is 0, but must be 1."),
        ("this model sees a window of 4; the window is 5.", "this model sees a window of 4; the window is 5."),
        ("check the network, or raise `reconnect`.", "check the network, or raise --reconnect."),
        ("say with verify_every how often.", "say with --verify-every how often."),
        ("The stream 'top_k' is off.", "The stream 'top_k' is off."),
    ],
)
def test_arguments_are_named_as_options(said: str, expected: str) -> None:
    assert as_options(said) == expected
