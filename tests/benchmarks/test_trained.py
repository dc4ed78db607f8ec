"""The benchmarks of the tiny trained models, on random weights: what they measure, and on what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Config, Dinov2ForImageClassification, VJEPA2Config, VJEPA2ForVideoClassification

import hf_ttr
from benchmarks import trained, trained_windows
from benchmarks.common import MissingData
from benchmarks.fidelity import scripts
from benchmarks.measures import Clip, Reference
from benchmarks.methods.base import Method
from benchmarks.methods.clip_dropping import DenseClip, FewerFrames
from benchmarks.methods.dense import Dense
from benchmarks.methods.reuse import Bidirectional, Causal, CausalClip, ClipReuse
from benchmarks.table import as_markdown
from benchmarks.trained import METHODS, Search, fidelity, with_features
from benchmarks.trained_windows import EXACT, Streams, with_reuse, with_skipping

from ..tiny import TINY_VIT, TINY_VJEPA2, make_clip
from .counting import assert_close, profiled


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    torch.manual_seed(0)
    settings = {name: value for name, value in TINY_VIT.items() if name != "intermediate_size"}
    found = {
        "vjepa2": VJEPA2ForVideoClassification(VJEPA2Config(**TINY_VJEPA2)),
        "dinov2": Dinov2ForImageClassification(Dinov2Config(**settings, mlp_ratio=2)),
    }
    return {name: model.eval() for name, model in found.items()}


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return make_clip(batch=1, frames=8)[0]


@torch.no_grad()
def test_a_wider_classifier_hands_out_what_it_reads(models: dict[str, Any], pixels: torch.Tensor) -> None:
    for name, model in models.items():
        inputs = pixels[None] if name == "vjepa2" else pixels
        with patch.object(model.classifier, "forward", wraps=model.classifier.forward) as classifier:
            logits = model(inputs).logits
        wider = with_features(model)
        assert_close(wider(inputs).logits, torch.cat([logits, classifier.call_args.args[0]], dim=-1))
        reuse: Any = hf_ttr.with_temporal_reuse(wider, {"threshold": 0.0})
        found = reuse(pixels[None])
        assert_close(found.logits if name == "vjepa2" else found.frame_logits[0], wider(inputs).logits)
        assert model.config.num_labels == logits.shape[-1] == TINY_VIT["num_labels"]


@pytest.mark.parametrize(
    ("name", "method"),
    [("vjepa2", DenseClip), ("dinov2", Dense), *((name, method) for name in METHODS for method in METHODS[name])],
)
def test_methods_cost_what_a_profiler_counts(
    name: str, method: type[Method], models: dict[str, Any], pixels: torch.Tensor
) -> None:
    found = method(with_features(models[name]), 0.5)
    outcome = found.measured(pixels)
    assert outcome.multiply_adds == profiled(found, pixels)


@torch.no_grad()
def test_all_frames_are_the_dense_model(models: dict[str, Any], pixels: torch.Tensor) -> None:
    model = models["vjepa2"]
    outcome, dense = FewerFrames(model, 1.0).measured(pixels), DenseClip(model).measured(pixels)
    assert_close(outcome.logits, model(pixels[None]).logits)
    assert outcome.multiply_adds == dense.multiply_adds
    reuse: Any = hf_ttr.with_temporal_reuse(model, {"threshold": 0.0})
    assert dense.multiply_adds == int(reuse(pixels[None]).reuse.dense_multiply_adds)


def test_a_causal_clip_is_its_frames_one_after_another(models: dict[str, Any], pixels: torch.Tensor) -> None:
    clip, frames = (method(models["dinov2"], 0.3).measured(pixels) for method in (CausalClip, Causal))
    assert_close(clip.logits, frames.logits)
    assert clip.multiply_adds == frames.multiply_adds
    assert not torch.equal(clip.logits, Bidirectional(models["dinov2"], 0.3).clip(pixels))


class FakeThreshold(Method):
    """Costs as many times less as its threshold says."""

    title, knob = "fake", "threshold"
    settings: list[float] = []

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        self.settings.append(self.setting)
        self.multiply_adds += round(1e6 / max(self.setting, 1))
        return pixels.new_zeros(1, 2)


class FakeSkipping(FakeThreshold):
    knob = "share of the frames computed"

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        self.multiply_adds += round(1e6 * self.setting)
        return pixels.new_zeros(1, 2)


def test_the_lowest_threshold_and_the_most_frames_that_are_cheap_enough_are_found() -> None:
    reference = Reference([Clip("a", torch.zeros(8, 3, 2, 2))], multiply_adds=[10**6])
    search = Search(FakeThreshold, None, reference, 8)
    FakeThreshold.settings.clear()
    for ratio in (2.0, 4.0, 8.0):
        found = search.meeting(ratio)
        assert ratio <= found.ratio < 1.03 * ratio
    assert len(FakeThreshold.settings) == len({*FakeThreshold.settings}) < 25
    assert search.meeting(1e3).setting == trained.THRESHOLDS[-1]
    assert [Search(FakeSkipping, None, reference, 8).meeting(ratio).setting for ratio in (2, 3, 8)] == [
        0.5,
        0.25,
        0.125,
    ]


def test_fidelity_of_known_results() -> None:
    # Two classes, and two features.
    dense = torch.tensor([[2.0, 0.0, 3.0, 4.0], [0.0, 2.0, 0.0, 1.0]])
    other = torch.tensor([[2.0, 0.0, 3.0, 4.0], [2.0, 0.0, 0.0, 0.5]])
    found = fidelity([dense], [other], [torch.tensor([0, 1])], 2)
    p = torch.tensor([2.0, 0.0]).softmax(-1)
    expected = ((p[0] - p[1]) * (p[0] / p[1]).log()).item()
    assert found["kl"] == pytest.approx(expected / 2) and found["worst_kl"] == pytest.approx(expected)
    assert (found["agreement"], found["accuracy"], found["dense_accuracy"]) == (0.5, 0.5, 1.0)
    assert found["feature_distance"] == pytest.approx(0.25) and found["judged"] == found["frames"] == 2
    partly = fidelity([dense], [other], [torch.tensor([0, -1])], 2)
    assert (partly["accuracy"], partly["judged"], partly["frames"]) == (1.0, 1, 2)


@pytest.fixture(scope="module")
def streams() -> Streams:
    """Two streams of three runs."""
    return Streams(make_clip(batch=2, frames=24), torch.tensor([[0, 1, 2], [2, 1, 0]]), 8)


class TestWindows:
    def test_only_windows_of_one_run_have_a_class(self, streams: Streams) -> None:
        assert list(streams.starts(4)) == [0, 4, 8, 12, 16]
        assert streams.truth(8).tolist() == [1, 1] and streams.truth(4).tolist() == [-1, -1]

    def test_what_is_the_same_alone_is_kept(self, models: dict[str, Any], streams: Streams) -> None:
        model = with_features(models["vjepa2"])
        generator = torch.Generator().manual_seed(0)
        noise = replace(streams, pixels=torch.randn(streams.pixels.shape, generator=generator), dense={})
        fixed, told = (with_reuse(model, noise, 2, told=told, settings=EXACT) for told in (False, True))
        assert fixed["kl"] < 1e-5 and fixed["agreement"] == 1 and fixed["ratio_after_first"] < 1
        assert told["ratio_after_first"] > 1.5 and told["kl"] > fixed["kl"]
        assert told["windows"] == 18 and told["judged"] == 6

    def test_windows_that_share_nothing_are_the_same_whatever_is_told(
        self, models: dict[str, Any], streams: Streams
    ) -> None:
        model, settings = with_features(models["vjepa2"]), {"threshold": 0.4}
        assert with_reuse(model, streams, 8, True, settings) == with_reuse(model, streams, 8, False, settings)

    def test_windows_that_are_left_out_are_held(self, models: dict[str, Any], streams: Streams) -> None:
        model = with_features(models["vjepa2"])
        every = with_skipping(model, streams, 4, 1)
        assert (every["kl"], every["agreement"], every["ratio_after_first"]) == (0, 1, 1)
        half = with_skipping(model, streams, 4, 2)
        assert half["ratio_after_first"] == 2 and half["kl"] > 0 and half["windows"] == 10
        # Windows that were computed are right: all of the first, and each of the others in one of two ways.
        wrong = [streams.expected(model, start) for start in (0, 4, 8, 12)]
        right = [streams.expected(model, start) for start in (4, 8, 12, 16)]
        held = fidelity(right, wrong, [streams.truth(start) for start in (4, 8, 12, 16)], TINY_VIT["num_labels"])
        assert half["kl"] == pytest.approx(held["kl"] * 4 / 5 / 2)


def test_without_a_trained_model_a_sentence_says_how_to_make_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trained, "FOLDER", tmp_path)
    for part in (trained.PART, trained_windows.PART):
        with pytest.raises(MissingData, match=r"make it with `python scripts/train_benchmark_models.py --out "):
            part.cells(False)


def test_tables_show_every_method_and_where_a_ratio_is_not_met() -> None:
    measured = {"kl": 0.01, "agreement": 0.9, "accuracy": 0.8, "dense_accuracy": 0.95, "feature_distance": 0.1}
    rows = [
        {"model": name, "kind": kind, "method": method.title, "setting": ratio, "ratio": 1.1 * ratio, "clips": 3}
        | {"frames": 3, **measured}
        for name in METHODS
        for kind in trained.KINDS
        for method in METHODS[name]
        for ratio in trained.RATIOS
    ]
    figures = {"held_out_accuracy": 0.95, "held_out_clips": 3, "steps": 2, "training_seconds": 60}
    text = as_markdown(trained.table({"rows": rows, "training": dict.fromkeys(METHODS, figures)}))
    assert f"| {ClipReuse.title} | 0.0100 (90.0%; 80.0%; 0.10) at 2.2x |" in text
    assert text.count("dense accuracy 95.0%") == 4 and "95.0% of 3 held-out clips" in text
    assert as_markdown(trained.at_a_glance({"rows": rows})).count("0.0100 at 2.2x") == 14
    rows = [
        {"kind": kind, "name": name, "stride": 2, "ratio_after_first": 3.0, "streams": 4, "runs": 5, **measured}
        for kind in trained.KINDS
        for name in trained_windows.methods()
    ]
    text = as_markdown(trained_windows.table({"rows": rows}))
    assert text.count("| stride told, threshold 0.4 | 3.00x: 0.0100 (90.0%; 80.0%) |") == 2
    assert "4 streams of 5 runs" in text


@pytest.fixture(scope="module")
def script() -> Any:
    pytest.importorskip("skimage", reason="scikit-image is not installed; the extra assets brings it.")
    return scripts(trained.SCRIPT)


def test_an_object_does_what_the_labels_say_and_never_jumps(script: Any) -> None:
    labels = script.motions.LABELS
    for seed in range(4):
        rng = np.random.default_rng(seed)
        wanted = [*range(len(labels)), *range(len(labels))]
        poses, does = script.stream_poses(rng, Image.new("RGBA", (70, 60)), wanted)
        assert [one // 2 for one in does] == [one // 2 for one in wanted]
        assert abs(np.diff(poses, axis=0)).max(0)[:2].max() <= script.motions.FASTEST_MOVE
        assert (poses[:, :2] > 0).all() and (poses[:, :2] < script.motions.CLIP_SIZE).all()
        for run, label in enumerate(does):
            x, y, angle, scale = poses[16 * run + 15] - poses[16 * run]
            signs = (-x, x, -y, y, angle, -angle, scale, -scale)
            assert np.isclose([x, y, angle, scale], 0).sum() == (4 if label == script.motions.STILL else 3)
            assert label == script.motions.STILL or signs[label] > 0, labels[label]


def test_a_scene_at_rest_stays_as_it_is_at_its_best(script: Any) -> None:
    studio = script.Studio(held_out=True)
    scene = script.objects.at_rest(studio.scene(np.random.default_rng(0), 1))
    assert scene.cuts == [] and len(scene.shots) == 1
    assert (scene.shots[0].paths == scene.shots[0].paths[:, :1]).all() and scene.visibility(0) > 0.9


def test_small_and_whole_clips_have_tokens_of_the_same_size(script: Any) -> None:
    batches = script.TrainingBatches(0, 1, 2, script.CLIP_SIDE, script.CLIP_PATCH, (4, 2), (2, 1))
    for step, (clips, side) in enumerate([(4, 4), (2, 7)]):
        frames, labels, motion, numbers = batches[step]
        assert frames.shape == (clips, 16, 3, side * 8, side * 8) and labels.shape == (clips,)
        assert motion.shape == (clips, 8 * side**2, 5) and numbers.shape == (clips, 8 * side**2)
