"""`hf-ttr demo`, on stand-ins and on what ships with the package."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import PIL.Image
import pytest

from hf_ttr.cli import app


# Not an attribute of `hf_ttr.cli`: there, the name is that of the command.
demo = importlib.import_module("hf_ttr.cli.demo")


@pytest.fixture
def stand_ins(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of assets with a tiny model and clip; the working directory is the one above it."""
    assets = tmp_path / "assets"
    shutil.copytree(files / "reuse", assets / demo.MODEL)
    shutil.copy(files / "clip.mp4", assets / demo.CLIP)
    monkeypatch.setattr(demo, "ASSETS", assets)
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


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize(("out", "word"), [("no/a.png", "no folder"), ("assets", "'.png'")], ids=["folder", "kind"])
def test_unwritable_picture_is_one_sentence(runner, out, word):
    result = runner.invoke(app, ["demo", "--out", out])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ") and word in result.stderr and result.stderr.count("\n") == 1


def test_missing_assets_are_one_sentence(runner, stand_ins):
    (stand_ins / demo.CLIP).unlink()
    result = runner.invoke(app, ["demo"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert demo.CLIP in result.stderr and "install" in result.stderr


@pytest.mark.usefixtures("no_network")
def test_shipped_demo(runner, tmp_path):
    for name in (demo.MODEL, demo.CLIP):
        if not (demo.ASSETS / name).exists():
            pytest.skip(f"the asset {name} is not there yet; scripts/make_demo_assets.py makes it.")
    result = runner.invoke(app, ["demo", "--out", str(tmp_path / "a.png")])
    assert result.exit_code == 0, result.stderr
    assert "space shuttle" in result.stdout
    assert "Reuse gives the clip the same top label" in result.stdout
    assert "fewer" in result.stdout
    assert (tmp_path / "a.png").exists()
