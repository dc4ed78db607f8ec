from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import hf_ttr
from hf_ttr.cli import app
from hf_ttr.streaming import ResultChoice, ResultFile, StreamResult

from ..forks import Fork, Forks, forks
from ..streaming.clips import encode, pictures, send, serving


stream_command = sys.modules["hf_ttr.cli.stream"]
ASSETS = Path(hf_ttr.__file__).parent / "assets"
VIT, VIDEOMAE = str(ASSETS / "vit-demo"), str(ASSETS / "videomae-demo")
DEMO, MOTION = str(ASSETS / "demo.mp4"), str(ASSETS / "motion-demo.mp4")
SHORT = ("arrived_at", "label", "score")
VARIES = ("latency_ms", "waiting_ms", "computing_ms", "arrived_at")


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
        ([DEMO, "--model", VIT, "--window", "0"], "--window is 0, but must be a whole number of at least 1."),
        ([DEMO, "--model", VIT, "--mode", "causal"], "--mode is 'causal', but a stream is causal"),
        ([DEMO, "--model", VIT, "--resume"], "--resume goes on with a result file; pass it as --out."),
        (
            [DEMO, "--model", VIDEOMAE, "--lookahead", "2"],
            "--lookahead is 2, but this model sees whole windows anyway",
        ),
        (["a=" + DEMO, "a=" + DEMO, "--model", VIT], "Two sources have the name 'a'"),
        (["http://example.com/a.mp4", "--model", VIT, "--protocol", "file"], "'http'"),
        (["gopher://example.com/a.mp4", "--model", VIT], "'gopher'"),
        ([DEMO, "--model", VIT, "--timeout", "0"], "--timeout is 0; pass a larger number."),
        ([DEMO, "--model", VIT, "--reconnect", "-1"], "--reconnect is -1; pass a larger number."),
        ([DEMO, "--model", VIT, "--every", "2"], "--every chooses what is written; pass --out as well."),
        ([DEMO, "--model", VIT, "--out", "-", "--every", "0"], "--every is 0.0, but must be a number of seconds"),
        ([DEMO, "--model", VIT, "--out", "-", "--fields", "lable"], "--fields has 'lable', which no result has"),
        ([DEMO, "--model", VIT, "--max-divergence", "0.1"], "say with --verify-every how often"),
    ],
    ids=lambda value: "" if isinstance(value, list) else value[:30],
)
def test_bad_input_is_one_sentence(runner: CliRunner, arguments: list[str], message: str) -> None:
    result = runner.invoke(app, ["stream", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr.replace("\n", " ") and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_at_most_so_many_frames_a_second(runner: CliRunner, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    result = runner.invoke(app, ["stream", DEMO, "--model", VIT, "--max-fps", "5", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert [one["first_frame"] for one in lines(out)] == list(range(0, 64, 5))
    wrong = runner.invoke(app, ["stream", DEMO, "--model", VIT, "--max-fps", "0"])
    assert wrong.exit_code == 2 and "--max-fps is 0" in wrong.stderr


def test_chosen_results_and_fields(runner: CliRunner, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    command = [
        "stream",
        MOTION,
        "--model",
        VIDEOMAE,
        "--stride",
        "16",
        "--on-change",
        "--fields",
        "arrived_at,end,label",
    ]
    result = runner.invoke(app, [*command, "--out", str(out)])
    assert result.exit_code == 0, result.output
    written = lines(out)
    assert [one["label"] for one in written][:3] == ["moves left", "stays still", "turns clockwise"]
    assert {tuple(one) for one in written} == {("stream", "number", "arrived_at", "end", "label")}
    assert all(datetime.fromisoformat(one["arrived_at"]).tzinfo is not None for one in written)
    again = runner.invoke(app, [*command, "--out", str(out)])
    assert again.exit_code == 2 and "go on behind them with --resume" in again.stderr.replace("\n", " ")
    again = runner.invoke(app, [*command, "--out", str(out), "--resume"])
    assert again.exit_code == 0 and lines(out) == written
    to_stdout = runner.invoke(app, [*command, "--out", "-"])
    assert [json.loads(line)["number"] for line in to_stdout.stdout.splitlines()] == [one["number"] for one in written]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here.")
def test_nobody_reads_a_pipe_with_a_name(runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `--out /dev/stdout | head` does."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    load = stream_command.load_pipeline
    # By then the pipe is open.
    monkeypatch.setattr(
        stream_command, "load_pipeline", lambda *given, **options: (os.close(reader), load(*given, **options))[1]
    )
    result = runner.invoke(app, ["stream", DEMO, "--model", VIT, "--window", "8", "--out", str(tmp_path / "pipe")])
    assert result.exit_code == 141 and "Error" not in result.output and "snapshot" not in result.output


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


@pytest.fixture(scope="module")
def processes() -> Iterator[Forks]:
    imports = "import transformers.pipelines, hf_ttr.cli.stream, hf_ttr.models.vit; hf_ttr.TemporalReuseViTModel"
    with forks(imports, COLUMNS="120") as running:
        yield running


MAIN = "from hf_ttr.cli import main; main()"


def wait_for_lines(path: Path, count: int, process: Fork) -> None:
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


def test_the_sizes_that_the_page_has(uninterrupted: list[dict[str, Any]]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "streams.md").read_text()
    for options, fields in (("all of every frame", None), ("`--fields arrived_at,label,score`", SHORT)):
        found = re.search(rf"^\| {re.escape(options)} \| (\d+) \| ([\d.]+) MB", page, re.MULTILINE)
        assert found is not None
        size, megabytes = found.groups()
        choice = ResultChoice(fields=fields)
        results = [StreamResult.from_dict(one) for one in uninterrupted if one["stream"] == "demo.mp4"]
        sizes = [len(json.dumps(choice.facts(result))) + 1 for result in results]
        assert sum(sizes) / len(sizes) == pytest.approx(int(size), rel=0.05)
        assert float(megabytes) == pytest.approx(int(size) * 25 * 3600 / 1e6, rel=0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_nothing_is_lost_and_nothing_twice(
    how: signal.Signals, tmp_path: Path, uninterrupted: list[dict[str, Any]], processes: Forks
) -> None:
    out = tmp_path / "results.jsonl"
    arguments = ["stream", DEMO, f"b={DEMO}", "--model", VIT, "--out", str(out), "--snapshot-every", "0"]
    process = processes.start(MAIN, *arguments)
    wait_for_lines(out, 40, process)
    process.send_signal(how)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == (-9 if how == signal.SIGKILL else 130), errors
    assert "Traceback" not in errors
    assert len(lines(out)) < len(uninterrupted)
    process = processes.start(MAIN, *arguments, "--resume")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    for name in ("demo.mp4", "b"):
        got, expected = ([one for one in each if one["stream"] == name] for each in (lines(out), uninterrupted))
        assert [one["number"] for one in got] == [one["number"] for one in expected]
        assert all(same(one, other) for one, other in zip(got, expected))


def test_two_processes_on_one_file(tmp_path: Path, processes: Forks) -> None:
    out = tmp_path / "results.jsonl"
    with ResultFile(out):
        process = processes.start(MAIN, "stream", DEMO, "--model", VIT, "--out", str(out), "--resume")
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    message = "is in use by another process; wait for it, or pass another name."
    assert errors.endswith(f"Error: The result file '{out}' {message}\n")
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


def run_to_the_end(process: Fork) -> tuple[int, str]:
    _, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors, errors
    assert process.returncode is not None
    return process.returncode, errors


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there are no such devices here.")
@pytest.mark.parametrize("out", ["-", "/dev/full"])
def test_a_full_disk_is_said_for_what_it_is(out: str, processes: Forks) -> None:
    arguments = ["stream", DEMO, "--model", VIT, "--window", "32", "--out", out]
    with open("/dev/full", "w") as full:
        code, errors = run_to_the_end(processes.start(MAIN, *arguments, stdout=full))
    assert code == 2 and "cannot be written" in errors and "No space left on device" in errors
    assert "snapshot" not in errors.lower()


def test_nobody_reads_any_more(processes: Forks) -> None:
    process = processes.start(MAIN, "stream", DEMO, "--model", VIT, "--out", "-", stdout=subprocess.PIPE)
    assert process.stdout is not None and json.loads(process.stdout.readline())["number"] == 0
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(120) == 141 and "Error" not in errors and "Traceback" not in errors


def test_names_that_the_terminal_cannot_write(tmp_path: Path, processes: Forks) -> None:
    video = shutil.copy(DEMO, tmp_path / "é\x1b[2J.mp4")
    arguments = ["stream", str(video), "--model", VIT, "--window", "64"]
    code, errors = run_to_the_end(processes.start(MAIN, *arguments, stdout=subprocess.PIPE, encoding="ascii"))
    assert code == 0 and r"\xe9\x1b[2J.mp4" in errors and "\x1b[2J" not in errors


def test_labels_of_others_are_shown_without_what_steers(runner: CliRunner, tmp_path: Path) -> None:
    model = shutil.copytree(VIT, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config["id2label"] = {str(number): f"{number}\x1b]0;title\x07" for number in range(8)}
    (model / "config.json").write_text(json.dumps(config))
    result = runner.invoke(app, ["stream", DEMO, "--model", str(model), "--window", "64", "--out", "-"])
    assert result.exit_code == 0, result.output
    assert "\x1b]0;" not in result.output and "\\x1b]0;title\\x07" in result.stderr
    # Data stay what they are.
    assert json.loads(result.stdout)["labels"][0]["label"].endswith("\x1b]0;title\x07")


def test_passwords_are_nowhere(runner: CliRunner, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    data = encode(pictures(10), "ts-mpeg2")
    with serving(lambda handler: send(handler, data)) as url:
        address = url.replace("//", "//admin:S3cret@")
        command = ["stream", address, f"yard={address}/a.mp4?token=S3cret", "--model", VIT, "--window", "10"]
        result = runner.invoke(app, [*command, "--out", str(out), "--timeout", "5"])
    assert result.exit_code == 0, result.output
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(lines(out)) == 2 and len(kept) == 4
    assert "S3cret" not in result.output + "".join(map(str, kept))
    assert not any(b"S3cret" in path.read_bytes() for path in kept)


def test_one_that_is_missing_leaves_the_others(runner: CliRunner) -> None:
    result = runner.invoke(
        app, ["stream", DEMO, "off=/no/such/file.mp4", "--model", VIT, "--window", "32", "--out", "-"]
    )
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 2
    assert "The stream 'off' does not exist; check the path." in result.stderr


def test_a_full_disk_at_a_snapshot(tmp_path: Path, processes: Forks) -> None:
    pytest.importorskip("resource")
    small = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    )
    out = tmp_path / "results.jsonl"
    arguments = ["stream", DEMO, "--model", VIT, "--window", "8", "--out", str(out), "--snapshot-every", "0"]
    code, errors = run_to_the_end(processes.start(small + MAIN, *arguments))
    assert code == 0 and len(lines(out)) == 8 and "cannot be written" in errors and "make room" in errors
    assert errors.count("The snapshot '") == 2, "at once, and in the end"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["term", "ctrl-c"])
def test_it_ends_while_a_source_is_being_opened(how: signal.Signals, processes: Forks) -> None:
    asked, gate = threading.Event(), threading.Event()

    def answer(handler: Any) -> None:
        asked.set()
        gate.wait(60)

    with serving(answer) as url:
        process = processes.start(MAIN, "stream", f"{url}/a.ts", "--model", VIT, "--timeout", "50")
        assert asked.wait(100)
        time.sleep(0.3)
        began = time.monotonic()
        process.send_signal(how)
        time.sleep(0.1)
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
        seconds = time.monotonic() - began
        gate.set()
    assert process.returncode == 130 and "Traceback" not in errors
    assert seconds < 15, "the end of the interpreter included"
