import copy
from collections.abc import Callable

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedModel,
    VideoMAEForVideoClassification,
    VideoMAEModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

import hf_ttr

from .tiny import TINY_VIT, make_clip, tiny_parent, tiny_videomae


@pytest.fixture
def vit() -> ViTForImageClassification:
    return tiny_parent()


@pytest.fixture
def clip() -> torch.Tensor:
    return make_clip(batch=2, frames=3)


def test_every_weight_is_shared(vit: ViTForImageClassification) -> None:
    model = hf_ttr.with_temporal_reuse(vit)
    own, given = dict(model.named_parameters()), dict(vit.named_parameters())
    assert own.keys() == given.keys()
    assert all(own[name] is given[name] for name in given)


def test_the_given_model_works_as_before(vit: ViTForImageClassification, clip: torch.Tensor) -> None:
    config = copy.deepcopy(vit.config)
    with torch.no_grad():
        before = vit(clip[0]).logits
        hf_ttr.with_temporal_reuse(vit, {"threshold": 0.2})(clip)
        assert torch.equal(vit(clip[0]).logits, before)
    assert vit.config.to_dict() == config.to_dict()
    assert type(vit.vit) is ViTModel


@pytest.mark.parametrize("settings", [{"mode": "off"}, {"threshold": 0}], ids=["off", "threshold-0"])
def test_frame_logits_are_those_of_the_given_model(
    vit: ViTForImageClassification, clip: torch.Tensor, settings: dict
) -> None:
    with torch.no_grad():
        expected = vit(clip.flatten(0, 1)).logits.unflatten(0, clip.shape[:2])
        found = hf_ttr.with_temporal_reuse(vit, settings)(clip).frame_logits
    torch.testing.assert_close(found, expected, rtol=0 if "mode" in settings else 1e-5, atol=1e-6)


def test_settings_labels_and_attention_are_taken_over(vit: ViTForImageClassification) -> None:
    vit.config.id2label = {0: "cat", 1: "dog"}
    vit.set_attn_implementation("eager")
    model = hf_ttr.with_temporal_reuse(vit, hf_ttr.TemporalReuseConfig(compute_budget=0.2))
    assert model.config.temporal_reuse.compute_budget == 0.2
    assert model.config.id2label == {0: "cat", 1: "dog"}
    assert model.config._attn_implementation == "eager"


def test_a_model_with_reuse_takes_other_settings(vit: ViTForImageClassification, clip: torch.Tensor) -> None:
    first = hf_ttr.with_temporal_reuse(vit, {"threshold": 0.5})
    second = hf_ttr.with_temporal_reuse(first, {"mode": "off"})
    with torch.no_grad():
        assert second(clip).reuse is None
        assert first(clip).reuse is not None
    assert second.classifier is vit.classifier


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore:torch.quantize_per")
def test_quantized_modules_stay(vit: ViTForImageClassification, clip: torch.Tensor) -> None:
    quantized = torch.ao.quantization.quantize_dynamic(vit, {torch.nn.Linear}, dtype=torch.qint8)
    model = hf_ttr.with_temporal_reuse(quantized, {"threshold": 0})
    with torch.no_grad():
        expected = quantized(clip[0]).logits
        torch.testing.assert_close(model(clip).frame_logits[0], expected, rtol=0, atol=0.2)
    assert type(model.vit.layers[0].mlp.fc1) is type(quantized.vit.layers[0].mlp.fc1)


def test_bare_model_and_single_frames(vit: ViTForImageClassification, clip: torch.Tensor) -> None:
    with torch.no_grad():
        bare = hf_ttr.with_temporal_reuse(ViTModel(ViTConfig(**TINY_VIT)).eval())
        assert bare(clip).last_hidden_state.shape[:2] == clip.shape[:2]
        classifier = hf_ttr.with_temporal_reuse(vit, model_class=hf_ttr.TemporalReuseViTForImageClassification)
        torch.testing.assert_close(classifier(clip[:, 0]).logits, vit(clip[:, 0]).logits, rtol=1e-5, atol=1e-6)


def test_a_model_without_reuse_is_refused() -> None:
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=8)
    with pytest.raises(ValueError, match=r"^there is no temporal reuse for a BertModel; .*\.$"):
        hf_ttr.with_temporal_reuse(BertModel(config))


class TestVideoMAE:
    @pytest.fixture(params=["classifier", "base", "first-token"])
    def videomae(self, request: pytest.FixtureRequest) -> VideoMAEForVideoClassification | VideoMAEModel:
        model = tiny_videomae(use_mean_pooling=request.param != "first-token")
        return model.videomae if request.param == "base" else model

    def test_every_weight_is_shared(self, videomae: PreTrainedModel) -> None:
        config = copy.deepcopy(videomae.config)
        model = hf_ttr.with_temporal_reuse(videomae, {"threshold": 0.2})
        own, given = dict(model.named_parameters()), dict(videomae.named_parameters())
        assert own.keys() == given.keys()
        assert all(own[name] is given[name] for name in given)
        assert not any(tensor.is_meta for tensor in model.state_dict().values())
        assert videomae.config.to_dict() == config.to_dict()
        assert type(videomae.base_model) is VideoMAEModel

    @pytest.mark.parametrize("settings", [{"mode": "off"}, {"threshold": 0}], ids=["off", "threshold-0"])
    @torch.no_grad()
    def test_the_output_is_that_of_the_given_model(self, videomae: PreTrainedModel, settings: dict) -> None:
        clip = make_clip(batch=2, frames=8)
        expected = videomae(clip)[0]
        found = hf_ttr.with_temporal_reuse(videomae, settings)(clip)[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=0 if "mode" in settings else 1e-5)
        hf_ttr.with_temporal_reuse(videomae)(clip)
        assert torch.equal(videomae(clip)[0], expected)

    def test_a_model_with_reuse_takes_other_settings(self, videomae: PreTrainedModel) -> None:
        first = hf_ttr.with_temporal_reuse(videomae, {"threshold": 0.5})
        second = hf_ttr.with_temporal_reuse(first, {"mode": "off"})
        with torch.no_grad():
            clip = make_clip(batch=2, frames=8)
            assert second(clip).reuse is None
            assert first(clip).reuse is not None


@pytest.mark.parametrize(
    ("parent", "model_class", "stand_in"),
    [
        (tiny_parent, hf_ttr.TemporalReuseVideoMAEForVideoClassification, "TemporalReuseViTForVideoClassification"),
        (tiny_videomae, hf_ttr.TemporalReuseViTModel, "TemporalReuseVideoMAEForVideoClassification"),
        (tiny_videomae, hf_ttr.TemporalReuseViTForVideoClassification, "TemporalReuseVideoMAEForVideoClassification"),
    ],
    ids=["vit-as-videomae", "videomae-as-vit", "videomae-as-vit-classifier"],
)
def test_a_class_of_another_architecture_is_refused(parent: Callable, model_class: type, stand_in: str) -> None:
    model = parent()
    with pytest.raises(ValueError) as error:
        hf_ttr.with_temporal_reuse(model, model_class=model_class)
    assert str(error.value) == (f"a {type(model).__name__} cannot become a {model_class.__name__}, but a {stand_in}.")
