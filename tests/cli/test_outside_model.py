"""A model that the package does not have, in a file of the user's own, goes through every command."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Aimv2VisionConfig
from typer.main import get_command
from typer.testing import CliRunner

import hf_ttr
from hf_ttr.cli import app
from hf_ttr.models.register import MODELS, entry_for

from ..tiny import make_clip
from .conftest import write_clip


FILE = Path(__file__).resolve().parents[2] / "examples" / "aimv2_with_reuse.py"
TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 24,
    "patch_size": 4,
    "num_labels": 5,
    "use_head": False,
    "initializer_range": 0.2,
}
NAMES = get_command(app).commands
OUTSIDE = {"demo", "env"}
"""Commands that take no model."""


@pytest.fixture(scope="module")
def outside() -> Any:
    known = set(MODELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FILE.parent)
        yield importlib.import_module(FILE.stem)
    for model_type in set(MODELS) - known:
        del MODELS[model_type]


@pytest.fixture(scope="module")
def parent(outside: Any) -> Any:
    torch.manual_seed(0)
    return outside.Aimv2ForImageClassification(Aimv2VisionConfig(**TINY)).eval()


@pytest.fixture(scope="module")
def folder(parent: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plain checkpoint under `model`, and a few videos in two classes under `videos`."""
    folder = tmp_path_factory.mktemp("outside")
    parent.save_pretrained(folder / "model")
    hf_ttr.TemporalReuseVideoProcessor(size={"height": 24, "width": 24}).save_pretrained(folder / "model")
    for label in ("LABEL_0", "LABEL_1"):
        (folder / "videos" / label).mkdir(parents=True)
        for number in range(3):
            write_clip(folder / "videos" / label / f"{number}.mp4", seed=number)
    return folder


@torch.no_grad()
def test_the_invariants_hold(outside: Any, parent: Any) -> None:
    model, clip = hf_ttr.with_temporal_reuse(parent), make_clip()
    assert type(model) is outside.TemporalReuseAimv2ForVideoClassification
    expected = parent(clip.flatten(0, 1)).logits.unflatten(0, clip.shape[:2])
    assert torch.equal(model(clip, temporal_reuse={"mode": "off"}).frame_logits, expected)
    exact = model(clip, temporal_reuse={"threshold": 0}).frame_logits
    torch.testing.assert_close(exact, expected, rtol=1e-4, atol=1e-5)
    still = model(clip[:, :1].expand(-1, 5, -1, -1, -1), temporal_reuse={"threshold": 0.1}, output_reuse_plan=True)
    # There is no token in front: a frame that stays as it was costs nothing.
    assert still.reuse.plan[0].sum(-1).tolist() == [36, 0, 0, 0, 0]


def commands(folder: Path, out: Path) -> dict[str, list[str]]:
    clip = str(folder / "videos" / "LABEL_0" / "0.mp4")
    return {
        "classify": [clip, "--model", "MODEL", "--num-frames", "4", "--json"],
        "visualize": [clip, "--model", "MODEL", "--num-frames", "4", "--out", str(out / "pictures")],
        "stream": [clip, "--model", "MODEL", "--out", str(out / "stream.jsonl")],
        "convert": ["MODEL", str(out / "converted")],
        "card": ["MODEL", "--out", str(out / "README.md")],
        "evaluate": [
            "--model",
            "MODEL",
            "--dataset",
            str(folder / "videos"),
            "--out",
            str(out / "run"),
            "--num-frames",
            "4",
        ],
        "archive": [str(folder / "videos"), "MODEL", "--out", str(out / "rows"), "--workers", "1"],
        "watch": [camera_settings(clip, folder / "model", out)],
        "calibrate": [
            *("--model", "MODEL", "--videos", str(folder / "videos"), "--target-kl", "10", "--num-clips", "1"),
            *("--out", str(out / "calibrated"), "--confidence", "0.6"),
        ],
    }


def camera_settings(clip: str, model: Path, out: Path) -> str:
    """A file that says that a clip is a camera."""
    door = {"source": clip, "states": {"agree": 1, "min_score": 0.0}}
    path = out / "cameras.yaml"
    path.write_text(json.dumps({"model": str(model), "data": str(out / "data"), "cameras": {"door": door}}))
    return str(path)


def test_every_command_that_takes_a_model_is_tried(tmp_path: Path) -> None:
    assert set(commands(tmp_path, tmp_path)) == set(NAMES) - OUTSIDE


@pytest.mark.parametrize("name", sorted(set(NAMES) - OUTSIDE))
def test_a_command_takes_it(folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_ttr.evaluation.calibration.THRESHOLDS", (0.4, 0.8))
    arguments = [str(folder / "model") if each == "MODEL" else each for each in commands(folder, tmp_path)[name]]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [name, *arguments, "--import", str(FILE)])
    assert result.exit_code == 0, (result.output, result.stderr, result.exception)
    match name:
        case "classify":
            (found,) = [json.loads(line) for line in result.stdout.splitlines()]
            assert "LABEL_" in json.dumps(found)
        case "visualize":
            assert any((tmp_path / "pictures").iterdir())
        case "stream":
            assert "LABEL_" in (tmp_path / "stream.jsonl").read_text()
        case "convert":
            again = CliRunner(env={"COLUMNS": "200"}).invoke(
                app,
                ["classify", commands(folder, tmp_path)["classify"][0], "--model", str(tmp_path / "converted")]
                + ["--import", str(FILE)],
            )
            assert again.exit_code == 0, (again.output, again.stderr)
        case "card":
            text = (tmp_path / "README.md").read_text()
            assert "AIMv2" in text and "TemporalReuseAimv2ForVideoClassification.from_pretrained" in text
        case "evaluate":
            summary = json.loads((tmp_path / "run" / "summary.json").read_text())
            assert summary["model"]["class"] == "TemporalReuseAimv2ForVideoClassification"
        case "watch":
            assert "door: LABEL_" in result.stderr
        case "calibrate":
            assert json.loads((tmp_path / "calibrated" / "calibration.json").read_text())["videos"]


def test_the_page_shows_the_file() -> None:
    page = (FILE.parents[1] / "docs" / "adding_a_model.md").read_text()
    code = FILE.read_text().split('"""\n', 2)[-1].strip()
    assert code in page.replace("\r", "")


def test_a_type_that_is_taken_is_refused(outside: Any) -> None:
    from hf_ttr.models.register import register_model

    class Taken(outside.TemporalReuseAimv2Config):
        model_type = "temporal_reuse_vit"

    with pytest.raises(ValueError, match="^there is a model of the type 'temporal_reuse_vit' already, of hf_ttr"):
        register_model(Taken, base=outside.TemporalReuseAimv2Model)
    assert MODELS["temporal_reuse_vit"].config is hf_ttr.TemporalReuseViTConfig
    assert entry_for("aimv2_vision_model").base.__name__ == "TemporalReuseAimv2Model"
    for wrong in (Aimv2VisionConfig, "vit"):
        with pytest.raises(TypeError, match="is no config of a model with reuse"):
            register_model(wrong, base=outside.TemporalReuseAimv2Model)
    with pytest.raises(TypeError, match="is no model with reuse"):
        register_model(outside.TemporalReuseAimv2Config, base=outside.Aimv2ForImageClassification)
    with pytest.raises(ValueError, match="no class was given"):
        register_model(outside.TemporalReuseAimv2Config)
