"""Checkpoints of plain ViTs, with the key names of today and of old, load without a missing or changed weight."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForVideoClassification,
    BertConfig,
    ViTForImageClassification,
    ViTModel,
)

from hf_ttr import (
    TemporalReuseViTConfig,
    TemporalReuseViTForImageClassification,
    TemporalReuseViTForVideoClassification,
    TemporalReuseViTModel,
)

from ..tiny import make_clip, tiny_video_classifier
from .cases import assert_near, assert_same


# Key names of transformers before version 5, as all checkpoints on the Hub have them.
OLD_NAMES = [
    (r"\.layers\.(\d+)\.", r".encoder.layer.\1."),
    (r"attention\.q_proj", "attention.attention.query"),
    (r"attention\.k_proj", "attention.attention.key"),
    (r"attention\.v_proj", "attention.attention.value"),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
]
CLASSIFIERS = [TemporalReuseViTForVideoClassification, TemporalReuseViTForImageClassification]


def old_name(name: str) -> str:
    for new, old in OLD_NAMES:
        name = re.sub(new, old, name)
    return name


@pytest.fixture(params=["old-names", "new-names"])
def checkpoint(request: pytest.FixtureRequest, parent: ViTForImageClassification, tmp_path: Path) -> Path:
    """A directory with a `ViTForImageClassification`."""
    parent.config.architectures = ["ViTForImageClassification"]
    parent.config.save_pretrained(tmp_path)
    renamed = old_name if request.param == "old-names" else str
    weights = {renamed(name): weight.clone() for name, weight in parent.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


def assert_nothing_to_report(report: dict, log: list[str]) -> None:
    assert not {name: part for name, part in report.items() if part}
    assert log == []


def test_old_names_are_old(parent: ViTForImageClassification) -> None:
    names = {old_name(name) for name in parent.state_dict()}
    assert "vit.encoder.layer.0.attention.attention.query.weight" in names
    assert "vit.encoder.layer.2.attention.output.dense.bias" in names
    assert "vit.encoder.layer.1.intermediate.dense.weight" in names
    assert "vit.encoder.layer.1.output.dense.weight" in names
    assert not any("layers" in name or "_proj" in name or "mlp" in name for name in names)


@pytest.mark.parametrize("model_class", CLASSIFIERS, ids=lambda model_class: model_class.__name__)
@torch.no_grad()
def test_a_vit_checkpoint_loads_without_a_word(
    checkpoint: Path, parent: ViTForImageClassification, transformers_log: list[str], model_class: type
) -> None:
    model, report = model_class.from_pretrained(checkpoint, output_loading_info=True)
    assert_nothing_to_report(report, transformers_log)
    assert not model.training
    assert model.config.model_type == "temporal_reuse_vit"
    for name, weight in parent.state_dict().items():
        assert_same(model.state_dict()[name], weight)


@torch.no_grad()
def test_frame_logits_are_those_of_the_image_classifier(checkpoint: Path, clip: torch.Tensor) -> None:
    expected = ViTForImageClassification.from_pretrained(checkpoint)(clip.flatten(0, 1)).logits
    for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
        model = TemporalReuseViTForVideoClassification.from_pretrained(checkpoint, temporal_reuse=settings)
        assert_near(model(clip).frame_logits.flatten(0, 1), expected, tolerance)


@torch.no_grad()
def test_the_base_model_loads_from_a_classifier(
    checkpoint: Path, parent: ViTForImageClassification, transformers_log: list[str], clip: torch.Tensor
) -> None:
    model, report = TemporalReuseViTModel.from_pretrained(
        checkpoint, add_pooling_layer=False, temporal_reuse={"mode": "off"}, output_loading_info=True
    )
    # As for a `ViTModel`, the head is left over.
    _, expected_report = ViTModel.from_pretrained(checkpoint, add_pooling_layer=False, output_loading_info=True)
    assert report == expected_report
    assert not report["missing_keys"]
    assert_same(model(clip).last_hidden_state.flatten(0, 1), parent.vit(clip.flatten(0, 1)).last_hidden_state)


@torch.no_grad()
def test_a_converted_checkpoint_stays_one(checkpoint: Path, clip: torch.Tensor, transformers_log: list[str]) -> None:
    converted = TemporalReuseViTForVideoClassification.from_pretrained(checkpoint, temporal_reuse={"threshold": 0.1})
    converted.save_pretrained(checkpoint / "converted")
    written = json.loads((checkpoint / "converted" / "config.json").read_text())
    assert written["model_type"] == "temporal_reuse_vit"
    assert written["architectures"] == ["TemporalReuseViTForVideoClassification"]
    assert written["temporal_reuse"]["threshold"] == 0.1
    loaded, report = AutoModelForVideoClassification.from_pretrained(
        checkpoint / "converted", output_loading_info=True
    )
    assert_nothing_to_report(report, transformers_log)
    assert_same(loaded(clip).frame_logits, converted(clip).frame_logits)


@torch.no_grad()
def test_saved_weights_load_into_a_plain_vit(
    clip: torch.Tensor, tmp_path: Path, parent: ViTForImageClassification
) -> None:
    tiny_video_classifier(mode="causal").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    parent.config.save_pretrained(tmp_path)
    plain, report = ViTForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert len(weights) == len(parent.state_dict())
    assert not {name: part for name, part in report.items() if part}
    assert_same(plain(clip[:, 0]).logits, parent(clip[:, 0]).logits)


@pytest.mark.parametrize(
    "loader",
    [
        TemporalReuseViTConfig,
        TemporalReuseViTModel,
        TemporalReuseViTForImageClassification,
        TemporalReuseViTForVideoClassification,
    ],
    ids=lambda loader: loader.__name__,
)
def test_another_kind_of_checkpoint_is_refused_in_one_sentence(loader: type, tmp_path: Path) -> None:
    BertConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError) as error:
        loader.from_pretrained(tmp_path)
    assert str(error.value) == (
        f"'{tmp_path}' is a 'bert' checkpoint, but temporal reuse for ViT takes checkpoints of type 'vit' or "
        "'temporal_reuse_vit'."
    )


@torch.no_grad()
def test_real_weights(real_data: Path, transformers_log: list[str]) -> None:
    folder = real_data / "models" / "vit-tiny-tin200"
    model, report = TemporalReuseViTForVideoClassification.from_pretrained(
        folder, temporal_reuse={"mode": "off"}, dtype=torch.float32, output_loading_info=True
    )
    assert_nothing_to_report(report, transformers_log)
    parent = ViTForImageClassification.from_pretrained(folder, dtype=torch.float32)
    clip = make_clip(1, 4, (224, 224), patch=16)
    expected = parent(clip[0]).logits
    assert_same(model(clip).frame_logits[0], expected)
    assert model.config.id2label == parent.config.id2label
    model.config.temporal_reuse.mode = "causal"
    model.config.temporal_reuse.threshold = 0
    assert_near(model(clip).frame_logits[0], expected, 1e-5)
