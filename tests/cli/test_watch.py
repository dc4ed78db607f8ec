"""`hf-ttr watch`: what it says of settings, and what signals do."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hf_ttr.cli import app

from ..cameras import colours
from ..cameras.services import MjpegCamera, jpeg, wait_until
from ..forks import Forks, forks


WATCH = "import sys; from hf_ttr.cli import app; app(['watch', sys.argv[1]], prog_name='hf-ttr')"
IMPORTS = "import transformers, hf_ttr.cli, hf_ttr.cameras.service, hf_ttr.cameras.reading, av"


def invoke(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["watch", *arguments])


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


GOOD = """\
model: example:vit-demo
cameras:
  door: {source: "rtsp://me:hidden@10.0.0.5/live"}
  yard: {source: x, enabled: false}
"""


def test_a_check_says_that_settings_are_fine_or_all_that_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path / "cameras.yaml", GOOD)
    result = invoke("--check", path)
    assert (result.exit_code, result.stderr) == (0, "") and "1 of 2 cameras are enabled" in result.stdout
    write(tmp_path / "cameras.yaml", GOOD.replace("model:", "modle:").replace("enabled: false", "fps: fast"))
    result = invoke("--check", path)
    assert (result.exit_code, result.stdout) == (2, "")
    lines = [line.removeprefix(f"{path}:") for line in result.stderr.splitlines()]
    assert len(lines) == 3 and "hidden" not in result.stderr
    assert any(line.startswith("1:1: ") and "did you mean model" in line for line in lines)
    assert any(line.startswith("4:") and "cameras.yard.fps" in line for line in lines)


def test_without_a_check_the_first_problem_ends_it(tmp_path: Path) -> None:
    path = write(tmp_path / "cameras.yaml", "model: vit\ncameras: {door: {sauce: x, fps: 0}}\n")
    result = invoke(path)
    assert result.exit_code == 2 and result.stdout == ""
    assert (
        result.stderr.startswith("Error: ") and "cameras.yaml:2:" in result.stderr and "other problem" in result.stderr
    )


@pytest.mark.parametrize(
    ("model", "words"), [("/no/such/model", "/no/such/model"), ("example:vit-demo", "does not exist; check the path")]
)
def test_what_comes_to_light_later_is_one_sentence_too(model: str, words: str, tmp_path: Path) -> None:
    text = {"model": model, "data": str(tmp_path / "data"), "cameras": {"door": {"source": str(tmp_path / "no.mp4")}}}
    result = invoke(write(tmp_path / "cameras.yaml", json.dumps(text)))
    last = result.stderr.splitlines()[-1]
    assert result.exit_code == 2 and last.startswith("Error: ") and words in last


def test_labels_for_a_model_that_reads_none(tmp_path: Path) -> None:
    text = {"model": "example:vit-demo", "labels": ["a", "b"], "data": str(tmp_path / "data")}
    text |= {"cameras": {"door": {"source": "example:demo.mp4"}}}
    result = invoke(write(tmp_path / "cameras.yaml", json.dumps(text)))
    assert result.exit_code == 2 and "no text tower" in result.stderr.splitlines()[-1]


def test_the_schema_is_written(tmp_path: Path) -> None:
    result = invoke("--schema", str(tmp_path / "schema.json"))
    assert result.exit_code == 0 and str(tmp_path / "schema.json") in result.stdout
    assert "cameras" in json.loads((tmp_path / "schema.json").read_text())["properties"]


@pytest.fixture(scope="module")
def started() -> Iterator[Forks]:
    with forks(IMPORTS) as found:
        yield found


def test_signals_read_the_settings_again_and_end_it(started: Forks, tmp_path: Path) -> None:
    with MjpegCamera([jpeg(colours.COLOURS["red"])], fps=20) as camera:
        model, data = colours.save_model(tmp_path / "model"), str(tmp_path / "data")

        def settings(**cameras: Any) -> str:
            text = json.dumps({"model": model, "data": data, "cameras": cameras})
            return write(tmp_path / "cameras.yaml", text)

        door = {"source": f"live:{camera.url}"}
        process = started.start(WATCH, settings(door=door))
        said = ""

        def says(words: str) -> bool:
            nonlocal said
            assert process.poll() is None, said
            os.set_blocking(process.stderr.fileno(), False)
            with suppress(BlockingIOError):
                said += os.read(process.stderr.fileno(), 2**16).decode()
            return words in said

        wait_until(lambda: says("door: red"), "that the door is red", 60)
        settings(door=door, yard={**door, "fps": "fast"})
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: says("cameras.yard.fps"), "that wrong settings are refused")
        settings(door=door, yard={**door, "fps": 5})
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: says("yard: red"), "that a camera comes")
        assert said.count("door: red") == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
