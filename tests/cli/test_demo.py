"""`hf-ttr demo`, on stand-ins and on what ships with the package."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import PIL.Image
import pytest

from hf_ttr.cli import app, comparison


# Not an attribute of `hf_ttr.cli`: there, the name is that of the command.
demo = importlib.import_module("hf_ttr.cli.demo")


@pytest.fixture
def stand_ins(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of assets with tiny models and clips; the working directory is the one above it."""
    assets = tmp_path / "assets"
    for model, name in (("vit", "reuse"), ("videomae", "videomae-reuse")):
        folder, clip = demo.DEMOS[model]
        shutil.copytree(files / name, assets / folder)
        shutil.copy(files / "clip.mp4", assets / clip)

    def path(name: str) -> str:
        if not (assets / name).exists():
            raise FileNotFoundError(f"the example '{assets / name}' is missing; install hf-ttr anew.")
        return str(assets / name)

    monkeypatch.setattr(demo, "example", path)
    monkeypatch.chdir(tmp_path)
    return assets


@pytest.mark.usefixtures("no_network", "stand_ins")
@pytest.mark.parametrize("name", ["demo_reuse.png", "other.png"])
def test_demo_prints_a_comparison_and_draws(runner, name):
    result = runner.invoke(app, ["demo"] if name == "demo_reuse.png" else ["demo", "--out", name])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    for word in ("dense", "with reuse", "LABEL_", "tokens computed", "multiply-adds", "KL divergence", name):
        assert word in result.stdout
    assert PIL.Image.open(name).width == 1200


@pytest.mark.usefixtures("no_network", "stand_ins")
def test_demo_of_videomae_takes_the_first_frames(runner, monkeypatch):
    results = []
    compare = comparison.compare

    def keep(*args, **kwargs):
        results.append(compare(*args, **kwargs))
        return results[0]

    monkeypatch.setattr(comparison, "compare", keep)
    result = runner.invoke(app, ["demo", "--model", "videomae", "--out", "a.png"])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    for word in (
        "8 frames of ",
        "motion-demo.mp4 (0.1 s apart, 0.00 to 0.70 s)",
        "videomae-demo",
        "frames 0 to 7",
        "LABEL_",
        "KL divergence of the clip",
        "a.png",
    ):
        assert word in result.stdout
    assert results[0].frame_indices == list(range(8))
    assert PIL.Image.open("a.png").width == 1200


@pytest.mark.usefixtures("stand_ins")
def test_unknown_model_is_one_sentence(runner):
    result = runner.invoke(app, ["demo", "--model", "bert"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "Error: --model is 'bert', but must be one of vit, videomae.\n"


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize(("out", "word"), [("no/a.png", "no folder"), ("assets", "'.png'")], ids=["folder", "kind"])
def test_unwritable_picture_is_one_sentence(runner, out, word):
    result = runner.invoke(app, ["demo", "--out", out])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ") and word in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("model", demo.DEMOS)
def test_missing_assets_are_one_sentence(runner, stand_ins, model):
    folder, clip = demo.DEMOS[model]
    for name in (clip, folder):
        (stand_ins / name).rename(stand_ins / "elsewhere")
        result = runner.invoke(app, ["demo", "--model", model])
        (stand_ins / "elsewhere").rename(stand_ins / name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert name in result.stderr and "install" in result.stderr


SHIPPED = {"vit": "space shuttle", "videomae": "turns clockwise"}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("model", SHIPPED)
def test_shipped_demo(runner, tmp_path, model):
    result = runner.invoke(app, ["demo", "--model", model, "--out", str(tmp_path / "a.png")])
    assert result.exit_code == 0, result.stderr
    assert SHIPPED[model] in result.stdout
    assert "Reuse gives the clip the same top label" in result.stdout
    assert "fewer" in result.stdout
    assert (tmp_path / "a.png").exists()
