"""The files in examples/ do what they say, on tiny videos and models."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import hf_ttr
from benchmarks.rtsp_server import free_port
from hf_ttr.cli import app
from hf_ttr.evaluation import open_dataset

from .evaluation.videos import make_folder, moving_square, write_video
from .tiny import tiny_parent, tiny_videomae


pytest.importorskip("datasets", reason="datasets is not installed.")
pytest.importorskip("pyarrow", reason="pyarrow is not installed.")

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
SIZE = {"height": 24, "width": 24}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints `vit` (with reuse) and `videomae` (plain), and `videos`, of two classes."""
    folder = tmp_path_factory.mktemp("examples")
    processor = hf_ttr.TemporalReuseVideoProcessor(size=SIZE, do_center_crop=False)
    hf_ttr.with_temporal_reuse(tiny_parent(), {"threshold": 0.3}).save_pretrained(folder / "vit")
    tiny_videomae().save_pretrained(folder / "videomae")
    for name in ("vit", "videomae"):
        processor.save_pretrained(folder / name)
    make_folder(folder / "videos", 4)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def load(name: str) -> ModuleType:
    """An example as a module."""
    path = EXAMPLES / name
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def call(name: str, *arguments: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs an example in this process, as from the command line."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    load(name).main()


def environment(**variables: str) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    found = {**os.environ, "PATH": path, "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        found.pop(name, None)
    return {**found, "ACCELERATE_USE_CPU": "true", **variables}


def start(name: str, *arguments: Any, **variables: str) -> subprocess.Popen[str]:
    """Starts a shell script."""
    command = ["bash", str(EXAMPLES / name), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(**variables), stdout=pipe, stderr=pipe, text=True, cwd=ROOT)


def finish(*processes: subprocess.Popen[str]) -> str:
    """What scripts print; they must end well."""
    printed = []
    for process in processes:
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        printed.append(output)
    return "".join(printed)


# Hands its arguments to the tests, and ends as they say.
STAND_IN = """#!/usr/bin/env bash
printf '%s\\0' "$@" > "$CALLS/arguments"
exit "$(cat "$CALLS/code")"
"""


def finish_without_imports(tmp_path: Path, name: str, *arguments: Any, **variables: str) -> None:
    """A shell script whose commands `hf-ttr` run in this process; all must end well."""
    calls, programs = tmp_path / "calls", tmp_path / "programs"
    for folder in (calls, programs):
        folder.mkdir()
    for pipe in ("arguments", "code"):
        os.mkfifo(calls / pipe)
    (programs / "hf-ttr").write_text(STAND_IN)
    (programs / "hf-ttr").chmod(0o755)
    path = os.pathsep.join([str(programs), environment()["PATH"]])
    process = start(name, *arguments, CALLS=str(calls), PATH=path, **variables)
    # Open for writing too, it never ends, and what ends the wait is the script.
    asked = os.open(calls / "arguments", os.O_RDWR)
    with selectors.DefaultSelector() as ready:
        ready.register(asked, selectors.EVENT_READ)
        while process.poll() is None:
            if ready.select(0.05):
                *given, _ = os.read(asked, 1 << 16).decode().split("\0")
                result = CliRunner().invoke(app, given)
                (calls / "code").write_text(str(result.exit_code))
                assert result.exit_code == 0, result.output
    os.close(asked)
    finish(process)


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that is no link, to see that nothing changes."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_all_examples_are_listed() -> None:
    text = (EXAMPLES / "README.md").read_text()
    kinds = (".ipynb", ".py", ".sh", ".yaml")
    found = {path.name for path in EXAMPLES.iterdir() if path.suffix in kinds} | {"space/README.md"}
    listed = re.findall(r"\| \[[^]]+\]\(([^)]+)\)", text)
    assert set(listed) == found and len(listed) == len(found)


@pytest.mark.parametrize("page", ["data/README.md", "examples/README.md"])
def test_pages_lead_somewhere(page: str) -> None:
    path = ROOT / page
    text = path.read_text()
    for link in re.findall(r"\]\((?!http)([^)]+)", text):
        file, _, heading = link.partition("#")
        assert (path.parent / file).exists(), link
        if heading:
            assert heading in [line.lower().replace(" ", "-").lstrip("#-") for line in text.splitlines()], link
    for script in re.findall(r"(?:python|bash) (examples/\S+)", text):
        assert (ROOT / script).is_file(), script


def test_evaluate_folder(files: Path, tmp_path: Path) -> None:
    options = ("--num-frames", "6", "--batch-size", "2")
    arguments = (files / "vit", files / "videos", tmp_path, *options)
    # One process is enough of a wait.
    out = finish(start("evaluate_folder.sh", *arguments, THRESHOLDS="0.4"))
    assert out.startswith("threshold 0.4\n") and "4 videos of " in out
    assert summary_of(tmp_path / "0.4")["settings"]["threshold"] == 0.4


def ucf101(folder: Path, missing: bool = False) -> Path:
    """The layout of UCF101, with 2 videos in the first test split."""
    names = [f"LABEL_{number % 2}/v_LABEL_{number % 2}_g01_c0{number}.avi" for number in range(4)]
    for number, name in enumerate(names[: 1 if missing else 4]):
        write_video(folder / "UCF-101" / name, moving_square(number))
    lists = folder / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "testlist01.txt").write_text("\n".join(names[:2]) + "\n")
    (lists / "trainlist01.txt").write_text("\n".join(f"{name} 1" for name in names[2:]) + "\n")
    return folder


def test_evaluate_ucf101(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = ucf101(tmp_path / "data"), tmp_path / "out"
    before = contents(data)
    arguments = ("--data", data, "--model", files / "vit", "--out", out, "--num-frames", 6)
    with pytest.raises(SystemExit) as end:
        call("evaluate_ucf101.py", *arguments, monkeypatch=monkeypatch)
    assert end.value.code == 0
    assert contents(data) == before
    links = sorted(path.name for path in (out / "videos01").rglob("*.avi"))
    assert links == ["v_LABEL_0_g01_c00.avi", "v_LABEL_1_g01_c01.avi"]
    summary = summary_of(out / "results01")
    assert summary["dataset"]["clips"] == 2 and summary["metrics"]["accuracy"] is not None


def test_ucf101_with_videos_missing(tmp_path: Path) -> None:
    data = ucf101(tmp_path, missing=True)
    with pytest.raises(SystemExit, match="1 of 2 videos are missing, such as 'LABEL_1/v_LABEL_1_g01_c01.avi'"):
        load("evaluate_ucf101.py").videos_of_split(data, 1)
    with pytest.raises(SystemExit, match="there is no .*testlist02.txt"):
        load("evaluate_ucf101.py").videos_of_split(data, 2)


@pytest.fixture(scope="module")
def single(files: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The summary that one process writes."""
    out = tmp_path_factory.mktemp("single") / "out"
    model, dataset, *others = map(str, evaluation(files, out))
    arguments = ["evaluate", "--model", model, "--dataset", dataset, "--out", *others]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return (out / "summary.json").read_bytes()


def evaluation(files: Path, out: Path) -> tuple[Any, ...]:
    return files / "vit", files / "videos", out, "--num-frames", 6, "--batch-size", 1


# torchrun is what the test of two machines has.
@pytest.mark.parametrize("launcher", ["accelerate"])
def test_two_processes(files: Path, tmp_path: Path, single: bytes, launcher: str) -> None:
    out, variables = tmp_path / "out", {"PROCESSES": "2", "LAUNCHER": launcher, "PORT": str(free_port())}
    finish(start("evaluate_distributed.sh", *evaluation(files, out), **variables))
    assert (out / "summary.json").read_bytes() == single
    assert json.loads((out / "timing.json").read_text())["processes"] == 2


def test_two_machines_without_a_shared_disk(files: Path, tmp_path: Path, single: bytes) -> None:
    common = {"NODES": "2", "PROCESSES": "1", "HOST": "127.0.0.1", "PORT": str(free_port())}
    outs = [tmp_path / name for name in ("first", "second")]
    finish(
        *(
            start("evaluate_distributed.sh", *evaluation(files, out), NODE_RANK=str(rank), **common)
            for rank, out in enumerate(outs)
        )
    )
    assert (outs[0] / "summary.json").read_bytes() == single
    assert not (outs[1] / "summary.json").exists()


def test_calibrate(files: Path, tmp_path: Path) -> None:
    options = ("--num-frames", 6, "--num-clips", 1)
    folders = (files / "vit", files / "videos", tmp_path / "out")
    finish_without_imports(tmp_path, "calibrate.sh", *folders, *options, AGREEMENT="0.3")
    calibration = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert calibration["target"]["agreement"] == 0.3 and calibration["threshold"] > 0
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert config["temporal_reuse"]["threshold"] == calibration["threshold"]


def test_stream_cameras(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = sorted((files / "videos").rglob("*.mp4"))
    arguments = [f"gate={videos[0]}", videos[1], "--model", files / "vit", "--out", tmp_path / "results.jsonl"]
    call("stream_cameras.py", *arguments, "--verify-every", 4, monkeypatch=monkeypatch)
    printed = capsys.readouterr().out.splitlines()
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    by_stream = {name: [one for one in results if one["stream"] == name] for name in ("gate", "camera1")}
    assert [len(own) for own in by_stream.values()] == [10, 10]
    checks = sum(one["divergence"] is not None for one in results)
    assert checks >= 4 and sum("nats from dense" in line for line in printed) == checks < len(printed) + 1
    with pytest.raises(SystemExit, match="holds results already; go on behind them with --resume"):
        call("stream_cameras.py", *arguments, monkeypatch=monkeypatch)
    call("stream_cameras.py", *arguments, "--verify-every", 4, "--resume", monkeypatch=monkeypatch)
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 20


def test_names_of_cameras() -> None:
    named = load("stream_cameras.py").named(["gate=rtsp://192.0.2.7/live?a=b", "http://192.0.2.8/?c=d", "/dev/video0"])
    expected = ["rtsp://192.0.2.7/live?a=b", "http://192.0.2.8/?c=d", "/dev/video0"]
    assert named == dict(zip(("gate", "camera1", "camera2"), expected))


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark and bright videos, SPLIT/CLASS/VIDEO, which any features tell apart."""
    folder = tmp_path_factory.mktemp("bright")
    for split, count in (("train", 6), ("test", 3)):
        for label, level in (("dark", 0.2), ("bright", 1.0)):
            for number in range(count):
                frames = (moving_square(number + 100 * (split == "test")) * level).astype(np.uint8)
                write_video(folder / split / label / f"{number}.mp4", frames)
    (folder / "train" / "dark" / "broken.mp4").write_bytes(bytes(500))
    return folder


@pytest.mark.parametrize("name", ["vit", "videomae"])
def test_train_head(
    files: Path, bright: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    arguments = ("--model", files / name, "--dataset", bright, "--num-frames", 6, "--device", "cpu")
    call("train_head.py", *arguments, "--out", tmp_path / "model", monkeypatch=monkeypatch)
    printed = capsys.readouterr()
    assert "12 videos of 2 classes, 100.0% of them right with the penalty 0.01\n" in printed.out
    assert "dark/broken.mp4 is left out: The video" in printed.err
    call("train_head.py", *arguments, "--out", tmp_path / "again", "--penalty", 0.01, monkeypatch=monkeypatch)
    weights = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("model", "again")]
    assert weights[0] == weights[1]

    from hf_ttr.evaluation import Protocol, evaluate

    model_class = {
        "vit": hf_ttr.TemporalReuseViTForVideoClassification,
        "videomae": hf_ttr.TemporalReuseVideoMAEForVideoClassification,
    }[name]
    model = model_class.from_pretrained(tmp_path / "model")
    assert model.config.id2label == {0: "bright", 1: "dark"} and model.config.num_frames == (6, 8)[name == "videomae"]
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(tmp_path / "model")
    protocol = Protocol(num_frames=model.config.num_frames)
    done = evaluate(model, processor, open_dataset(str(bright), "test"), tmp_path / "out", protocol)
    assert done is not None and done.summary["metrics"]["dense_accuracy"]["value"] == 1.0


def test_the_head_is_the_best_one() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 6, generator=generator) * torch.tensor([1.0, 5, 0.1, 1, 1, 20]) + 3
    targets = torch.randint(3, (40,), generator=generator)
    head = load("train_head.py").fit_head(features, targets, 3, penalty=0.1)
    # The gradient of the penalised loss, in the units of the features that are scaled, is zero.
    scale = features.double().std(0)
    weight = (head.weight.detach().double() * scale).requires_grad_()
    inputs = (features.double() - features.double().mean(0)) / scale
    bias = head.bias.detach().double() + head.weight.detach().double() @ features.double().mean(0)
    logits = inputs @ weight.T + bias
    loss = torch.nn.functional.cross_entropy(logits, targets) + 0.05 * weight.square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient.abs().max() < 1e-4
    torch.testing.assert_close(head(features).double(), logits.detach(), rtol=1e-4, atol=1e-4)


def test_the_penalty_is_that_of_videos_left_out() -> None:
    generator = torch.Generator().manual_seed(0)
    example, targets = load("train_head.py"), torch.arange(30) % 3
    noise = torch.randn(30, 12, generator=generator)
    assert example.best_penalty(noise, targets, 3) >= 1
    clear = noise + 4 * torch.nn.functional.one_hot(targets, 12)
    assert example.best_penalty(clear, targets, 3) < 1


def kinetics(folder: Path) -> tuple[Path, list[str]]:
    (folder / "val").mkdir()
    with (folder / "val.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
        writer.writerows([["training dog", "-a_b", 9, 19, "val"], ["abseiling", "xyz", 120, 130, "val"]])
        writer.writerow(["abseiling", "gone", 0, 10, "val"])
    return folder / "val.csv", ["val/-a_b_000009_000019.mp4", "val/xyz_000120_000130.mp4"]


def ssv2(folder: Path) -> tuple[Path, list[str]]:
    entries = [("7", "training dog"), ("8", "abseiling"), ("9", "abseiling")]
    content = [{"id": number, "template": label.replace("dog", "[dog]")} for number, label in entries]
    (folder / "validation.json").write_text(json.dumps(content))
    return folder / "validation.json", ["7.webm", "8.webm"]


def hmdb51(folder: Path) -> tuple[Path, list[str]]:
    (folder / "lists").mkdir()
    (folder / "lists" / "training dog_test_split1.txt").write_text("a.avi 2 \nb.avi 1 \nc.avi 0 \n")
    (folder / "lists" / "abseiling_test_split1.txt").write_text("d.avi 2 \ne.avi 2 \n")
    (folder / "lists" / "abseiling_test_split2.txt").write_text("f.avi 2 \n")
    return folder / "lists", ["training dog/a.avi", "training dog/b.avi", "abseiling/d.avi", "abseiling/f.avi"]


@pytest.mark.parametrize("layout", [kinetics, ssv2, hmdb51], ids=lambda layout: layout.__name__)
def test_link_dataset(layout: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    path, names = layout(raw)
    for name in names:
        # An .avi is enough for these: links are never decoded here.
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(b"video")
    before = contents(raw)
    videos = raw / "val" if layout is kinetics else raw
    arguments = (layout.__name__, "--list", path, "--videos", videos, "--out", tmp_path / "out")
    for _ in range(2):
        call("link_dataset.py", *arguments, monkeypatch=monkeypatch)
        assert capsys.readouterr().out == f"2 videos in {tmp_path / 'out'}, 1 missing\n"
    assert contents(raw) == before
    assert sorted(video.label or "" for video in open_dataset(str(tmp_path / "out"))) == ["abseiling", "training dog"]


@pytest.fixture
def pictures(tmp_path: Path) -> Iterator[Path]:
    """The layout of CDnet: two videos of pictures of odd sizes."""
    for category, name in (("baseline", "highway"), ("thermal", "park")):
        folder = tmp_path / "dataset" / category / name / "input"
        folder.mkdir(parents=True)
        for number, frame in enumerate(moving_square(1, count=5, size=49)):
            Image.fromarray(frame).save(folder / f"in{number + 1:06}.jpg", quality=95)
        (folder.parent / "temporalROI.txt").write_text("1 5")
    yield tmp_path / "dataset"


def test_frames_to_videos(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    before = contents(pictures)
    call("frames_to_videos.py", "--frames", pictures, "--out", tmp_path / "out", monkeypatch=monkeypatch)
    assert capsys.readouterr().out == f"2 videos in {tmp_path / 'out'}\n"
    assert contents(pictures) == before
    videos = list(open_dataset(str(tmp_path / "out")))
    assert [(video.name, video.label) for video in videos] == [
        ("baseline/highway.mp4", "baseline"),
        ("thermal/park.mp4", "thermal"),
    ]
    from hf_ttr.video import read_frames

    frames, info = read_frames(tmp_path / "out" / "baseline" / "highway.mp4")
    assert len(frames) == 5 and (info.height, info.width, info.fps) == (48, 48, 25.0)
    expected = np.asarray(Image.open(pictures / "baseline" / "highway" / "input" / "in000001.jpg"))[:48, :48]
    # Colours are stored in half the size; brightness is not.
    difference = np.asarray(frames[0], float).mean(-1) - np.asarray(expected, float).mean(-1)
    assert np.abs(difference).mean() < 8
