"""`hf-ttr card`: what is written where, and every bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hf_ttr.cli import app

from ..cards.test_model_card import SUMMARY, changed, written


pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture
def folder(files, tmp_path, monkeypatch) -> Path:
    """The current folder, with the model `reuse` and the summary of an evaluation of it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(files / "reuse", "reuse")
    written(Path("summary.json"), SUMMARY)
    return tmp_path


def test_card_goes_into_the_folder_of_the_model(runner, folder):
    result = runner.invoke(app, ["card", "reuse"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Written: reuse/README.md\n") and "the card says how to measure" in result.stdout
    text = (folder / "reuse" / "README.md").read_text()
    assert "hf-ttr card reuse\n" in text and 'model="reuse"' in text and "Nothing was measured" in text


def test_options_reach_the_card(runner, folder):
    options = ["--evaluation", "summary.json", "--out", "card.md", "--model-id", "me/my model's name"]
    options += ["--base-model", "google/vit-base-patch16-224", "--license", "apache-2.0", "--dataset", "imagenet-1k"]
    options += ["--evaluation-dataset", "owner/clips", "--evaluation-task", "top1"]
    result = runner.invoke(app, ["card", "reuse", *options])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "Written: card.md\nWritten: .eval_results/owner-clips.yaml\n"
    assert not (folder / "reuse" / "README.md").exists()
    card = ModelCard.load(folder / "card.md")
    assert (card.data.base_model, card.data.license) == ("google/vit-base-patch16-224", "apache-2.0")
    assert card.data.datasets == ["imagenet-1k"]
    assert card.data.eval_results[0].metric_value == SUMMARY["metrics"]["accuracy"]["value"]
    assert 'model="me/my model\'s name"' in card.text
    # The command is a line that a shell takes back to pieces, and to the same ones.
    import shlex

    line = next(line for line in card.text.splitlines() if line.startswith("hf-ttr card "))
    assert shlex.split(line)[:6] == ["hf-ttr", "card", "reuse", "--evaluation", "summary.json", "--model-id"]
    assert "me/my model's name" in shlex.split(line)


def test_existing_card_is_replaced_only_when_asked_to(runner, folder):
    readme = written(folder / "reuse" / "README.md", "mine")
    result = runner.invoke(app, ["card", "reuse"])
    assert result.exit_code == 2 and "--overwrite" in result.stderr
    assert readme.read_text() == "mine"
    assert runner.invoke(app, ["card", "reuse", "--overwrite"]).exit_code == 0
    assert readme.read_text() != "mine"


def test_leaderboard_needs_the_name_of_the_dataset(runner, folder):
    result = runner.invoke(app, ["card", "reuse", "--evaluation", "summary.json"])
    assert result.exit_code == 0 and "--evaluation-dataset" in result.stdout
    assert not (folder / "reuse" / ".eval_results").exists()


BAD = {
    "no-such-model": (["nowhere"], ["'nowhere'", "does not exist"]),
    "model-is-a-file": (["summary.json"], ["'summary.json'", "is a file"]),
    "model-is-no-model": (["."], ["config.json"]),
    "evaluation-not-there": (["reuse", "--evaluation", "no.json"], ["no.json", "check the path"]),
    "evaluation-is-no-json": (["reuse", "--evaluation", "broken.json"], ["broken.json", "no JSON"]),
    "evaluation-is-foreign": (["reuse", "--evaluation", "reuse/config.json"], ["hf-ttr evaluate"]),
    "evaluation-not-finished": (["reuse", "--evaluation", "unfinished.json"], ["not finished"]),
    "benchmarks-are-foreign": (["reuse", "--benchmarks", "summary.json"], ["python -m benchmarks run"]),
    "out-in-no-folder": (["reuse", "--out", "no/README.md"], ["no/README.md", "--out"]),
    "out-is-a-folder": (["reuse", "--out", "reuse"], ["'reuse'", "is a folder"]),
    "base-model-is-a-path": (["reuse", "--base-model", "/a/b"], ["'/a/b'", "owner/name"]),
    "license-unknown": (["reuse", "--license", "Apache 2"], ["'Apache 2'", "'apache-2.0'"]),
    "dataset-without-evaluation": (["reuse", "--evaluation-dataset", "a/b"], ["'a/b'", "no evaluation"]),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(runner, folder, arguments, words):
    written(folder / "broken.json", json.dumps(SUMMARY)[:100])
    written(folder / "unfinished.json", changed(finished=False))
    before = sorted(folder.rglob("*"))

    result = runner.invoke(app, ["card", *arguments])

    assert result.exit_code == 2, (result.exception, result.stderr)
    assert result.stdout == ""
    assert [word for word in words if word not in result.stderr] == []
    assert result.stderr.startswith("Error: ") and result.stderr.endswith(".\n") and result.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
