"""Checkpoints of models that see and read load into the models with reuse that see, and so do those of their parts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForVideoClassification, BertConfig, CLIPConfig, CLIPModel, SiglipModel

import hf_ttr
from hf_ttr.models.register import parent_of

from ..streaming.engines import frames_of, run, scores, tiny_engine
from .cases import ModelCase, assert_near, assert_same
from .test_modeling_temporal_reuse_clip import CASES as CLIP
from .test_modeling_temporal_reuse_metaclip_2 import CASES as METACLIP_2
from .test_modeling_temporal_reuse_siglip import CASES as SIGLIP
from .test_modeling_temporal_reuse_siglip2 import CASES as SIGLIP_2


CASES = {
    name: replace(cases[0], dtype=torch.float32)
    for name, cases in {"clip": CLIP, "metaclip_2": METACLIP_2, "siglip": SIGLIP, "siglip2": SIGLIP_2}.items()
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> ModelCase:
    return CASES[request.param]


def save(model: Any, folder: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    """Saves a plain model with the names of its weights as they are, behind a prefix."""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    save_file(
        {prefix + name: weight for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    return weights


def filled(report: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in report.items() if part}


def said(log: list[str]) -> list[str]:
    """Warnings, but for those that transformers has of the defaults of its own configs."""
    return [message for message in log if not message.startswith("Model config: ")]


@torch.no_grad()
def test_a_plain_classifier_loads_without_a_word(case: ModelCase, tmp_path: Path, transformers_log: list[str]) -> None:
    parent, clip = case.parent(), case.clip()
    weights = save(parent, tmp_path)
    for kind in (case.classifier, case.frame_classifier):
        model, report = kind.from_pretrained(tmp_path, temporal_reuse={"threshold": 0}, output_loading_info=True)
        assert filled(report) == {}
        assert said(transformers_log) == []
        assert type(model.config) is kind.config_class
        assert model.config.num_labels == 5
        assert model.config.temporal_reuse is model.video_encoder.config.temporal_reuse
        assert model.config.temporal_reuse.threshold == 0
        assert_same([model.state_dict()[name] for name in weights], list(weights.values()))
    expected = parent(case.parent_input(clip)).logits
    assert_near(
        case.classifier.from_pretrained(tmp_path)(clip[:, :1]).frame_logits[:, 0], expected[:: case.frames], 1e-5
    )


@pytest.mark.parametrize("prefix", ["", "vision_model."], ids=["new-names", "old-names"])
@torch.no_grad()
def test_a_plain_vision_model_loads_without_a_word(
    case: ModelCase, tmp_path: Path, prefix: str, transformers_log: list[str]
) -> None:
    parent = case.parent(base=True)
    weights = save(parent, tmp_path, prefix)
    model, report = case.base.from_pretrained(tmp_path, temporal_reuse={"mode": "off"}, output_loading_info=True)
    assert filled(report) == {}
    assert said(transformers_log) == []
    assert_same([model.state_dict()[name] for name in weights], list(weights.values()))
    output, expected = model(case.clip()), parent(case.parent_input(case.clip()))
    assert_same(output.pooler_output.flatten(0, 1), expected.pooler_output)


@torch.no_grad()
def test_the_part_that_sees_is_taken_out_of_the_whole(case: ModelCase, tmp_path: Path) -> None:
    config = parent_of(case.classifier).config_class(**case.config)
    kind = AutoModel._model_mapping[type(config)]
    torch.manual_seed(0)
    whole = kind(config).eval()
    whole.save_pretrained(tmp_path)
    model, report = case.base.from_pretrained(tmp_path, output_loading_info=True)
    assert filled(report).keys() == {"unexpected_keys"}
    assert not any(name.startswith("vision_model.") for name in report["unexpected_keys"])
    assert type(model.config) is case.base.config_class
    for name, weight in whole.vision_model.state_dict().items():
        assert_same(model.state_dict()[name], weight)


@torch.no_grad()
def test_a_converted_checkpoint_stays_one(case: ModelCase, tmp_path: Path, transformers_log: list[str]) -> None:
    model = case.model(max_age=7)
    model.config.num_frames = 5
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == case.config_class.model_type
    assert written["temporal_reuse"] == written["vision_config"]["temporal_reuse"]
    assert written["num_frames"] == written["vision_config"]["num_frames"] == 5
    loaded = AutoModelForVideoClassification.from_pretrained(tmp_path)
    assert type(loaded) is case.classifier
    assert_same(loaded(case.clip()).frame_logits, model(case.clip()).frame_logits)
    assert said(transformers_log) == []
    # The part that sees has the settings of the whole, also where only these were edited.
    written["temporal_reuse"]["max_age"] = 9
    (tmp_path / "config.json").write_text(json.dumps(written))
    part = case.base.from_pretrained(tmp_path)
    assert part.config.temporal_reuse.max_age == 9
    assert part.config.num_frames == 5


@torch.no_grad()
def test_a_model_in_memory_gets_reuse(case: ModelCase) -> None:
    parent, clip = case.parent(), case.clip()
    parent.config.vision_config._attn_implementation = "eager"
    model = hf_ttr.with_temporal_reuse(parent, {"threshold": 0})
    assert type(model) is case.classifier
    assert model.classifier is parent.classifier
    assert model.config.vision_config._attn_implementation == "eager"
    expected = parent(case.parent_input(clip))
    assert_near(model(clip).frame_logits.flatten(0, 1), expected.logits, 1e-5)
    frames = hf_ttr.with_temporal_reuse(parent, {"mode": "off"}, case.frame_classifier)
    assert type(frames) is case.frame_classifier
    assert_same(frames(clip[:, 0]).logits, parent(clip[:, 0]).logits)
    part = hf_ttr.with_temporal_reuse(parent.vision_model, {"threshold": 0})
    assert type(part) is case.base
    assert part.encoder.layers[0].mlp is parent.vision_model.encoder.layers[0].mlp


@torch.no_grad()
def test_a_stream_goes_on_from_a_file(case: ModelCase, tmp_path: Path) -> None:
    engine, frames = tiny_engine(model=case.model()), frames_of(0, 8)
    engine.add("a")
    for number, frame in enumerate(frames[:4]):
        engine.push("a", frame, index=number, time=number / 25)
        engine.step()
    engine.save("a", tmp_path / "a.safetensors")
    loaded = tiny_engine(model=case.model())
    loaded.load("a", tmp_path / "a.safetensors")
    assert torch.equal(scores(run(loaded, "a", frames, 4)), scores(run(engine, "a", frames, 4)))


@pytest.mark.parametrize("kind", [CLIPModel, SiglipModel], ids=lambda kind: kind.__name__)
def test_a_whole_model_in_memory_still_reads_its_labels(kind: Any) -> None:
    parent = kind(kind.config_class(**CLIP[0].config))
    model: Any = hf_ttr.with_temporal_reuse(parent)
    assert model.text_model.encoder is parent.text_model.encoder
    with pytest.raises(ValueError, match=r"^this \w+ reads its labels and was given none; choose some with "):
        model(CASES["clip"].clip())


def test_another_kind_of_checkpoint_is_refused_in_one_sentence(case: ModelCase, tmp_path: Path) -> None:
    BertConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=1).save_pretrained(tmp_path / "bert")
    CLIPConfig(**CLIP[0].config).save_pretrained(tmp_path / "clip")
    others = ["bert"] if case is CASES["clip"] else ["bert", "clip"]
    for kind in (case.classifier, case.base):
        for other in others:
            with pytest.raises(ValueError, match=f"is a '{other}' checkpoint, but temporal reuse for .* takes "):
                kind.from_pretrained(tmp_path / other)
