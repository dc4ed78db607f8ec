"""What one video does to the others, and what scores of other kinds, or no scores, do to the figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hf_ttr
from hf_ttr.evaluation import DataError, Evaluation, Protocol, Video, VideoDataset, evaluate

from ..tiny import tiny_parent, tiny_videomae
from .videos import moving_square


pytest.importorskip("pyarrow", reason="pyarrow is not installed.")

PROTOCOL = Protocol(num_frames=4)
KINDS = ["single_label_classification", "multi_label_classification", "regression"]


def classifier(**changes: Any) -> Any:
    return hf_ttr.with_temporal_reuse(tiny_parent(**changes), {"threshold": 0.3}).eval()


def processor() -> Any:
    return hf_ttr.TemporalReuseVideoProcessor(size={"height": 24, "width": 24}, do_center_crop=False)


def go(out: Path, model: Any, sources: list[Any], label: str = "LABEL_0", **options: Any) -> Evaluation:
    videos = [Video(number, f"{number}.mp4", source, label) for number, source in enumerate(sources)]
    settings = {"processor": processor(), "protocol": PROTOCOL, **options}
    done = evaluate(model, dataset=VideoDataset("mine", None, videos), folder=out, **settings)
    assert done is not None
    return done


def clips(count: int) -> list[np.ndarray]:
    return [moving_square(seed, count=4) for seed in range(count)]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(5, "Input/output error"), r"It cannot be read \(Input/output error\)"),
        (MemoryError(), "There is not enough memory for it"),
        (ValueError("no \x1b[2J channel at http://a:secret@b/c"), r"ValueError: no \\x1b\[2J channel at http://b/c"),
        (KeyError("size"), "KeyError"),
    ],
)
def test_a_fault_in_one_video_is_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, says: str
) -> None:
    sources = clips(5)
    whole = Protocol.pixel_values

    def pixel_values(self: Protocol, processor: Any, source: Any) -> torch.Tensor:
        if source is sources[2]:
            raise error
        return whole(self, processor, source)

    monkeypatch.setattr(Protocol, "pixel_values", pixel_values)
    done = go(tmp_path, classifier(), sources)
    assert [row.number for row in done.broken] == [2] and done.summary["dataset"]["clips"] == 5
    (skipped,) = done.summary["skipped"]
    assert skipped["video"] == "2.mp4"
    assert re.search(says, skipped["error"]), skipped["error"]


def test_a_call_that_fails_is_tried_video_by_video(tmp_path: Path) -> None:
    model, sources = classifier(), clips(4)
    expected = go(tmp_path / "expected", model, sources)
    odd = PROTOCOL.pixel_values(processor(), sources[1])
    calls: list[int] = []

    def refuse(module: Any, args: Any, kwargs: Any) -> None:
        pixels = args[0]
        calls.append(len(pixels))
        if any(torch.equal(clip, odd[0]) for clip in pixels):
            raise RuntimeError("this size is odd")

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    done = go(tmp_path / "out", model, sources)
    assert calls[0] == 4 and set(calls[1:]) == {1}
    assert [(row.number, row.error) for row in done.broken] == [
        (1, "It cannot be evaluated (RuntimeError: this size is odd).")
    ]
    for row, other in zip(done.rows, expected.rows):
        if row.error is None:
            assert row.logits == pytest.approx(other.logits, abs=2e-4)


@pytest.mark.parametrize("problem_type", KINDS)
def test_no_numbers_are_an_error(tmp_path: Path, problem_type: str) -> None:
    model, sources = classifier(problem_type=problem_type), clips(3)

    def spoil(module: Any, args: Any, output: Any) -> None:
        output.logits[1] = float("nan")

    model.register_forward_hook(spoil)
    done = go(tmp_path, model, sources)
    (broken,) = done.broken
    assert broken.number == 1 and broken.error == "the model gives scores that are no numbers (NaN or infinite) for it"
    assert done.summary["metrics"]["kl"] is not None
    assert "NaN" not in (tmp_path / "rows" / "00000.jsonl").read_text().replace("(NaN or", "")
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    with pytest.raises(DataError, match="none of the 3 videos of 'mine' can be evaluated; the first: the model gives"):
        go(tmp_path / "all", model, sources)


@pytest.mark.parametrize("problem_type", KINDS)
@pytest.mark.parametrize("parent", [tiny_parent, tiny_videomae], ids=["vit", "videomae"])
def test_scores_are_those_that_the_model_was_trained_for(tmp_path: Path, problem_type: str, parent: Any) -> None:
    plain = parent(problem_type=problem_type)
    with torch.no_grad():
        plain.classifier.weight.mul_(20)
    frames = getattr(plain.config, "num_frames", 4)
    protocol = Protocol(num_clips=2, num_frames=frames, frame_sampling_rate=1)
    sources = [moving_square(seed, count=2 * frames) for seed in range(4)]
    model = hf_ttr.with_temporal_reuse(plain, {"threshold": 0.5}).eval()
    done = go(tmp_path, model, sources, protocol=protocol)
    scores = {"single_label_classification": lambda logits: logits.softmax(-1), "regression": lambda logits: logits}
    score = scores.get(problem_type, lambda logits: logits.sigmoid())
    distances, same = [], []
    for row, source in zip(done.rows, sources):
        pixels = protocol.pixel_values(processor(), source)
        with torch.no_grad():
            mean, dense = (score(model(pixels, **options).logits.double()).mean(0) for options in ({}, OFF))
        torch.testing.assert_close(score(torch.tensor(row.logits).double()), mean, atol=2e-4, rtol=1e-3)
        if problem_type == "regression":
            distances.append(((dense - mean) ** 2).sum() / 2)
        elif problem_type == "multi_label_classification":
            bernoulli = torch.distributions.Bernoulli
            distances.append(torch.distributions.kl_divergence(bernoulli(dense), bernoulli(mean)).sum())
            same.append(((dense > 0.5) == (mean > 0.5)).all())
        else:
            categorical = torch.distributions.Categorical
            distances.append(torch.distributions.kl_divergence(categorical(dense), categorical(mean)))
            same.append(dense.argmax() == mean.argmax())
    metrics = done.summary["metrics"]
    assert metrics["kl"] == pytest.approx(float(np.mean(distances)), rel=0.01, abs=2e-5)
    if problem_type == "regression":
        assert metrics["top1_agreement"] is None and metrics["accuracy"] is None
        assert "neither accuracy nor agreement" in done.summary["notes"][0]
    else:
        assert metrics["top1_agreement"]["value"] == pytest.approx(float(np.mean(same)), abs=1e-6)
    if problem_type == "multi_label_classification":
        assert metrics["accuracy"] is None and "a score of its own" in done.summary["notes"][0]
    if problem_type == "single_label_classification":
        assert metrics["accuracy"] is not None and done.summary["notes"] == []
    assert json.loads((tmp_path / "summary.json").read_text()) == done.summary


OFF = {"temporal_reuse": {"mode": "off"}}


def test_a_data_set_that_breaks_off_is_gone_on_with(tmp_path: Path) -> None:
    sources = clips(4)
    model = classifier()
    expected = go(tmp_path / "at once", model, sources, batch_size=2)

    def videos(stop: int) -> Any:
        for number, source in enumerate(sources):
            if number == stop:
                raise ConnectionError("the line http://me:secret@host/v is dead")
            yield Video(number, f"{number}.mp4", source, "LABEL_0")

    def run(stop: int) -> Any:
        data = VideoDataset("mine", None, videos(stop))
        return evaluate(model, processor(), data, tmp_path / "out", PROTOCOL, batch_size=2)

    with pytest.raises(DataError, match="'mine' cannot be read on .the line http://host/v is dead.; what came before"):
        run(3)
    done = run(9)
    assert done.summary == expected.summary
