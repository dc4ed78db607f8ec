"""The archive that is made, how tables are compared, and what the pages say of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.archive import _compared, rows_table, speed_table
from benchmarks.archive_clips import FPS, WAYS, make_archive
from benchmarks.table import as_markdown
from hf_ttr.video import VideoDecodingError, read_frames


def test_clips_are_read_and_broken_ones_are_not(tmp_path: Path) -> None:
    made = make_archive(tmp_path, 15, 10)
    assert len(made.paths) == len(set(made.paths)) == 15 and len(made.good) == 3
    assert set(made.broken) == {*WAYS, "hangs", "kills"}
    for path in made.good:
        frames, info = read_frames(path)
        assert len(frames) % FPS == 0 and FPS <= len(frames) <= 20 * FPS and info.fps == FPS
    for way in WAYS:
        for path in made.broken[way]:
            with pytest.raises(VideoDecodingError):
                read_frames(path)


def row(path: str, **changes: Any) -> dict[str, Any]:
    good = {"labels": ["cat", "dog"], "scores": [0.7, 0.3], "multiply_adds": 5, "error": None, "error_kind": None}
    return {"path": path, **good, **changes}


def test_tables_are_compared_row_by_row() -> None:
    broken = {"labels": [], "scores": [], "error": "it is damaged", "error_kind": "unreadable"}
    alone = [row("a"), row("b"), row("c", **broken), row("d")]
    rows = [row("a"), row("b", scores=[0.6, 0.4], multiply_adds=6), row("c", **broken), row("a")]
    found = _compared(rows, alone, ["a", "b", "c", "d"])
    assert (found["rows"], found["lost"], found["twice"], found["good"]) == (4, 1, 1, 2)
    assert (found["same_error"], found["same_labels"], found["same_multiply_adds"]) == (3, 2, 1)
    assert found["largest_difference_of_scores"] == pytest.approx(0.1)


def test_what_the_pages_say() -> None:
    compared = _compared([row("a")], [row("a")], ["a"])
    memory = {"after_a_tenth": [300, 310], "at_half": [320, 330], "at_the_end": [321, 331], "largest": [322, 332]}
    first = {
        **{"key": ["rows", "two processes"], "videos": 1, "broken": 0, "errors": {"hung": 1}},
        **{"broken_without_error": 0, "good_with_error": 0, "actor_mib": memory},
    }
    text = as_markdown(rows_table({"rows": [{**compared, **first}, {**compared, "key": ["rows", "x"], "videos": 1}]}))
    assert "errors: 1 hung" in text and "after a tenth of the time: 300 and 310" in text
    assert "| x | 1 of 1 | 0 | 0 | 1 | 1 of 1 | 1 of 1 | 0.0000 |" in text
    seconds = {"videos": 10, "seconds": 40.0, "decoding_seconds": 2.0, "waiting_seconds": 4.0, "frames": 100}
    ways = [
        {"key": ["speed", "a plain loop"], "elapsed": 50.0, "processes": 1, **seconds},
        {"key": ["speed", "two"], "elapsed": 25.0, "processes": 2, **seconds},
    ]
    text = as_markdown(speed_table({"rows": ways}))
    assert "| two | 1,440 | 2.00x | 8.0% | 5.0% | 12,500 |" in text
