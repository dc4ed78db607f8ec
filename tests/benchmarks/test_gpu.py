"""The session on a GPU, rehearsed on the CPU with tiny models: nothing may fail there for a silly reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.common import ROOT
from benchmarks.gpu import correctness, session, tables, ways
from benchmarks.gpu.correctness import TOLERANCES, check_family, families
from benchmarks.gpu.scenes import SCENES, changing_streams
from benchmarks.runner import Cell
from benchmarks.store import Results
from benchmarks.table import as_markdown
from hf_ttr.execution.graphs import Graphs


CPU = torch.device("cpu")
REHEARSAL = session.Plan(CPU, quick=True)


class Few(session.Plan):
    """Of a plan a job of each kind."""

    def jobs(self) -> Any:
        found: dict[str, tuple[str, Cell]] = {}
        for part, cell in super().jobs():
            found.setdefault(part, (part, cell))
        return iter(found.values())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What a short rehearsal measured."""
    found = Results(tmp_path_factory.mktemp("gpu") / "results.json")
    outcome = session.run_session(Few(CPU, quick=True), found, Console(quiet=True), minutes=10)
    assert outcome.measured == len(session.TITLES)
    assert not outcome.failed and not outcome.missing
    return found


def test_every_way_runs_and_says_what_it_computed(results: Results) -> None:
    for name in ("gpu_streams", "gpu_clips", "gpu_windows"):
        (row,) = results.part(name)["rows"]
        assert not row["failed"], row["failed"]
        reuse = list(ways.OPTIMIZED)
        assert list(row["ways"]) == ["dense", "dense, compiled", ways.BASELINE, *reuse]
        for way in reuse:
            assert 0 <= row["ways"][way]["computed_share"] < 0.5
            assert row["ways"][way]["multiply_add_ratio"] > 1


def test_a_second_session_measures_nothing_again(results: Results) -> None:
    again = session.run_session(Few(CPU, quick=True), Results(results.path), Console(quiet=True), minutes=10)
    assert (again.measured, again.skipped) == (0, len(session.TITLES))


def test_no_job_starts_when_the_time_is_up(tmp_path: Path) -> None:
    outcome = session.run_session(Few(CPU, quick=True), Results(tmp_path / "r.json"), Console(quiet=True), minutes=-1)
    assert outcome.measured == 0
    assert len(outcome.missing) == len(session.TITLES)


def test_tables_show_what_was_measured_and_name_what_does_not_hold(results: Results) -> None:
    text = as_markdown(tables.blocks(results))
    for title in session.TITLES.values():
        assert title[1:] in text
    assert not tables.broken(results)
    worse = Results(results.path)
    cell = next(iter(worse.suites["gpu"]["gpu_correctness"]["cells"].values()))
    cell["distances"]["threshold 0"], cell["passed"] = float("nan"), False
    (sentence,) = tables.broken(worse)
    assert "threshold 0" in sentence


def test_a_call_that_waits_is_named(tmp_path: Path) -> None:
    found = Results(tmp_path / "results.json")
    found.open_part("gpu", "gpu_correctness", {"device": "a GPU", "versions": {}}, fresh=False)
    cells = {
        "ViT, waiting | bfloat16": {"calls": {"streams": 14, "clips": 1}, "waits": {}, "passed": True},
        "VideoMAE, waiting | bfloat16": {"calls": {"windows": 2}, "waits": {"windows": "it waits."}, "passed": False},
    }
    for key, values in cells.items():
        found.put("gpu", "gpu_correctness", key, {}, values)
    assert tables.broken(found) == ["VideoMAE, waiting in bfloat16: windows: it waits."]
    text = as_markdown(tables.blocks(found))
    assert "calls that may not wait for the device: 14 of streams, 1 of clips" in text
    assert text.count("**does not hold**") == 1


def test_jobs_name_known_models_and_are_there_once() -> None:
    found = list(REHEARSAL.jobs())
    parts = {part for part, _ in found}
    assert parts == set(session.TITLES)
    named = {cell.key.split(" | ")[0] for part, cell in found if part != "gpu_correctness"}
    assert named <= set(SCENES)
    checked = {cell.key.split(" | ")[0] for part, cell in found if part == "gpu_correctness"}
    assert set(families()) <= checked


def test_a_way_that_fails_leaves_the_others_alone() -> None:
    failed = ways.Failed()
    found: ways.Ways = {}

    def broken() -> Any:
        raise RuntimeError("no such kernel\nand a long story")

    failed.trying(found, "broken", broken)
    failed.trying(found, "works", lambda: lambda: None)
    assert list(found) == ["works"]
    assert failed.reasons == {"broken": "RuntimeError: no such kernel"}


class Refusing(Graphs):
    """A device on which nothing can be captured."""

    def capture(self, work: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize("name", ["temporal_reuse_vit", "temporal_reuse_videomae"])
def test_steps_that_are_not_captured_do_not_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = check_family(name, CPU, torch.float32)
    assert found["passed"]
    captured = [distance for what, distance in found["distances"].items() if what.startswith("captured")]
    assert captured and not any(captured)
    monkeypatch.setattr(correctness, "graphs_for", lambda device: Refusing())
    assert not check_family(name, CPU, torch.float32)["passed"]


def test_a_share_of_the_patches_changes() -> None:
    frames = changing_streams(3, 40, 0.25, 64, 14, CPU)
    changed = (frames[1:, :, 0, ::14, ::14] != frames[:-1, :, 0, ::14, ::14]).double().mean()
    assert changed == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(frames[0, 0], frames[0, 1])


def test_a_device_that_is_not_there_is_a_sentence() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU.")
    result = CliRunner().invoke(app, ["gpu"])
    assert result.exit_code == 2
    assert "no CUDA device" in result.output
    assert set(TOLERANCES) == set(session.DTYPES.values())


def test_the_session_of_a_person_with_a_gpu_is_rehearsed(tmp_path: Path) -> None:
    command = ["scripts/gpu_session", str(tmp_path), "--device", "cpu", "--quick", "--minutes", "0.02"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    log = (tmp_path / "log.txt").read_text()
    assert "torch" in log and "exit code 0" in log
    found = Results(tmp_path / "results.json").suites["gpu"]["gpu_correctness"]
    assert found["device"] == "cpu" and all(cell["passed"] for cell in found["cells"].values())
