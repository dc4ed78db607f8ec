from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import hf_ttr
from hf_ttr.cli import app
from hf_ttr.streaming import ResultFile


ASSETS = Path(hf_ttr.__file__).parent / "assets"
VIT, VIDEOMAE = str(ASSETS / "vit-demo"), str(ASSETS / "videomae-demo")
DEMO, MOTION = str(ASSETS / "demo.mp4"), str(ASSETS / "motion-demo.mp4")
VARIES = ("latency_ms",)


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two results say the same, but for rounding and time."""
    facts = [{key: value for key, value in each.items() if key not in (*VARIES, "labels")} for each in (one, other)]
    scores = [{entry["label"]: entry["score"] for entry in each["labels"]} for each in (one, other)]
    return facts[0] == facts[1] and scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_results_go_to_a_file(runner: CliRunner, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    command = ["stream", DEMO, f"gate={DEMO}", "--model", VIT, "--window", "16", "--lookahead", "7", "--top-k", "2"]
    result = runner.invoke(app, [*command, "--out", str(out)])
    assert result.exit_code == 0, result.output
    written = lines(out)
    assert {(one["stream"], one["number"]) for one in written} == {
        (name, number) for name in ("demo.mp4", "gate") for number in range(4)
    }
    assert all(len(one["labels"]) == 2 and one["labels"][0]["label"] == "space shuttle" for one in written)
    assert f"8 results in {out}" in result.stderr and "space shuttle" in result.stderr
    assert result.stdout == ""
    # Done is done.
    again = runner.invoke(app, [*command, "--out", str(out), "--resume"])
    assert again.exit_code == 0 and lines(out) == written


def test_results_go_to_stdout(runner: CliRunner) -> None:
    result = runner.invoke(app, ["stream", MOTION, "--model", VIDEOMAE, "--out", "-", "--stride", "16"])
    assert result.exit_code == 0, result.output
    labels = [json.loads(line)["labels"][0]["label"] for line in result.stdout.splitlines()]
    assert labels == ["moves left", "stays still", "turns clockwise", "stays still", "moves up", "stays still"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["missing.mp4", "--model", VIT], "The stream 'missing.mp4' does not exist"),
        ([DEMO, "--model", "./missing"], "The model folder './missing' does not exist"),
        ([DEMO, "--model", VIT, "--window", "0"], "window is 0, but must be a whole number of at least 1."),
        ([DEMO, "--model", VIT, "--mode", "causal"], "--mode is 'causal', but a stream is causal"),
        ([DEMO, "--model", VIT, "--resume"], "--resume goes on with a result file; pass it as --out."),
        ([DEMO, "--model", VIDEOMAE, "--lookahead", "2"], "lookahead is 2, but this model sees whole windows anyway"),
        (["a=" + DEMO, "a=" + DEMO, "--model", VIT], "Two sources have the name 'a'"),
        (["http://example.com/a.mp4", "--model", VIT, "--protocol", "file"], "'http'"),
        (["gopher://example.com/a.mp4", "--model", VIT], "'gopher'"),
        ([DEMO, "--model", VIT, "--max-divergence", "0.1"], "say with verify_every how often"),
    ],
    ids=lambda value: "" if isinstance(value, list) else value[:30],
)
def test_bad_input_is_one_sentence(runner: CliRunner, arguments: list[str], message: str) -> None:
    result = runner.invoke(app, ["stream", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ") and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_damaged_file_keeps_what_came_before(runner: CliRunner, tmp_path: Path) -> None:
    broken, out = tmp_path / "broken.ts", tmp_path / "results.jsonl"
    content = Path(DEMO).read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    result = runner.invoke(app, ["stream", DEMO, str(broken), "--model", VIT, "--out", str(out), "--window", "8"])
    # Whether anything of the broken one can be read or not, the other is whole.
    if result.exit_code == 0:
        assert [one["number"] for one in lines(out) if one["stream"] == "demo.mp4"] == list(range(8))
        assert "broken.ts" in result.stderr
    else:
        assert "broken.ts" in result.stderr and result.exit_code == 2


def start(arguments: list[str], **options: Any) -> subprocess.Popen[str]:
    code = "from hf_ttr.cli import main; main()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return subprocess.Popen(
        [sys.executable, "-c", code, "stream", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("whole") / "results.jsonl"
    result = CliRunner().invoke(app, ["stream", DEMO, f"b={DEMO}", "--model", VIT, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return lines(out)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=["kill", "term", "ctrl-c"])
def test_nothing_is_lost_and_nothing_twice(
    how: signal.Signals, tmp_path: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    out = tmp_path / "results.jsonl"
    arguments = [DEMO, f"b={DEMO}", "--model", VIT, "--out", str(out), "--snapshot-every", "0"]
    for count in (10, 60):
        process = start([*arguments, *(["--resume"] if out.exists() else [])])
        wait_for_lines(out, count, process)
        process.send_signal(how)
        _, errors = process.communicate(timeout=180)
        assert process.returncode == (-9 if how == signal.SIGKILL else 130), errors
        assert "Traceback" not in errors
        assert len(lines(out)) < len(uninterrupted)
    process = start([*arguments, "--resume"])
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    for name in ("demo.mp4", "b"):
        got, expected = ([one for one in each if one["stream"] == name] for each in (lines(out), uninterrupted))
        assert [one["number"] for one in got] == [one["number"] for one in expected]
        assert all(same(one, other) for one, other in zip(got, expected))


def test_two_processes_on_one_file(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    with ResultFile(out):
        process = start([DEMO, "--model", VIT, "--out", str(out), "--resume"])
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    message = "is in use by another process; wait for it, or pass another name."
    assert errors.endswith(f"Error: the result file '{out}' {message}\n")
    assert out.read_bytes() == b"" and list(tmp_path.iterdir()) == [out]


def test_a_snapshot_of_another_model_is_refused(runner: CliRunner, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    assert runner.invoke(app, ["stream", DEMO, "--model", VIT, "--out", str(out)]).exit_code == 0
    before = out.read_bytes()
    result = runner.invoke(app, ["stream", DEMO, "--model", VIDEOMAE, "--out", str(out), "--resume"])
    assert result.exit_code == 2 and "had another model or other options" in result.stderr
    shutil.rmtree(f"{out}.snapshots")
    (tmp_path / "results.jsonl.snapshots").mkdir()
    Path(f"{out}.snapshots", "demo.mp4.safetensors").write_bytes(b"damaged")
    result = runner.invoke(app, ["stream", DEMO, "--model", VIT, "--out", str(out), "--resume"])
    assert result.exit_code == 2 and "is damaged" in result.stderr
    assert out.read_bytes() == before
