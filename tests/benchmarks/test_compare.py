"""A run is compared with the committed results, value by value, within tolerances that repetitions needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.common import RESULTS
from benchmarks.compare import (
    COUNT,
    DIVERGENCE,
    KINDS,
    LABELS,
    MULTIPLY_ADDS,
    NOT_JUDGED,
    compare,
    kind_of,
    values,
)
from benchmarks.store import ResultError, Results


@pytest.fixture(scope="module")
def committed() -> Results:
    return Results(RESULTS)


def written(path: Path, cells: dict[str, Any], part: str = "vit", **header: Any) -> Results:
    """A result file with one part."""
    content = {"command": "python -m benchmarks run", "cells": cells, **header}
    path.write_text(json.dumps({"suites": {"fidelity": {part: content}}}))
    return Results(path)


def cell(**changes: Any) -> dict[str, Any]:
    found = {"frames": 100, "share": 0.25, "kl": 0.02, "agreement": 0.9, "flicker": 0.1, "wall_clock_ratio": 3.0}
    return {"settings": {"frames": 300}, **found, "seconds": 1.0, **changes}


@pytest.fixture
def ours(tmp_path: Path) -> Results:
    return written(tmp_path / "ours.json", {"a | b": cell(), "c | d": cell()})


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.mark.parametrize(
    ("changes", "outside"),
    [
        ({}, []),
        ({"share": 0.2537, "kl": 0.0219, "agreement": 0.88, "flicker": 0.14, "wall_clock_ratio": 2.2}, []),
        ({"seconds": 100.0}, []),
        ({"share": 0.2539}, ["share"]),
        ({"kl": 0.0221}, ["kl"]),
        ({"agreement": 0.87}, ["agreement"]),
        ({"flicker": 0.15}, ["flicker"]),
        ({"wall_clock_ratio": 2.0}, ["wall_clock_ratio"]),
        ({"frames": 99}, ["frames"]),
    ],
)
def test_what_is_beyond_its_tolerance_is_outside(
    ours: Results, tmp_path: Path, changes: dict[str, Any], outside: list[str]
) -> None:
    yours = written(tmp_path / "yours.json", {"a | b": cell(**changes), "new": cell()})
    outcome = compare(ours, yours)
    assert [one.value for one in outcome.outside] == outside
    # Seconds are of a machine; the other cell is in one file only.
    assert len(outcome.comparisons) == 6 and outcome.only_yours == ["vit: new"]
    assert run(tmp_path / "yours.json", "--ours", tmp_path / "ours.json").exit_code == bool(outside)


def test_the_table_shows_ours_yours_tolerance_and_verdict(ours: Results, tmp_path: Path) -> None:
    written(tmp_path / "yours.json", {"a | b": cell(kl=0.03), "c | d": cell()})
    text = run(tmp_path / "yours.json", "--ours", ours.path).stdout
    lines = [line.split() for line in text.splitlines()]
    assert ["cell", "ours", "yours", "tolerance", "verdict"] in lines
    for yours, verdict in (("0.03", "outside"), ("0.02", "within")):
        assert ["kl", "0.02", yours, "±", "0.002", verdict] in lines
    assert "1 of 12 values are outside their tolerance." in text and "7.3 %" in " ".join(text.split())
    few = run(tmp_path / "yours.json", "--ours", ours.path, "--outside").stdout
    assert "within" not in few and "vit: a | b" in few and "vit: c | d" not in few


def test_json_has_every_value_and_the_reasons(ours: Results, tmp_path: Path) -> None:
    written(tmp_path / "yours.json", {"a | b": cell(kl=0.03)})
    done = run(tmp_path / "yours.json", "--ours", ours.path, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 1 and not found["all_within"] and (found["values"], found["outside"]) == (6, 1)
    assert found["comparisons"][2] == {
        "part": "vit",
        "cell": "a | b",
        "value": "kl",
        "kind": "KL",
        "ours": 0.02,
        "yours": 0.03,
        "tolerance": pytest.approx(0.002),
        "within": False,
    }
    assert all(tolerance["why"] for tolerance in found["tolerances"].values())


@pytest.mark.parametrize(
    ("cells", "part", "message"),
    [
        (
            {"a | b": {**cell(), "settings": {"frames": 8, "quick": True}}},
            [],
            "a quick run measures with other settings",
        ),
        ({"x": cell()}, [], "no cell of the same settings in common; run a part"),
        ({"a | b": cell()}, ["--part", "speed"], "has no part 'speed'; it has vit"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    ours: Results, tmp_path: Path, cells: dict[str, Any], part: list[str], message: str
) -> None:
    written(tmp_path / "yours.json", cells)
    done = run(tmp_path / "yours.json", "--ours", ours.path, *part)
    assert done.exit_code == 2 and message in " ".join(done.stderr.split()) and done.stdout == ""


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run(tmp_path / "none.json")
    assert done.exit_code == 2 and "there is no file" in done.stderr


def test_every_value_of_the_results_is_judged_or_has_a_reason_why_not(committed: Results) -> None:
    names = {
        path
        for parts in committed.suites.values()
        for part in parts.values()
        for entry in part["cells"].values()
        for path, _ in values(entry)
    }
    assert {path for path in names if not {*KINDS, *NOT_JUDGED} & {*path}} == set()
    assert kind_of(("ways", "frame by frame", "multiply_add_ratio")) is MULTIPLY_ADDS
    assert kind_of(("clips", "0.05", "kl")) is DIVERGENCE and kind_of(("frames",)) is COUNT


def test_the_same_name_is_another_kind_of_value_in_another_part(tmp_path: Path) -> None:
    cells = {"a": {"settings": {}, "mib": 100.0}}
    for part, allowed in (("peak", 40.0), ("stream_state", 1.0)):
        (one,) = compare(*(written(tmp_path / f"{part}{n}.json", cells, part) for n in range(2))).comparisons
        assert one.tolerance == pytest.approx(allowed)


def test_the_committed_results_repeat_themselves(committed: Results) -> None:
    outcome = compare(committed, committed)
    assert not outcome.outside and len(outcome.comparisons) > 10_000
    with pytest.raises(ResultError, match="no part 'nothing'"):
        compare(committed, committed, ["nothing"])


def test_cells_that_were_measured_on_two_machines_are_within(committed: Results, tmp_path: Path) -> None:
    # Cells of part `vit` as another machine measured them; those of the part on merging are the same runs.
    one = json.loads((Path(__file__).parent / "another_machine.json").read_text())
    other = committed.suites["fidelity"]["across_frames"]
    assert one["machine"]["cpu"] != other["machine"]["cpu"]
    cells = {
        key: {**entry, "settings": one["cells"][key]["settings"]}
        for name, entry in other["cells"].items()
        if (key := name.replace("vit merged", "vit real")) in one["cells"]
        and one["cells"][key]["frames"] == entry["frames"]
    }
    outcome = compare(written(tmp_path / "one.json", one["cells"]), written(tmp_path / "other.json", cells))
    assert outcome.outside == []
    # What the tolerances say was seen is what there is to see.
    measured = [one for one in outcome.comparisons if not one.cell.split(" | ")[1].startswith("dense")]
    assert f"{len({one.cell for one in measured})} cells" in MULTIPLY_ADDS.why

    def largest(value: str, least: float = 0.0) -> str:
        own = [one for one in measured if one.value == value and one.yours > least]
        return f"{100 * max(abs(one.ours / one.yours - 1) for one in own):.1f} % at most"

    assert largest("share") in MULTIPLY_ADDS.why and largest("kl", 1e-6) in DIVERGENCE.why
    two = max(abs(one.ours - one.yours) / one.tolerance for one in measured if one.kind == "labels")
    assert two == pytest.approx(1, abs=0.01) and "two frames at most" in LABELS.why
