"""Model cards: what they say and do not say, that their metadata is read back, and that no name breaks them."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from transformers import VideoMAEConfig, ViTConfig

from hf_ttr import TemporalReuseVideoMAEConfig, TemporalReuseViTConfig
from hf_ttr.cards.figures import Interval
from hf_ttr.cards.model_card import ReuseModelCardData, save_model_card
from hf_ttr.cards.text import code, fenced, literal, markdown, table

from ..tiny import TINY_VIDEOMAE, TINY_VIT


ROOT = Path(__file__).resolve().parents[2]
CARDS = ["vit-demo", "videomae-demo", "vit-base-patch16-224", "videomae-base-finetuned-kinetics"]

PATTERN = re.compile(
    r"""---
(?:.*\n)*?library_name: (?:hf-ttr|transformers)
(?:.*\n)*?---

# .+ with temporal token reuse

A (?:ViT|VideoMAE) that classifies videos; .+

Temporal token reuse, .+
.+

- Model: \d+ layers, hidden size \d+
- Frames: \d+x\d+ pixels in patches of \d+x\d+
(?:- Window: \d+ frames
)?- Labels: .+

## How to use

With the package `hf-ttr` installed: `pip install \.` in a clone of it, as it is not on PyPI yet\.

`{3,}python
import hf_ttr
from transformers import pipeline
(?:.*\n)+?`{3,}

A stream, whose state goes on from frame to frame:

`{3,}python
(?:.*\n)+?`{3,}

The dense model, same weights, for comparison:

`{3,}python
(?:.*\n)+?`{3,}

## Settings of reuse

- `mode`: .+
- `threshold`: .+
(?:- `\w+`: .+
)+
(?:## What it costs and saves

Nothing was measured of this checkpoint yet: .+

(?:## Fidelity

When the model was trained, .+

)?(?:## Speed

Speed alone, with random weights (?:.*\n)*?
)?|## Fidelity

(?:.*\n)*?\| \| dense \| with reuse \|
\| --- \| --- \| --- \|
\| accuracy \| .+ \| .+ \|
\| difference of accuracy \| \| .+ \|
\| clips with the same first label \| \| .+ \|
\| agreement of the first five labels \| \| .+ \|
\| KL divergence, clips \| \| .+ \|
\| error of the logits \| \| .+ \|
(?:.*\n)*?
## Speed

(?:.*\n)*?\| tokens computed \| 100.0% \| .+ \|
\| multiply-adds \| .+ \| .+ \|
\| multiply-adds, ratio \| \| .+ \|
\| wall-clock \| .+ \| .+ \|
(?:.*\n)*?Machine: .+\.
(?:.*\n)*?
)## Limits

(?:- .+
(?:  .+
)*)+
## Licence

The .+ hf-ttr itself: `apache-2.0`\.

(?:## How to reproduce

(?:.*\n)+?
)?## Citation

```bibtex
@software\{hf_ttr,
(?:.*\n)+?```
(?:
Cite the base model, .+
)?""",
)

SUMMARY: dict[str, Any] = {
    "hf_ttr": "0.1.0",
    "command": "hf-ttr evaluate --model model --data clips",
    "model": {"name": "model", "class": "TemporalReuseViTForVideoClassification"},
    "dataset": {"name": "some clips", "split": "test", "clips": 200},
    "protocol": {"num_clips": 2, "views": 3, "num_frames": 16, "frame_sampling_rate": None},
    "settings": {"mode": "causal", "threshold": 0.2},
    "processes": 2,
    "machine": {"cpu": "Some CPU", "cores": 4, "threads": 1, "device": "cpu"},
    "metrics": {
        "accuracy": {"value": 0.801, "low": 0.752, "high": 0.853},
        "dense_accuracy": {"value": 0.82, "low": 0.77, "high": 0.87},
        "accuracy_difference": {"value": -0.019, "low": -0.041, "high": 0.002},
        "top1_agreement": {"value": 0.96, "low": 0.92, "high": 0.98},
        "top5_agreement": 0.991,
        "kl": 0.0123,
        "logit_error": 0.0456,
        "computed_share": 0.234,
        "multiply_adds": 4_200_000_000,
        "dense_multiply_adds": 17_600_000_000,
        "multiply_add_ratio": 4.19,
        "seconds": 12.3,
        "dense_seconds": 45.6,
        "speed_up": 3.71,
        "clips_per_second": 16.3,
    },
    "skipped": [{"video": "broken.mp4", "error": "no frames"}],
    "finished": True,
}
# Every figure of the summary as the card words it.
WORDS = [
    "80.1% (75.2% to 85.3%)",
    "82.0% (77.0% to 87.0%)",
    "-1.9 points (-4.1 points to +0.2 points)",
    "96.0% (92.0% to 98.0%)",
    "99.1%",
    "0.0123",
    "0.0456",
    "23.4%",
    "4.20 G",
    "17.60 G",
    "4.19x fewer",
    "12.3 s",
    "45.6 s",
    "3.71x faster",
    "16.3",
    "200 clips",
    "some clips, split test",
    "cpu Some CPU, cores 4, threads 1, device cpu",
    "num clips 2, views 3, num frames 16, processes 2, videos that could not be read 1",
    "hf-ttr evaluate --model model --data clips",
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail(f"the network was asked for {args[:2]}")

    monkeypatch.setattr("socket.getaddrinfo", refuse)


KINDS: dict[str, Callable[[], Any]] = {
    "reuse-vit": lambda: TemporalReuseViTConfig(**TINY_VIT, temporal_reuse={"mode": "causal", "threshold": 0.2}),
    "plain-vit": lambda: ViTConfig(**TINY_VIT),
    "reuse-videomae": lambda: TemporalReuseVideoMAEConfig(**TINY_VIDEOMAE, temporal_reuse={"compute_budget": 0.3}),
    "plain-videomae": lambda: VideoMAEConfig(**TINY_VIDEOMAE),
    "reuse-off": lambda: TemporalReuseViTConfig(**TINY_VIT, temporal_reuse={"mode": "off"}),
}


def checkpoint(folder: Path, kind: str = "reuse-vit", **config: Any) -> Path:
    """A folder that holds a config and nothing else, which is all that a card needs."""
    made = KINDS[kind]()
    for name, value in config.items():
        setattr(made, name, value)
    made.save_pretrained(folder)
    return folder


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def changed(**parts: Any) -> dict[str, Any]:
    """The summary with other values; those of `metrics` are put among the others."""
    summary = json.loads(json.dumps(SUMMARY))
    for name, value in parts.items():
        if name == "metrics" and isinstance(value, dict):
            summary["metrics"] |= value
        else:
            summary[name] = value
    return summary


# ---------------------------------------------------------------------------------------------------------------------
# What a card says
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_evaluation", [False, True], ids=["nothing-measured", "evaluated"])
@pytest.mark.parametrize("kind", KINDS)
def test_card_has_all_sections(tmp_path, kind, has_evaluation):
    model_class = "TemporalReuseVideoMAEForVideoClassification" if "videomae" in kind else SUMMARY["model"]["class"]
    summary = written(tmp_path / "summary.json", changed(model={"name": "model", "class": model_class}))
    text = ReuseModelCardData.from_directory(
        checkpoint(tmp_path / "model", kind), evaluation=summary if has_evaluation else None, base_model="owner/base"
    ).text()
    assert PATTERN.fullmatch(text), text
    assert "None" not in text and "{{" not in text


def test_every_figure_of_an_evaluation_is_there(tmp_path):
    summary = written(tmp_path / "summary.json", SUMMARY)
    text = ReuseModelCardData.from_directory(checkpoint(tmp_path / "model"), evaluation=summary).text()
    assert [words for words in WORDS if words not in text] == []
    assert "mode causal, threshold 0.2 (those of this checkpoint)" in text
    assert "not measured" not in text


def test_other_settings_than_those_of_the_checkpoint_are_named(tmp_path):
    summary = written(tmp_path / "summary.json", changed(settings={"mode": "causal", "threshold": 0.5}))
    text = ReuseModelCardData.from_directory(checkpoint(tmp_path / "model"), evaluation=summary).text()
    assert "mode causal, threshold 0.5 (not those of this checkpoint)" in text


@pytest.mark.parametrize("left_out", ["null", "absent"])
@pytest.mark.parametrize("metric", SUMMARY["metrics"])
def test_missing_figure_says_so(tmp_path, metric, left_out):
    summary = changed(metrics={metric: None})
    if left_out == "absent":
        del summary["metrics"][metric]
    path = written(tmp_path / "summary.json", summary)
    data = ReuseModelCardData.from_directory(checkpoint(tmp_path / "model"), evaluation=path)
    assert data.text().count("not measured") == 1
    assert all(result.metric_value is not None for result in data.eval_results)


def test_nothing_measured_gives_no_number_and_no_result(tmp_path):
    data = ReuseModelCardData.from_directory(checkpoint(tmp_path / "model"))
    text = data.text()
    # One sentence, and no empty table or section.
    assert "|" not in text and "%" not in text and "not measured" not in text
    assert not any(f"## {section}" in text for section in ("Fidelity", "Speed", "How to reproduce"))
    assert "`hf-ttr evaluate --model" in text
    assert data.eval_results is None and "model-index" not in text and data.eval_result_entries() == []


def test_settings_are_those_in_force(tmp_path):
    def text(kind: str) -> str:
        return ReuseModelCardData.from_directory(checkpoint(tmp_path / kind, kind)).text()

    assert "- `threshold`: `0.2`\n" in text("reuse-vit")
    assert "- `threshold`: `0.1`, the default\n" in text("plain-vit")
    assert "- `threshold`: `0.4`, the default\n" in text("plain-videomae")
    budget = text("reuse-videomae")
    assert "- `threshold`: as the budget needs it\n- `compute_budget`: `0.3`\n" in budget
    assert "`representative`" in budget and "`scene_cut`" not in budget
    assert "`scene_cut`" in text("reuse-vit") and "`representative`" not in text("reuse-vit")


def test_examples_run(tmp_path, monkeypatch):
    """The code of the cards of what ships, with the clips that ship."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hf_ttr").symlink_to(ROOT / "hf_ttr")
    for name, clip in (("vit-demo", "demo.mp4"), ("videomae-demo", "motion-demo.mp4")):
        shutil.copy(ROOT / "hf_ttr" / "assets" / clip, "video.mp4")
        text = (ROOT / "model_cards" / f"{name}.md").read_text()
        blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        assert len(blocks) == 3
        for block in blocks:
            printed: list[Any] = []
            exec(compile(block, name, "exec"), {"print": printed.append})
            assert printed and ("space shuttle" if name == "vit-demo" else "moves left") in str(printed[0])


@pytest.mark.parametrize("kind", ["vit", "videomae"])
def test_examples_run_for_plain_checkpoints(files_of, kind, monkeypatch):
    monkeypatch.chdir(files_of)
    text = ReuseModelCardData.from_directory(kind).text()
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        printed: list[Any] = []
        exec(compile(block, kind, "exec"), {"print": printed.append})
        assert "LABEL_" in str(printed[0])


@pytest.fixture
def files_of(tmp_path) -> Path:
    """A folder with a clip, and a tiny ViT and VideoMAE of transformers."""
    from hf_ttr import TemporalReuseVideoProcessor

    from ..cli.conftest import write_clip
    from ..tiny import tiny_parent, tiny_videomae

    write_clip(tmp_path / "video.mp4", frames=40)
    for name, model in (("vit", tiny_parent()), ("videomae", tiny_videomae())):
        model.save_pretrained(tmp_path / name)
        TemporalReuseVideoProcessor(size={"height": 24, "width": 24}).save_pretrained(tmp_path / name)
    return tmp_path


# ---------------------------------------------------------------------------------------------------------------------
# Metadata
# ---------------------------------------------------------------------------------------------------------------------


def test_metadata_is_read_back(tmp_path):
    path = written(tmp_path / "summary.json", SUMMARY)
    data = ReuseModelCardData.from_directory(
        checkpoint(tmp_path / "model"),
        evaluation=path,
        base_model="google/vit-base-patch16-224",
        license="apache-2.0",
        datasets=["imagenet-1k"],
        tags=["mine"],
    )
    save_model_card(data, tmp_path / "README.md")

    found = ModelCard.load(tmp_path / "README.md").data
    assert isinstance(found, ModelCardData)
    assert (found.library_name, found.pipeline_tag) == ("hf-ttr", "video-classification")
    assert (found.base_model, found.license) == ("google/vit-base-patch16-224", "apache-2.0")
    assert (found.datasets, found.metrics, found.model_name) == (["imagenet-1k"], ["accuracy"], "model")
    assert {"hf-ttr", "temporal-token-reuse", "vit", "mine"} <= set(found.tags)
    assert {result.metric_type: result.metric_value for result in found.eval_results} == {
        "accuracy": 0.801,
        "top1_agreement": 0.96,
        "kl_divergence": 0.0123,
        "multiply_add_ratio": 4.19,
    }
    assert {(result.dataset_name, result.dataset_split) for result in found.eval_results} == {("some clips", "test")}
    assert found.to_dict() == data.to_dict()


@pytest.mark.parametrize(
    ("kind", "library"),
    [
        ("reuse-vit", "hf-ttr"),
        ("plain-vit", "hf-ttr"),
        ("reuse-videomae", "hf-ttr"),
        ("plain-videomae", "transformers"),
    ],
)
def test_library_is_what_loads_the_checkpoint(tmp_path, kind, library):
    assert ReuseModelCardData.from_directory(checkpoint(tmp_path, kind)).library_name == library


def test_results_for_the_hub_are_written_beside_the_card(tmp_path):
    hub = pytest.importorskip("huggingface_hub", minversion="1.31")
    path = written(tmp_path / "summary.json", SUMMARY)
    data = ReuseModelCardData.from_directory(
        checkpoint(tmp_path / "model"), evaluation=path, evaluation_dataset="owner/some.clips", evaluation_task="top1"
    )
    files = save_model_card(data, tmp_path / "README.md")
    entry = tmp_path / ".eval_results" / "owner-some-clips.yaml"
    assert files == [str(tmp_path / "README.md"), str(entry)]
    [found] = hub.parse_eval_result_entries(yaml.safe_load(entry.read_text()))
    assert (found.dataset_id, found.task_id, found.value) == ("owner/some.clips", "top1", 0.801)
    assert "threshold 0.2" in found.notes and "dense model 0.82" in found.notes
    assert {result.dataset_type for result in data.eval_results} == {"owner/some.clips"}

    before = entry.read_text()
    with pytest.raises(ValueError, match=r"there already; allow overwriting"):
        save_model_card(data, tmp_path / "OTHER.md")
    assert entry.read_text() == before and not (tmp_path / "OTHER.md").exists()


BAD_METADATA = {
    "base-model-is-a-path": ({"base_model": "/models/vit"}, ["base model", "'/models/vit'", "owner/name"]),
    "base-model-is-yaml": ({"base_model": "a: b"}, ["base model", "'a: b'"]),
    "dataset": ({"datasets": ["good", "two words"]}, ["dataset", "'two words'"]),
    "license": ({"license": "Apache 2.0"}, ["license", "'Apache 2.0'", "'apache-2.0'"]),
    "dataset-without-evaluation": ({"evaluation_dataset": "owner/clips"}, ["'owner/clips'", "no evaluation"]),
}


@pytest.mark.parametrize(("about", "words"), BAD_METADATA.values(), ids=BAD_METADATA)
def test_bad_metadata_is_one_sentence(tmp_path, about, words):
    with pytest.raises(ValueError) as error:
        ReuseModelCardData.from_directory(checkpoint(tmp_path), **about)
    assert_one_sentence(error.value, words)


def assert_one_sentence(error: BaseException, words: list[str]) -> None:
    text = str(error)
    assert "\n" not in text and text.endswith(".") and len(text) < 500
    assert [word for word in words if word not in text] == []


# ---------------------------------------------------------------------------------------------------------------------
# What others wrote
# ---------------------------------------------------------------------------------------------------------------------

BAD_SUMMARIES = {
    "not-there": (None, ["summary.json", "cannot be read", "check the path"]),
    "empty": ("", ["no JSON"]),
    "cut-off": (json.dumps(SUMMARY)[:300], ["no JSON"]),
    "no-text": ("\x00\xff", ["no JSON"]),
    "deep": ("[" * 200_000, ["no JSON"]),
    "long-number": ('{"a": ' + "1" * 10_000 + "}", ["no JSON"]),
    "list": ([1, 2], ["hf-ttr evaluate", "no object"]),
    "other-json": ({"loss": 0.1}, ["hf-ttr evaluate", "'model'"]),
    "benchmark-results": ({"suites": {}}, ["hf-ttr evaluate"]),
    "metrics-are-a-list": (changed(metrics=[1]), ["'metrics'"]),
    "not-finished": (changed(finished=False), ["not finished", "again"]),
    "of-another-kind": (
        changed(model={"name": "m", "class": "TemporalReuseVideoMAEForVideoClassification"}),
        ["VideoMAE", "is a ViT"],
    ),
    "no-clips": (changed(dataset={"name": "clips", "clips": 0}), ["'dataset'"]),
    "dataset-without-name": (changed(dataset={"clips": 5}), ["'dataset'"]),
    "accuracy-in-percent": (
        changed(metrics={"accuracy": {"value": 80.1, "low": 75, "high": 85}}),
        ["'accuracy.value'", "80.1", "range"],
    ),
    "accuracy-is-text": (changed(metrics={"accuracy": "80%"}), ["'accuracy'"]),
    "accuracy-is-a-number": (changed(metrics={"accuracy": 0.8}), ["'accuracy'"]),
    "bounds-swapped": (
        changed(metrics={"accuracy": {"value": 0.8, "low": 0.9, "high": 0.7}}),
        ["'accuracy'", "order"],
    ),
    "kl-is-nan": (changed(metrics={"kl": float("nan")}), ["'kl'", "nan"]),
    "kl-is-text": (changed(metrics={"kl": "small"}), ["'kl'", "no number"]),
    "kl-is-true": (changed(metrics={"kl": True}), ["'kl'", "no number"]),
    "seconds-negative": (changed(metrics={"seconds": -1}), ["'seconds'", "-1"]),
    "beyond-floats": (changed(metrics={"multiply_adds": 10**400}), ["'multiply_adds'", "range"]),
    "settings-unknown": (changed(settings={"treshold": 0.1}), ["'treshold'"]),
    "settings-are-a-list": (changed(settings=[]), ["'settings'"]),
}


@pytest.mark.parametrize(("content", "words"), BAD_SUMMARIES.values(), ids=BAD_SUMMARIES)
def test_bad_summary_is_one_sentence(tmp_path, content, words):
    path = tmp_path / "summary.json"
    if content is not None:
        if content == "\x00\xff":
            path.write_bytes(b"\x00\xff\xfe")
        else:
            written(path, content)
    with pytest.raises(ValueError) as error:
        ReuseModelCardData.from_directory(checkpoint(tmp_path / "model"), evaluation=path)
    assert_one_sentence(error.value, ["summary.json", *words])


def sweep(cells: Any, model: str = "model") -> dict[str, Any]:
    return {"suites": {"fidelity": {"demo": {"model": model, "command": "run it", "cells": cells}}}}


CELL = {
    "kl": 0.02,
    "clip_kl": 0.01,
    "agreement": 0.98,
    "clip_agreement": 0.9,
    "share": 0.25,
    "seconds": 2.0,
    "dense_seconds": 6.0,
    "clips": 100,
    "accuracy": 0.8,
    "dense_accuracy": 0.9,
}

BAD_RESULTS = {
    "empty": ("", ["no JSON"]),
    "list": ([], ["python -m benchmarks run"]),
    "summary": (SUMMARY, ["python -m benchmarks run"]),
    "cells-are-a-list": (sweep([1]), ["python -m benchmarks run"]),
    "cell-is-a-number": (sweep({"a": 1}), ["python -m benchmarks run"]),
    "no-threshold": (sweep({"s | causal | x | 100 clips": CELL}), ["threshold"]),
    "no-share": (sweep({"s | causal | 0.2 | 100 clips": {"kl": 0.1, "agreement": 1}}), ["benchmarks run"]),
    "share-is-text": (sweep({"s | causal | 0.2 | 100 clips": {**CELL, "share": "a"}}), ["'share'"]),
    "share-is-zero": (sweep({"s | causal | 0.2 | 100 clips": {**CELL, "share": 0}}), ["benchmarks run"]),
    "clips-are-text": (sweep({"s | causal | 0.2 | 100 clips": {**CELL, "clips": "a"}}), ["benchmarks run"]),
}


@pytest.mark.parametrize(("content", "words"), BAD_RESULTS.values(), ids=BAD_RESULTS)
def test_bad_results_are_one_sentence(tmp_path, content, words):
    path = written(tmp_path / "results.json", content)
    with pytest.raises(ValueError) as error:
        ReuseModelCardData.from_directory(checkpoint(tmp_path / "model"), benchmarks=path)
    assert_one_sentence(error.value, ["results.json", *words])


def test_results_of_the_benchmarks_are_taken_at_the_settings_of_the_checkpoint(tmp_path):
    cells = {
        f"vit clips | {method} | {threshold} | 100 clips": {**CELL, "clip_kl": kl}
        for method, threshold, kl in (("causal", 0.2, 0.0111), ("causal", 0.4, 0.0444), ("bidirectional", 0.2, 0.0999))
    }
    path = written(tmp_path / "results.json", sweep(cells))
    [figures] = ReuseModelCardData.from_directory(checkpoint(tmp_path / "model"), benchmarks=path).figures
    assert (figures.clips, figures.metrics["kl"], figures.metrics["multiply_add_ratio"]) == (100, 0.0111, 4.0)
    assert figures.metrics["speed_up"] == 3.0
    assert figures.accuracy == Interval.of_share(0.8, 100)
    assert [row["threshold"] for row in figures.thresholds] == [0.2, 0.4]
    assert figures.clock != "wall-clock"


OTHERS = {
    "of-another-name": ("other", {"mode": "causal", "threshold": 0.2}),
    "of-another-threshold": ("model", {"mode": "causal", "threshold": 0.3}),
    "of-another-mode": ("model", {"mode": "bidirectional", "threshold": 0.2}),
    "with-reuse-off": ("model", {"mode": "off"}),
    "with-a-budget": ("model", {"mode": "causal", "compute_budget": 0.2}),
    "with-another-weight": ("model", {"mode": "causal", "threshold": 0.2, "saliency_weight": 0.1}),
    "with-reduction": ("model", {"mode": "causal", "threshold": 0.2, "reduction": [{"method": "tome", "r": 2}]}),
}


@pytest.mark.parametrize(("name", "settings"), OTHERS.values(), ids=OTHERS)
def test_results_of_another_model_are_not_taken(tmp_path, name, settings):
    path = written(tmp_path / "results.json", sweep({"s | causal | 0.2 | 100 clips": CELL}, model="model"))
    TemporalReuseViTConfig(**TINY_VIT, temporal_reuse=settings).save_pretrained(tmp_path / name)
    data = ReuseModelCardData.from_directory(tmp_path / name, benchmarks=path)
    assert data.figures == []
    assert "0.0111" not in data.text()


BAD_MODELS = {
    "not-there": (lambda folder: shutil.rmtree(folder), ["does not exist"]),
    "no-config": (lambda folder: (folder / "config.json").unlink(), ["config.json"]),
    "config-cut-off": (lambda folder: (folder / "config.json").write_text("{"), ["no JSON"]),
    "config-is-a-list": (lambda folder: (folder / "config.json").write_text("[]"), ["type None"]),
    "bert": (lambda folder: written(folder / "config.json", {"model_type": "bert"}), ["'bert'", "VideoMAE"]),
    "type-is-a-list": (lambda folder: written(folder / "config.json", {"model_type": []}), ["[]"]),
    "no-classifier": (
        lambda folder: written(folder / "config.json", {"model_type": "vit", "architectures": ["ViTModel"]}),
        ["ViTModel", "no classifier"],
    ),
    "bad-settings": (
        lambda folder: written(
            folder / "config.json", {"model_type": "temporal_reuse_vit", "temporal_reuse": {"threshold": -1}}
        ),
        ["threshold is -1"],
    ),
}


@pytest.mark.parametrize(("damage", "words"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_bad_model_is_one_sentence(tmp_path, damage, words):
    folder = checkpoint(tmp_path / "model")
    damage(folder)
    with pytest.raises(ValueError) as error:
        ReuseModelCardData.from_directory(folder)
    assert_one_sentence(error.value, words)


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"held_out_accuracy": "x"}', '{"held_out_accuracy": 95, "held_out_clips": 10}'],
    ids=["cut-off", "list", "text", "percent"],
)
def test_training_file_of_others_is_left_alone(tmp_path, content):
    folder = checkpoint(tmp_path / "model")
    written(folder / "training.json", content)
    assert "When the model was trained" not in ReuseModelCardData.from_directory(folder).text()


# ---------------------------------------------------------------------------------------------------------------------
# Special characters
# ---------------------------------------------------------------------------------------------------------------------

NASTY = {
    "markdown": "a *b* _c_ `d` [e](f) | g # h",
    "html": "<script>alert(1)</script> & <!-- ",
    "yaml": "key: {a: [b, *c]} # - !!python/object",
    "document-end": "x\n---\n# new\n---\ny",
    "fences": "a ``` b ```` c",
    "jinja": "{{ card_data }} {% for x in y %}",
    "quotes": 'it\'s "quoted" \\ and \\n',
    "unicode": "日本語 é \u2028 \x85 \x07",
    "no-unicode": "name \udc80",
    "only-spaces": "  \t",
}


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY)
def test_names_of_others_do_not_break_the_card(tmp_path, nasty):
    summary = changed(
        command=nasty,
        dataset={"name": f"set {nasty}", "split": nasty, "clips": 10},
        model={"name": nasty, "class": None},
        machine={"cpu": nasty, nasty: nasty},
    )
    path = written(tmp_path / "summary.json", summary)
    folder = checkpoint(tmp_path / "model", id2label={0: nasty, 1: "plain"}, label2id={nasty: 0, "plain": 1})
    data = ReuseModelCardData.from_directory(folder, evaluation=path, model_id=f"./{nasty}")
    save_model_card(data, tmp_path / "README.md")

    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert PATTERN.fullmatch(text), text
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict() == data.to_dict()
    prose = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", card.text, flags=re.DOTALL | re.MULTILINE)
    assert "---" not in prose.splitlines() and "# new" not in prose.splitlines()
    assert "<script>" not in prose.replace("\\<script", "") and "python" not in prose.replace("!!python", "")
    # Every line of a table has as many cells as the first.
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


@pytest.mark.parametrize("nasty", NASTY.values(), ids=NASTY)
def test_name_in_the_examples_is_the_name(nasty):
    assert eval(literal(nasty)) == nasty
    literal(nasty).encode()


def test_markdown_code_and_fences():
    assert markdown("a|b\n<c>") == r"a\|b \<c\>"
    assert code("a`b") == "``a`b``" and code("`") == "`` ` ``"
    assert fenced("  a\n```\nb", "x") == "````x\n  a\n```\nb\n````"
    assert table(("a", ""), [("", "b")]) == "| a | |\n| --- | --- |\n| | b |"


def test_interval_of_wilson():
    # For none and all of n clips its bounds are z^2 / (n + z^2) away from 0 and 1.
    width = 1.959964**2 / (10 + 1.959964**2)
    none, all_clips = Interval.of_share(0.0, 10), Interval.of_share(1.0, 10)
    assert (none.low, none.high) == pytest.approx((0, width))
    assert (all_clips.low, all_clips.high) == pytest.approx((1 - width, 1))
    for interval in (none, all_clips, Interval.of_share(0.3, 7)):
        assert 0 <= interval.low <= interval.value <= interval.high <= 1


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def test_existing_file_stays_unless_overwriting_is_allowed(tmp_path):
    data = ReuseModelCardData.from_directory(checkpoint(tmp_path / "model"))
    readme = written(tmp_path / "README.md", "mine")
    with pytest.raises(ValueError) as error:
        save_model_card(data, readme)
    assert_one_sentence(error.value, ["README.md", "--overwrite"])
    assert readme.read_text() == "mine"
    save_model_card(data, readme, overwrite=True)
    assert readme.read_text() == data.text()
    assert [path.name for path in tmp_path.iterdir()] != [".README.md"] and len(list(tmp_path.iterdir())) == 2


def test_folder_is_no_card(tmp_path):
    data = ReuseModelCardData.from_directory(checkpoint(tmp_path / "model"))
    with pytest.raises(ValueError, match="is a folder"):
        save_model_card(data, tmp_path, overwrite=True)


def test_template_is_packaged():
    spec = (ROOT / "pyproject.toml").read_text()
    assert "model_card_template.md" in spec and (ROOT / "hf_ttr" / "cards" / "model_card_template.md").is_file()


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The example cards as the script makes them."""
    import os

    spec = importlib.util.spec_from_file_location("make_model_cards", ROOT / "scripts" / "make_model_cards.py")
    module = importlib.util.module_from_spec(spec)
    before = os.getcwd()
    os.chdir(ROOT)
    try:
        spec.loader.exec_module(module)
        return module.cards()
    finally:
        os.chdir(before)


@pytest.mark.parametrize("name", CARDS)
def test_committed_card_is_what_the_script_makes(made, name):
    assert set(made) == {f"{card}.md" for card in CARDS}
    text = (ROOT / "model_cards" / f"{name}.md").read_text(encoding="utf-8")
    assert text == made[f"{name}.md"], "run scripts/make_model_cards.py"
    assert PATTERN.fullmatch(text)


@pytest.mark.parametrize("name", CARDS[2:])
def test_cards_of_models_that_were_never_run_claim_nothing(made, name):
    text = made[f"{name}.md"]
    assert "## Fidelity" not in text and "Nothing was measured of this checkpoint yet" in text
    assert "model-index" not in text and "with random weights" in text


def test_figures_of_the_shipped_videomae_are_those_of_the_results(made):
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text())["suites"]["fidelity"]
    cell = results["videomae_motion"]["cells"]["videomae motion | reuse | 0.4 | 360 clips"]
    text = made["videomae-demo.md"]
    for words in (f"{cell['accuracy']:.1%} (", f"{cell['dense_accuracy']:.1%} (", f"{1 / cell['share']:.2f}x fewer"):
        assert words in text
    assert f"value: {cell['accuracy']}" in text
