"""`--labels` and `--template`: the scores of the library, on files and streams, and every bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import pipeline
from typer.testing import CliRunner

from hf_ttr.cli import app

from ..tiny import tiny_parent
from ..tiny_texts import LABELS, image_processor, save_text_model
from .conftest import write_clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip, models with a text tower, a ViT, a classifier of fixed labels, and files of labels."""
    folder = tmp_path_factory.mktemp("labels")
    write_clip(folder / "clip.mp4")
    for kind in ("clip", "siglip"):
        save_text_model(kind, folder / kind)
    tiny_parent().save_pretrained(folder / "vit")
    image_processor("clip").save_pretrained(folder / "vit")
    edge: Any = pipeline("video-classification", model=str(folder / "siglip"), candidate_labels=LABELS)
    edge.save_pretrained(folder / "edge")
    (folder / "labels.txt").write_text("\n".join(["", *LABELS, "  "]) + "\n", encoding="utf-8")
    (folder / "empty.txt").write_text("\n")
    (folder / "bytes.txt").write_bytes(b"\xff\xfe\xfa")
    return folder


def run(runner: CliRunner, folder: Path, *arguments: str) -> Any:
    return runner.invoke(app, [part.replace("@@", f"@{folder}/") for part in arguments])


@pytest.mark.parametrize("given", [", ".join(LABELS), "@@labels.txt"])
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_classify_gives_what_the_pipeline_gives(runner: CliRunner, folder: Path, kind: str, given: str) -> None:
    clip = str(folder / "clip.mp4")
    options = ("--model", str(folder / kind), "--labels", given, "--template", "{}", "--json", "--num-frames", "6")
    result = run(runner, folder, "classify", clip, *options)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    for prefix, settings in (("", {}), ("dense_", {"mode": "off"})):
        pipe: Any = pipeline(
            "video-classification-reuse", model=str(folder / kind), model_kwargs={"temporal_reuse": settings}
        )
        expected = pipe(clip, candidate_labels=LABELS, hypothesis_template="{}", num_frames=6)
        assert found[f"{prefix}labels"] == [one["label"] for one in expected]
        assert found[f"{prefix}scores"] == pytest.approx([one["score"] for one in expected], abs=1e-5)
    assert found["score_kind"] == ("softmax" if kind == "clip" else "sigmoid")
    assert 0 < found["computed_share"] < 1


def test_stream_writes_the_labels_that_were_chosen(runner: CliRunner, folder: Path, tmp_path: Path) -> None:
    clip, out = str(folder / "clip.mp4"), tmp_path / "out.jsonl"
    options = ("--model", str(folder / "siglip"), "--out", str(out))
    result = run(runner, folder, "stream", clip, *options, "--labels", "@@labels.txt")
    assert result.exit_code == 0, result.output
    written = [json.loads(line) for line in out.read_text().splitlines()]
    pipe: Any = pipeline("video-classification-reuse", model=str(folder / "siglip"))
    expected = list(pipe.stream(clip, candidate_labels=LABELS))
    assert len(written) == len(expected) == 12
    for mine, theirs in zip(written, expected):
        assert {one["label"] for one in mine["labels"]} == set(LABELS)
        by_label = {one["label"]: one["score"] for one in theirs.labels}
        assert {one["label"]: one["score"] for one in mine["labels"]} == pytest.approx(by_label, abs=1e-5)
    # Labels are part of what a run is.
    again = run(runner, folder, "stream", clip, *options, "--labels", "a car,a bus", "--resume")
    assert again.exit_code == 2 and "had another model or other options" in again.stderr


def test_labels_that_were_saved_need_no_option(runner: CliRunner, folder: Path) -> None:
    result = run(runner, folder, "classify", str(folder / "clip.mp4"), "--model", str(folder / "edge"), "--json")
    assert result.exit_code == 0, result.output
    assert sorted(json.loads(result.stdout)["labels"]) == sorted(LABELS)


WRONG = {
    "none": ("siglip", ["--labels", ""], "abel 1 of --labels is empty; leave it out"),
    "an empty one": ("siglip", ["--labels", "a cat,,a dog"], "abel 2 of --labels is empty; leave it out"),
    "twice": ("siglip", ["--labels", "a cat,a cat"], "'a cat' is in --labels more than once"),
    "one of a CLIP": ("clip", ["--labels", "a cat"], "--labels holds the label 'a cat' alone, whose score would be 1"),
    "no file": ("siglip", ["--labels", "@@nothing.txt"], "cannot be read (No such file or directory); pass @ and"),
    "no text": ("siglip", ["--labels", "@@bytes.txt"], "cannot be read (it is no text in UTF-8); pass @ and"),
    "an empty file": ("siglip", ["--labels", "@@empty.txt"], "--labels holds no label; pass what may be seen"),
    "a template alone": ("siglip", ["--template", "{}"], "--template is for --labels, which are not given"),
    "no place": (
        "siglip",
        ["--labels", "a,b", "--template", "x"],
        "--template is 'x', but must be a text with one {}",
    ),
    "labels of its own": (
        "vit",
        ["--labels", "a,b"],
        "a ViTForImageClassification, has the labels that it was trained",
    ),
    "labels of before": ("edge", ["--labels", "a,b"], "and no text tower; leave --labels out, or pass the model"),
    "needed": ("siglip", [], "a SiglipModel, reads its labels, and none were chosen; choose some (--labels"),
}


@pytest.mark.parametrize("command", ["classify", "stream", "archive"])
@pytest.mark.parametrize(("kind", "options", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_option_is_one_sentence(
    runner: CliRunner, folder: Path, command: str, kind: str, options: list[str], words: str, tmp_path: Path
) -> None:
    model = ["--model", str(folder / kind)]
    if command == "archive":
        pytest.importorskip("ray", reason="ray is not installed.")
        model = [str(folder / kind), "--out", str(tmp_path / "out")]
    result = run(runner, folder, command, str(folder / "clip.mp4"), *model, *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ") and words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and "Traceback" not in result.stderr
