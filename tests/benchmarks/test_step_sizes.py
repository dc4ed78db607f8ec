from __future__ import annotations

import pytest

from benchmarks import step_sizes
from benchmarks.table import as_markdown
from hf_ttr.execution.kernels.row_buckets import RowBuckets
from hf_ttr.models.captured_steps import sizes_of_steps


def test_planned_tokens_are_rounded_to_the_next_size() -> None:
    sizes = sizes_of_steps(197, 1, 2)
    totals = [2, sizes[0], sizes[0] + 1, sizes[-1], sizes[-1] + 1]
    found = step_sizes._rounded(totals, 197, 1, 2)
    assert (found["steps"], found["usual"], found["sizes"]) == (5, 1, 3)
    assert found["planned"] == sum(totals[:4])
    assert found["computed"] == sizes[0] * 2 + sizes[1] + sizes[-1]
    assert found["in_buckets"] == sum(map(RowBuckets().size, totals[:4]))


@pytest.mark.parametrize(("count", "steps"), [(1, 3 + 2 + 4), (2, 3 + 4), (5, 4)])
def test_streams_lie_side_by_side(monkeypatch: pytest.MonkeyPatch, count: int, steps: int) -> None:
    planned = {"a": [10, 20, 30], "b": [5, 5], "c": [1, 2, 3, 4]}
    monkeypatch.setattr(step_sizes, "_counts", lambda name, most: planned[name])
    monkeypatch.setattr(step_sizes, "_tokens", lambda: 197)
    found = step_sizes._streams(list(planned), count, None)
    assert found["steps"] == steps
    if count == 1:
        assert found["planned"] == sum(map(sum, planned.values()))


def test_the_table_says_how_much_more_is_computed() -> None:
    rows = [
        {"key": ["streams", "8"], "steps": 100, "usual": 10, "planned": 900, "computed": 945, "in_buckets": 990},
        {"key": ["clips", "64"], "steps": 2, "usual": 2, "planned": 0, "computed": 0, "in_buckets": 0},
    ]
    text = as_markdown(step_sizes.table({"model": "tiny", "rows": [{**row, "sizes": 3} for row in rows]}))
    assert "| 8 live streams | 100 | 10.0% | 10 | 5.0% | 10.0% | 3 |" in text
    assert "| clips of 64 | 2 | 100.0% | 0 |  |  | 3 |" in text
