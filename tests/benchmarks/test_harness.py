"""The result file, the runner and the command line of the benchmarks, on fakes that measure nothing."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import hf_ttr
from benchmarks import __main__ as command_line
from benchmarks import common, measures, store
from benchmarks.common import ROOT, MissingData
from benchmarks.fidelity import described, sweep_cells
from benchmarks.measures import Clip, Reference
from benchmarks.methods.base import Method, StreamMethod
from benchmarks.runner import Cell, Part, run_parts, without_place
from benchmarks.store import ResultError, Results
from hf_ttr.video import read_frames


class FakeDense(Method):
    title = "dense"

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        self.multiply_adds += 100 * len(pixels)
        return self.model(pixels)


class FakeHold(StreamMethod):
    title = "hold"
    sweep = (1.0, 2.0, 4.0)

    def reset(self) -> None:
        self.frames, self.last = 0, None

    def advance(self, frame: torch.Tensor) -> torch.Tensor:
        if self.frames % int(self.setting) == 0:
            self.multiply_adds += 100
            self.last = self.model(frame)
        self.frames += 1
        return self.last


def fake_model(pixels: torch.Tensor) -> torch.Tensor:
    """Logits of three labels: the first pixels of each frame."""
    return pixels.flatten(1)[:, :3]


def fake_part(calls: list[str], name: str = "fake", suite: str = "speed", settings: Any = None, **kwargs: Any) -> Part:
    def cell(key: str) -> Cell:
        def measure() -> dict[str, Any]:
            calls.append(key)
            return {"value": len(calls), "share": (0.1234567891, float("inf"))}

        return Cell(key, measure, settings or {"frames": 3})

    return Part(suite, name, lambda quick: [cell("a | 1"), *([] if quick else [cell("a | 2")])], **kwargs)


def run(parts: list[Part], path: Path, fresh: bool = False, quick: bool = False) -> tuple[Any, str]:
    console = Console(file=io.StringIO(), width=200)
    outcome = run_parts(parts, Results(path), console, quick=quick, fresh=fresh)
    return outcome, console.file.getvalue()


def test_a_rerun_measures_only_what_is_missing(tmp_path: Path) -> None:
    path, calls = tmp_path / "results.json", []
    part = fake_part(calls)
    run([replace(part, cells=lambda quick: list(part.cells(quick))[:1])], path)
    assert calls == ["a | 1"]
    outcome, _ = run([part], path)
    assert calls == ["a | 1", "a | 2"]
    assert (outcome.measured, outcome.skipped) == (1, 1)
    run([part], path)
    assert len(calls) == 2
    run([fake_part(calls, settings={"frames": 4})], path)
    assert calls[2:] == ["a | 1", "a | 2"]
    run([fake_part(calls, settings={"frames": 4})], path, fresh=True)
    assert len(calls) == 6


def test_what_a_quick_run_measured_is_measured_anew_and_refused_by_a_report(tmp_path: Path) -> None:
    path, calls = tmp_path / "results.json", []
    run([fake_part(calls)], path, quick=True)
    assert Results(path).quick_parts() == ["fake"]
    for command in (["report", "--results", str(path), "--root", str(tmp_path)], ["paper", "--results", str(path)]):
        done = CliRunner().invoke(command_line.app, command)
        assert done.exit_code == 1 and "has cells of a quick run (fake)" in " ".join(done.stderr.split())
    run([fake_part(calls)], path)
    assert calls == ["a | 1", "a | 1", "a | 2"] and Results(path).quick_parts() == []


def test_the_file_is_plain_json_and_says_where_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    run([fake_part([], about=lambda quick: {"model": "fake"})], path)
    part = json.loads(path.read_text())["suites"]["speed"]["fake"]
    assert part["cells"]["a | 1"] == {"settings": {"frames": 3}, "value": 1, "share": [0.123457, None]}
    assert part["complete"] and part["started"] <= part["finished"] and part["model"] == "fake"
    assert part["command"].startswith("python -m benchmarks") and part["machine"]["threads"]
    assert part["versions"]["torch"] == torch.__version__
    found = Results(path).part("fake")
    assert found["rows"][1]["key"] == ["a", "2"] and "cells" not in found
    assert Results(path).part("other") is None


def test_an_interrupted_run_keeps_what_was_measured(tmp_path: Path) -> None:
    path, calls = tmp_path / "results.json", []

    def stop() -> dict[str, Any]:
        raise KeyboardInterrupt

    part = fake_part(calls)
    stopping = Part(part.suite, part.name, lambda quick: [*part.cells(quick), Cell("a | 3", stop, {})])
    with pytest.raises(KeyboardInterrupt):
        run([stopping], path)
    assert set(Results(path).suites["speed"]["fake"]["cells"]) == {"a | 1", "a | 2"}
    assert not Results(path).part("fake")["complete"]
    run([part], path)
    assert len(calls) == 2


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    run([fake_part([])], path)
    before = path.read_text()

    def fail(*unused: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store.os, "fsync", fail)
    results = Results(path)
    with pytest.raises(OSError, match="disk full"):
        results.put("speed", "fake", "a | 3", {}, {})
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_cell_leaves_the_others_and_is_tried_again(tmp_path: Path) -> None:
    path, calls = tmp_path / "results.json", []
    broken = [True]

    def fail() -> dict[str, Any]:
        if broken[0]:
            raise ValueError("no such shape")
        return {}

    part = fake_part(calls)
    mixed = Part(part.suite, part.name, lambda quick: [Cell("a | 0", fail, {}), *part.cells(quick)])
    outcome, text = run([mixed], path)
    assert outcome.failed == ["fake: a | 0 failed: ValueError: no such shape"]
    assert outcome.failed[0] in text and len(calls) == 2
    assert not Results(path).part("fake")["complete"]
    broken[0] = False
    outcome, _ = run([mixed], path)
    assert (outcome.measured, outcome.failed) == (1, []) and Results(path).part("fake")["complete"]


def test_without_data_the_other_parts_run_and_one_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TTR_REAL_DATA", str(tmp_path / "nowhere"))

    def needs_data(quick: bool) -> list[Cell]:
        common.real_data()
        return []

    calls: list[str] = []
    parts = [Part("fidelity", "first", needs_data), Part("fidelity", "second", needs_data), fake_part(calls)]
    outcome, text = run(parts, tmp_path / "results.json")
    assert len(calls) == 2 and len(outcome.missing) == 1
    assert text.count("there is no real data in") == 1 and "set HF_TTR_REAL_DATA to a folder" in text


def test_data_that_is_missed_while_measuring_is_no_failure(tmp_path: Path) -> None:
    def measure() -> dict[str, Any]:
        raise MissingData("there is no clip.")

    outcome, _ = run([Part("fidelity", "first", lambda quick: [Cell("a", measure, {})])], tmp_path / "results.json")
    assert (outcome.missing, outcome.failed) == (["there is no clip."], [])


def test_cells_of_two_machines_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls = tmp_path / "results.json", []
    run([fake_part(calls)], path, quick=True)
    monkeypatch.setattr("benchmarks.runner.machine", lambda: {"cpu": "other", "cores": 1, "threads": 1})
    outcome, _ = run([fake_part(calls)], path)
    assert calls == ["a | 1"] and "cpu other" in outcome.missing[0] and "--fresh" in outcome.missing[0]
    run([fake_part(calls)], path, fresh=True)
    assert Results(path).part("fake")["machine"]["cpu"] == "other"


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": []}'])
def test_another_file_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ResultError, match="is not a result file .*; move it away"):
        Results(path)


def test_every_method_and_setting_of_a_sweep_is_a_cell_and_the_dense_model_runs_once_per_subject(
    tmp_path: Path,
) -> None:
    generator = torch.Generator().manual_seed(0)
    loaded: list[str] = []
    methods: dict[str, type[Method]] = {"dense": FakeDense, "hold": FakeHold}
    references: dict[str, Reference] = {}

    def reference(subject: str) -> tuple[Any, Reference]:
        if subject not in references:
            loaded.append(subject)
            clip = Clip(subject, torch.randn(8, 3, 2, 2, generator=generator))
            references[subject] = Reference.of(FakeDense(fake_model), [clip])
        return fake_model, references[subject]

    def cells(quick: bool) -> list[Cell]:
        return list(sweep_cells("vit", "real", ["a.mp4", "b.mp4"], methods, reference, quick, frames=8))

    path = tmp_path / "results.json"
    run([Part("fidelity", "vit", cells, lambda quick: {"methods": described(methods)})], path)
    found = Results(path).suites["fidelity"]["vit"]
    assert loaded == ["a.mp4", "b.mp4"] and len(found["cells"]) == 8
    dense, half = (found["cells"][f"vit real | {key} | a.mp4"] for key in ("dense | 0", "hold | 2"))
    assert (dense["kl"], dense["share"], dense["agreement"]) == (0, 1, 1)
    assert half["share"] == 0.5 and half["kl"] > 0 and half["dense_flicker"] == dense["flicker"]
    assert half["seconds"] > 0 and half["settings"] == {"frames": 8}
    assert found["methods"]["hold"]["stream"] and not found["methods"]["dense"]["stream"]
    assert len(cells(quick=True)) == 6
    thin = sweep_cells("vit", "real", ["a.mp4"], methods, reference, False, thin=["hold"])
    assert [cell.key.split(" | ")[2] for cell in thin] == ["0", "1", "4"]


def test_measures_of_known_logits() -> None:
    expected = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    found = measures.compared(expected, expected[[0, 0, 0, 0]])
    assert found["agreement"] == 0.75 and found["clip_agreement"] == 1
    assert found["flicker"] == 0 and found["dense_flicker"] == pytest.approx(2 / 3)
    p = torch.tensor([2.0, 0.0]).softmax(-1)
    assert found["kl"] == pytest.approx(((p[0] - p[1]) * (p[0] / p[1]).log() / 4).item(), rel=1e-5)


def test_labels_give_accuracy_and_several_clips_name_the_worst() -> None:
    clips = [Clip(str(label), torch.eye(3)[[label, 0]].view(2, 3, 1, 1).clone() * 4, label) for label in range(3)]
    reference = Reference.of(FakeDense(fake_model), clips)
    found = measures.measure(FakeHold(fake_model, 2.0), reference)
    assert found["clips"] == 3 and found["worst"] in ("1", "2") and found["worst_kl"] > found["kl"]
    assert found["accuracy"] == 1.0 and found["dense_accuracy"] == pytest.approx(1 / 3)


class TestCommandLine:
    def test_quick_run_goes_to_a_file_of_its_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[str] = []
        monkeypatch.setattr(command_line, "PARTS", (fake_part(calls), fake_part(calls, "second", "memory")))
        monkeypatch.setattr(command_line, "QUICK_RESULTS", tmp_path / "quick.json")
        monkeypatch.setattr(command_line, "RESULTS", tmp_path / "results.json")
        result = CliRunner().invoke(command_line.app, ["run", "--suite", "speed", "--quick"])
        assert result.exit_code == 0, result.output
        assert calls == ["a | 1"] and not (tmp_path / "results.json").exists()
        assert list(Results(tmp_path / "quick.json").suites) == ["speed"]

    def test_one_part_goes_where_it_is_told_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[str] = []
        monkeypatch.setattr(command_line, "PARTS", (fake_part(calls), fake_part(calls, "second", "memory")))
        out = tmp_path / "own.json"
        result = CliRunner().invoke(command_line.app, ["run", "--part", "second", "--out", str(out)])
        assert result.exit_code == 0, result.output
        assert list(Results(out).suites) == ["memory"] and len(calls) == 2

    def test_an_unknown_part_is_named(self) -> None:
        result = CliRunner().invoke(command_line.app, ["run", "--suite", "memory", "--part", "latency"])
        assert result.exit_code == 2 and "latency" in result.output

    def test_runs_side_by_side_are_brought_together(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[str] = []
        first, second, out = (tmp_path / f"{name}.json" for name in ("first", "second", "all"))
        run([fake_part(calls)], first, quick=True)
        run([fake_part(calls), fake_part(calls, "other", "memory")], second)
        result = CliRunner().invoke(command_line.app, ["merge", str(first), "--out", str(out)])
        assert result.exit_code == 0 and "first.json: fake" in result.output
        assert list(Results(out).part("fake")["rows"][0]["key"]) == ["a", "1"] and len(Results(out).suites) == 1
        result = CliRunner().invoke(command_line.app, ["merge", str(second), "--out", str(out)])
        assert result.exit_code == 0, result.output
        found = Results(out)
        assert [row["value"] for row in found.part("fake")["rows"]] == [2, 3] and found.part("other") is not None
        monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
        run([fake_part(calls)], first, fresh=True, quick=True)
        assert CliRunner().invoke(command_line.app, ["merge", str(first), "--out", str(out)]).exit_code == 0
        # Another machine: its cells do not stand beside those that were there.
        assert len(Results(out).part("fake")["rows"]) == 1

    def test_a_file_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(command_line.app, ["merge", str(tmp_path / "none.json")])
        assert result.exit_code == 2 and "there is no file" in " ".join(result.output.split())

    def test_ctrl_c_says_where_things_are(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def stop() -> dict[str, Any]:
            raise KeyboardInterrupt

        part = Part("speed", "fake", lambda quick: [Cell("a", stop, {})])
        monkeypatch.setattr(command_line, "PARTS", (part,))
        result = CliRunner().invoke(command_line.app, ["run", "--out", str(tmp_path / "results.json")])
        assert result.exit_code == 130 and "goes on from there" in result.output

    def test_a_file_that_is_no_result_ends_in_a_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "results.json").write_text("{}")
        for arguments in (["run", "--out"], ["report", "--results"]):
            result = CliRunner().invoke(command_line.app, [*arguments, str(tmp_path / "results.json")])
            assert result.exit_code == 1 and "is not a result file" in " ".join(result.output.split())


def test_frames_are_chosen_by_the_benchmarks_themselves() -> None:
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(ROOT / "hf_ttr" / "assets" / "vit-demo")
    video = ROOT / "hf_ttr" / "assets" / "demo.mp4"
    frames, _ = read_frames(video, lambda total: range(total))
    every = processor(frames, do_sample_frames=False, return_tensors="pt").pixel_values[0]
    assert torch.equal(common.first_frames(processor, video, 3)[0], every[:3])
    assert torch.equal(common.demo_clip(5), every[:5])
    assert torch.equal(common.spread_frames(processor, video, 3)[0], every[[0, round((len(every) - 1) / 2), -1]])
    more = common.first_frames(processor, video, len(every) + 2)[0]
    assert torch.equal(more[: len(every)], every) and torch.equal(more[-1], every[-1])
    assert torch.equal(common.spread_frames(processor, video, len(every) + 2)[0], more)


def test_a_command_is_kept_without_the_file_that_it_wrote_to() -> None:
    assert without_place(["run", "--part", "vit", "--out", "some.json", "--fresh"]) == [
        "run",
        "--part",
        "vit",
        "--fresh",
    ]
    assert without_place(["run", "--out=some.json"]) == ["run"]
