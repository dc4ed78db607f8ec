"""Rows and summary of runs: against the model called by hand, on many processes, after a stop, with broken videos."""

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

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import hf_ttr
from hf_ttr.cli import app
from hf_ttr.evaluation import ClipRow, DataError, Protocol, RowFiles, evaluate, open_dataset

from ..tiny import tiny_parent, tiny_videomae
from .videos import make_folder


pytest.importorskip("datasets", reason="datasets is not installed.")
pytest.importorskip("pyarrow", reason="pyarrow is not installed.")

VIDEOS, BROKEN = 11, 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos, and tiny checkpoints with reuse."""
    folder = tmp_path_factory.mktemp("evaluation")
    make_folder(folder / "videos", VIDEOS, BROKEN)
    for name, parent in (("vit", tiny_parent()), ("videomae", tiny_videomae())):
        hf_ttr.with_temporal_reuse(parent, {"threshold": 0.3}).save_pretrained(folder / name)
        hf_ttr.TemporalReuseVideoProcessor(
            size={"height": 24, "width": 24}, do_center_crop=False, num_frames=8
        ).save_pretrained(folder / name)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def loaded(files: Path, name: str) -> tuple[Any, Any]:
    model_class = {
        "vit": hf_ttr.TemporalReuseViTForVideoClassification,
        "videomae": hf_ttr.TemporalReuseVideoMAEForVideoClassification,
    }[name]
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(files / name)
    return model_class.from_pretrained(files / name), processor


def about(**changes: Any) -> dict[str, Any]:
    return {"model": {"name": "tiny"}, "dataset": {"name": "videos"}, "compare_dense": True, **changes}


@pytest.mark.parametrize("name", ["vit", "videomae"])
@pytest.mark.parametrize("protocol", [Protocol(num_frames=8), Protocol(2, 3, 8, 1)], ids=["one", "many"])
def test_rows_are_what_the_model_says(files: Path, tmp_path: Path, name: str, protocol: Protocol) -> None:
    model, processor = loaded(files, name)
    dataset = open_dataset(str(files / "videos"))
    done = evaluate(model, processor, dataset, tmp_path / "out", protocol, batch_size=3)
    assert done is not None and [row.number for row in done.rows] == list(range(VIDEOS))
    assert len(done.broken) == BROKEN == len(done.summary["skipped"])
    assert all("is not a video" in row.error for row in done.broken if row.error is not None)
    right = dense_right = agreeing = good = 0
    for row, video in zip(done.rows, dataset):
        assert (row.video, row.label) == (video.name, video.label)
        if row.error is not None:
            continue
        pixels = protocol.pixel_values(processor, files / "videos" / video.name)
        with torch.no_grad():
            out = model(pixels)
            dense = model(pixels, temporal_reuse={"mode": "off"})
        scores, dense_scores = (each.logits.double().softmax(-1).mean(0) for each in (out, dense))
        np.testing.assert_allclose(row.logits, scores.log(), atol=2e-4)
        np.testing.assert_allclose(row.dense_logits, dense_scores.log(), atol=2e-4)
        assert row.computed_tokens == out.reuse.computed_tokens.sum().item()
        assert row.multiply_adds == out.reuse.multiply_adds.sum().item()
        good += 1
        right += scores.argmax().item() == int(video.label[-1])
        dense_right += dense_scores.argmax().item() == int(video.label[-1])
        agreeing += scores.argmax().item() == dense_scores.argmax().item()
    metrics = done.summary["metrics"]
    assert metrics["accuracy"]["value"] == pytest.approx(right / good, abs=1e-6)
    assert metrics["dense_accuracy"]["value"] == pytest.approx(dense_right / good, abs=1e-6)
    assert metrics["accuracy_difference"]["value"] == pytest.approx((right - dense_right) / good, abs=1e-6)
    assert metrics["top1_agreement"]["value"] == pytest.approx(agreeing / good, abs=1e-6)
    assert 0 < metrics["computed_share"] < 1 < metrics["multiply_add_ratio"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == done.summary
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "out" / "clips.parquet").to_pylist()
    assert [row["logits"] for row in table] == [row.logits for row in done.rows]
    assert [row["error"] for row in table] == [row.error for row in done.rows]


def command(files: Path, out: Path, *more: str) -> list[str]:
    arguments = ["--model", str(files / "vit"), "--dataset", str(files / "videos"), "--out", str(out)]
    return [*arguments, "--num-frames", "8", "--batch-size", "2", *more]


def run(arguments: list[str], launcher: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        environment.pop(name, None)
    started = [sys.executable, *launcher, "-m", "hf_ttr.evaluate", *arguments]
    return subprocess.Popen(
        started, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def run_here(arguments: list[str]) -> str:
    """What a run that ends well writes to stderr; without the seconds that the imports of a process take."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["evaluate", *arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stderr


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node")
RESULTS = ("summary.json", "clips.parquet")


@pytest.fixture(scope="module")
def single(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process writes."""
    out = tmp_path_factory.mktemp("single") / "out"
    assert f"{BROKEN} of {VIDEOS} videos could not be read" in run_here(command(files, out))
    return {name: (out / name).read_bytes() for name in RESULTS}


AT_THE_END = """
import atexit, os
from pathlib import Path

def write():
    names = sorted(path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm"))
    if "LOCAL_RANK" in os.environ:
        (Path(__file__).parent / os.environ["LOCAL_RANK"]).write_text("\\n".join(names))

atexit.register(write)
"""


def test_many_processes_write_the_same(
    files: Path, tmp_path: Path, single: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As no other test has it: the last blocks are spread unevenly.
    processes = 3
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(AT_THE_END)
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    process = run(command(files, tmp_path / "out"), (*TORCHRUN, str(processes)))
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert {name: (tmp_path / "out" / name).read_bytes() for name in RESULTS} == single
    assert json.loads((tmp_path / "out" / "timing.json").read_text())["processes"] == processes
    assert len(list((tmp_path / "out" / "rows").iterdir())) == processes
    assert output.count("summary.json and clips.parquet are in") == 1
    if sys.platform == "linux":
        # A thread of the group that is left over aborts its process now and then, as Python ends under it.
        threads = [(site / str(rank)).read_text() for rank in range(processes)]
        assert all("python" in names and "gloo" not in names for names in threads), threads


def test_one_command_starts_the_processes(files: Path, tmp_path: Path, single: dict[str, bytes]) -> None:
    process = run(command(files, tmp_path / "out", "--num-processes", "2", "--json"))
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert json.loads(output) == json.loads(single["summary.json"])
    assert json.loads((tmp_path / "out" / "timing.json").read_text())["processes"] == 2


def test_killed_and_started_again(files: Path, tmp_path: Path, single: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    process = run(command(files, out), (*TORCHRUN, "2"), start_new_session=True)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if sum(path.read_bytes().count(b"\n") for path in out.glob("rows/*.jsonl")) >= 3:
            break
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    # In the middle of a line.
    rows = max(out.glob("rows/*.jsonl"), key=lambda path: path.stat().st_size)
    rows.write_bytes(rows.read_bytes()[:-7])
    (out / "summary.json").unlink(missing_ok=True)
    run_here(command(files, out))
    assert {name: (out / name).read_bytes() for name in RESULTS} == single


def test_fewer_processes_than_asked_for_are_refused(files: Path, tmp_path: Path) -> None:
    accelerate = shutil.which("accelerate", path=str(Path(sys.executable).parent))
    assert accelerate is not None
    arguments = [accelerate, "launch", "--cpu", "--num_processes", "2", "-m", "hf_ttr.evaluate"]
    done = subprocess.run(
        [*arguments, *command(files, tmp_path / "out")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert "Error: 2 processes were asked for, but there is 1; use torchrun" in done.stderr
    assert not (tmp_path / "out").exists()


def test_strict_ends_with_an_exit_code(files: Path, tmp_path: Path) -> None:
    arguments = command(files, tmp_path / "out", "--strict", "--no-compare-dense")
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["evaluate", *arguments])
    assert result.exit_code == 1, (result.output, result.exception)
    assert f"{VIDEOS} videos of " in result.stdout and "tokens computed" in result.stdout
    broken = [line for line in result.stderr.splitlines() if "was left out" in line]
    assert len(broken) == BROKEN and all(".mp4" in line for line in broken)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["metrics"]["dense_accuracy"] is None and summary["metrics"]["kl"] is None


def test_another_run_is_not_gone_on_with(files: Path, tmp_path: Path) -> None:
    model, processor = loaded(files, "vit")

    def go(**changes: Any) -> Any:
        dataset = open_dataset(str(files / "videos"))
        return evaluate(model, processor, dataset, tmp_path / "out", Protocol(num_frames=8), about=about(**changes))

    go()
    with pytest.raises(DataError, match="holds a run with model.name 'tiny', and this one has 'other'; pass the same"):
        go(model={"name": "other"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty, and holds no run; pass another"):
        evaluate(model, processor, open_dataset(str(files / "videos")), tmp_path / "other", Protocol(num_frames=8))
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["precious.txt"]


def test_where_nothing_can_be_read(files: Path, tmp_path: Path) -> None:
    model, processor = loaded(files, "vit")
    folder = make_folder(tmp_path / "broken", 2, broken=2)
    with pytest.raises(DataError, match="none of the 2 videos of '.*broken' can be evaluated; the first: The video"):
        evaluate(model, processor, open_dataset(str(folder)), tmp_path / "out", Protocol(num_frames=8))


def test_rows_of_all_processes_come_once(tmp_path: Path) -> None:
    rows = [ClipRow(number, f"{number}.mp4", None, error="broken") for number in range(5)]
    first, second = RowFiles(str(tmp_path), 0), RowFiles(str(tmp_path), 1)
    first.write(rows[3:])
    second.write(rows[:2])
    second.write(rows[1:4])
    assert first.read() == rows
    with open(tmp_path / "rows" / "00001.jsonl", "ab") as file:
        file.write(b'{"number": 9')
    assert first.read() == rows
    assert RowFiles(str(tmp_path), 1).known.keys() == set(range(5))
    assert (tmp_path / "rows" / "00001.jsonl").read_bytes().endswith(b"\n")
