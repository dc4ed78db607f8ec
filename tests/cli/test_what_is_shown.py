"""What commands print and draw of names and labels of others, and which files of others they leave alone."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from transformers import ViTForImageClassification
from typer.testing import CliRunner

from hf_ttr.cli import app
from hf_ttr.cli.comparison import Agreement, Measurement

from ..tiny import tiny_parent


STEERING = "\x1b]0;taken\x07\x1b[2J\u202e"


@pytest.fixture
def steering_model(files: Path, tmp_path: Path) -> Path:
    """A checkpoint whose labels would steer a terminal, and end a script."""
    folder = tmp_path / "steering"
    shutil.copytree(files / "reuse", folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {number: f"{number}{STEERING}</script>[bold]" for number in config["id2label"]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def address(files: Path) -> Iterator[str]:
    """Of the clip, on a server, with a token in it."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(files)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/clip.mp4?token=S3cret&part=1"
    finally:
        server.shutdown()
        server.server_close()


def invoke(runner: CliRunner, *arguments: str) -> Any:
    return runner.invoke(app, list(arguments))


def test_labels_do_not_steer_a_terminal_or_a_page(
    runner: CliRunner, files: Path, tmp_path: Path, steering_model: Path
) -> None:
    common = (str(files / "clip.mp4"), "--model", str(steering_model), "--num-frames", "3")
    for arguments in (("classify", *common), ("classify", *common, "--json")):
        found = invoke(runner, *arguments)
        assert found.exit_code == 0, found.output
        assert not set(found.output) & set("\x1b\x07\u202e") and "[bold]" in found.output
    found = invoke(runner, "visualize", *common, "--out", str(tmp_path / "out"))
    assert found.exit_code == 0 and "\x1b" not in found.output
    page = (tmp_path / "out" / "index.html").read_text()
    assert "\u202e" not in page and "\\u001b" not in page and "\\\\x1b" in page
    # One that begins the data, and one that begins the program, each ended once.
    assert page.count("</script>") == page.count("<script")


def test_secrets_of_an_address_are_not_shown(runner: CliRunner, files: Path, tmp_path: Path, address: str) -> None:
    common = (address, "--model", str(files / "reuse"), "--num-frames", "3")
    picture = str(tmp_path / "picture.png")
    for arguments in (
        ("classify", *common),
        ("classify", *common, "--json", "--picture", picture),
        ("visualize", *common, "--out", str(tmp_path / "out")),
    ):
        found = invoke(runner, *arguments)
        assert found.exit_code == 0, found.output
        assert "S3cret" not in found.output and "token=***" in found.output
    for path in [Path(picture), *(tmp_path / "out").iterdir()]:
        assert b"S3cret" not in path.read_bytes()
    found = invoke(runner, "classify", address.replace("clip", "gone"), "--model", str(files / "reuse"))
    assert found.exit_code == 2 and "S3cret" not in found.output
    links, error = "", found.exception
    while error is not None:
        links, error = f"{links} {error!r}", error.__cause__ or error.__context__
    assert "S3cret" not in links


def test_visualize_leaves_the_files_of_others(runner: CliRunner, files: Path, tmp_path: Path) -> None:
    arguments = ("visualize", str(files / "clip.mp4"), "--model", str(files / "reuse"), "--num-frames", "2")
    names = ("index.html", "reuse.mp4", "age.png")
    for name in names:
        alone = tmp_path / name
        alone.mkdir()
        (alone / name).write_text("my home page")
        found = invoke(runner, *arguments, "--out", str(alone))
        assert found.exit_code == 2
        assert f"{name}' is there already, and was not made by hf-ttr; pass another --out" in found.stderr
        assert [path.name for path in alone.iterdir()] == [name] and (alone / name).read_text() == "my home page"
    out = tmp_path / "site"
    out.mkdir()
    for name in names:
        (out / name).write_text("my home page")
    assert invoke(runner, *arguments, "--out", str(out), "--overwrite").exit_code == 0
    assert all((out / name).read_bytes() != b"my home page" for name in names)
    (out / "notes.txt").write_text("mine")
    assert invoke(runner, *arguments, "--out", str(out)).exit_code == 0
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("command", ["classify", "demo"])
def test_a_picture_of_others_is_left(runner: CliRunner, files: Path, tmp_path: Path, command: str) -> None:
    picture = tmp_path / "holiday.png"
    PIL.Image.new("RGB", (4, 4), "red").save(picture)
    before = picture.read_bytes()
    arguments = {
        "classify": ("classify", str(files / "clip.mp4"), "--model", str(files / "reuse"), "--picture", str(picture)),
        "demo": ("demo", "--out", str(picture)),
    }[command]
    found = invoke(runner, *arguments)
    assert found.exit_code == 2 and "holiday.png' is there already, and was not made by hf-ttr" in found.stderr
    assert picture.read_bytes() == before
    if command == "classify":
        assert invoke(runner, *arguments, "--overwrite").exit_code == 0
        # Its own result may be replaced.
        assert invoke(runner, *arguments).exit_code == 0


@pytest.mark.parametrize(
    ("problem_type", "text"),
    [
        ("multi_label_classification", "the same labels above one half"),
        ("regression", "moves the numbers of the clip by"),
        ("single_label_classification", "the same top label"),
    ],
)
def test_agreement_is_of_what_the_model_was_trained_for(
    runner: CliRunner, files: Path, tmp_path: Path, problem_type: str, text: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(files / "vit", folder)
    parent: ViTForImageClassification = tiny_parent(problem_type=problem_type)
    parent.save_pretrained(folder)
    arguments = ("classify", str(files / "clip.mp4"), "--model", str(folder), "--num-frames", "4")
    found = invoke(runner, *arguments, "--threshold", "0")
    assert found.exit_code == 0 and text in " ".join(found.output.split()), found.output
    found = json.loads(invoke(runner, *arguments, "--threshold", "2", "--json").stdout)["agreement"]
    assert (found["same_top_label"] is None) == (problem_type == "regression")


def test_agreement_against_distributions_of_torch() -> None:
    torch.manual_seed(0)
    dense, reuse = (
        Measurement(logits=3 * torch.randn(5).double(), frame_logits=3 * torch.randn(7, 5).double()) for _ in range(2)
    )
    assert dense.logits is not None and reuse.logits is not None
    assert dense.frame_logits is not None and reuse.frame_logits is not None
    bernoulli = torch.distributions.Bernoulli
    found = Agreement.of(dense, reuse, "sigmoid")
    expected = torch.distributions.kl_divergence(bernoulli(logits=dense.logits), bernoulli(logits=reuse.logits)).sum()
    assert found.clip_kl == pytest.approx(expected.item())
    assert found.same_top_label == bool(((dense.logits > 0) == (reuse.logits > 0)).all())
    of_frames = ((dense.frame_logits > 0) == (reuse.frame_logits > 0)).all(-1).double().mean().item()
    assert found.frames_with_same_top_label == pytest.approx(of_frames)
    found = Agreement.of(dense, reuse, "none")
    assert found.same_top_label is None and found.frames_with_same_top_label is None
    assert found.clip_kl == pytest.approx((dense.logits - reuse.logits).square().sum().item() / 2)


def test_convert_deletes_no_file_beside_a_checkpoint(runner: CliRunner, files: Path, tmp_path: Path) -> None:
    target = tmp_path / "converted"
    arguments = ("convert", str(files / "vit"), str(target), "--overwrite")
    assert invoke(runner, *arguments).exit_code == 0
    assert invoke(runner, *arguments).exit_code == 0
    (target / "notes.txt").write_text("mine")
    found = invoke(runner, *arguments)
    assert found.exit_code == 2 and "holds 'notes.txt' beside a checkpoint, and is not replaced" in found.stderr
    assert (target / "notes.txt").read_text() == "mine"


def test_weights_that_cannot_be_read_are_not_a_folder_that_cannot_be_written(
    runner: CliRunner, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    shutil.copytree(files / "vit", source)
    (source / "model.safetensors").unlink()
    # A file that the disk cannot give.
    (source / "model.safetensors").symlink_to("/proc/self/mem")
    found = invoke(runner, "convert", str(source), str(tmp_path / "target"))
    assert found.exit_code == 2 and "model.safetensors' cannot be read" in found.stderr, found.output
    assert not (tmp_path / "target").exists()
