"""Checkpoints of plain VideoMAEs, with the key names of today and of old, load without a missing or changed weight."""

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
    VideoMAEForVideoClassification,
    VideoMAEModel,
    ViTConfig,
)

from hf_ttr import (
    TemporalReuseVideoMAEConfig,
    TemporalReuseVideoMAEForVideoClassification,
    TemporalReuseVideoMAEModel,
)

from ..tiny import make_clip, tiny_videomae
from .cases import assert_near, assert_same
from .test_checkpoints_temporal_reuse_vit import assert_nothing_to_report


def old_name(name: str) -> str:
    """The biases of query and value had names of their own, as all checkpoints on the Hub have them."""
    return re.sub(
        r"attention\.attention\.(query|value)\.bias", lambda found: f"attention.attention.{found[1][0]}_bias", name
    )


@pytest.fixture
def parent() -> VideoMAEForVideoClassification:
    """A tiny classifier of transformers, none of whose weights is zero."""
    model = tiny_videomae()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


@pytest.fixture
def clip() -> torch.Tensor:
    return make_clip(batch=2, frames=8)


@pytest.fixture(params=["old-names", "new-names"])
def checkpoint(request: pytest.FixtureRequest, parent: VideoMAEForVideoClassification, tmp_path: Path) -> Path:
    """A directory with a `VideoMAEForVideoClassification`."""
    parent.config.architectures = ["VideoMAEForVideoClassification"]
    parent.config.save_pretrained(tmp_path)
    renamed = old_name if request.param == "old-names" else str
    weights = {renamed(name): weight.clone() for name, weight in parent.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


def test_old_names_are_old(parent: VideoMAEForVideoClassification) -> None:
    names = {old_name(name) for name in parent.state_dict()}
    assert "videomae.encoder.layer.0.attention.attention.q_bias" in names
    assert "videomae.encoder.layer.2.attention.attention.v_bias" in names
    assert not any(name.endswith(("query.bias", "value.bias")) for name in names)


@torch.no_grad()
def test_a_videomae_checkpoint_loads_without_a_word(
    checkpoint: Path, parent: VideoMAEForVideoClassification, transformers_log: list[str], clip: torch.Tensor
) -> None:
    model, report = TemporalReuseVideoMAEForVideoClassification.from_pretrained(checkpoint, output_loading_info=True)
    assert_nothing_to_report(report, transformers_log)
    assert not model.training
    assert model.config.model_type == "temporal_reuse_videomae"
    for name, weight in parent.state_dict().items():
        assert_same(model.state_dict()[name], weight)
    for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
        model = TemporalReuseVideoMAEForVideoClassification.from_pretrained(checkpoint, temporal_reuse=settings)
        assert_near(model(clip).logits, parent(clip).logits, tolerance)


@torch.no_grad()
def test_the_base_model_loads_from_a_classifier(
    checkpoint: Path, parent: VideoMAEForVideoClassification, clip: torch.Tensor
) -> None:
    model, report = TemporalReuseVideoMAEModel.from_pretrained(
        checkpoint, temporal_reuse={"mode": "off"}, output_loading_info=True
    )
    # As for a `VideoMAEModel`, the head is left over.
    _, expected_report = VideoMAEModel.from_pretrained(checkpoint, output_loading_info=True)
    assert report == expected_report
    assert not report["missing_keys"]
    assert_same(model(clip).last_hidden_state, parent.videomae(clip).last_hidden_state)


@torch.no_grad()
def test_a_converted_checkpoint_stays_one(checkpoint: Path, clip: torch.Tensor, transformers_log: list[str]) -> None:
    converted = TemporalReuseVideoMAEForVideoClassification.from_pretrained(
        checkpoint, temporal_reuse={"threshold": 0.1}
    )
    converted.save_pretrained(checkpoint / "converted")
    written = json.loads((checkpoint / "converted" / "config.json").read_text())
    assert written["model_type"] == "temporal_reuse_videomae"
    assert written["architectures"] == ["TemporalReuseVideoMAEForVideoClassification"]
    assert written["temporal_reuse"]["threshold"] == 0.1
    loaded, report = AutoModelForVideoClassification.from_pretrained(
        checkpoint / "converted", output_loading_info=True
    )
    assert_nothing_to_report(report, transformers_log)
    assert_same(loaded(clip).logits, converted(clip).logits)


@torch.no_grad()
def test_saved_weights_load_into_a_plain_videomae(
    checkpoint: Path, parent: VideoMAEForVideoClassification, clip: torch.Tensor
) -> None:
    TemporalReuseVideoMAEForVideoClassification.from_pretrained(checkpoint).save_pretrained(checkpoint / "saved")
    weights = load_file(checkpoint / "saved" / "model.safetensors")
    parent.config.save_pretrained(checkpoint / "saved")
    plain, report = VideoMAEForVideoClassification.from_pretrained(checkpoint / "saved", output_loading_info=True)
    assert len(weights) == len(parent.state_dict())
    assert not {name: part for name, part in report.items() if part}
    assert_same(plain(clip).logits, parent(clip).logits)


@pytest.mark.parametrize(
    "loader",
    [TemporalReuseVideoMAEConfig, TemporalReuseVideoMAEModel, TemporalReuseVideoMAEForVideoClassification],
    ids=lambda loader: loader.__name__,
)
@pytest.mark.parametrize(
    ("config", "name"),
    [
        (BertConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=1), "bert"),
        (ViTConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=1), "vit"),
    ],
    ids=["bert", "vit"],
)
def test_another_kind_of_checkpoint_is_refused_in_one_sentence(
    loader: type, config: BertConfig | ViTConfig, name: str, tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError) as error:
        loader.from_pretrained(tmp_path)
    assert str(error.value) == (
        f"'{tmp_path}' is a '{name}' checkpoint, but temporal reuse for VideoMAE takes checkpoints of type 'videomae' "
        "or 'temporal_reuse_videomae'."
    )


@torch.no_grad()
def test_real_weights(real_data: Path, transformers_log: list[str]) -> None:
    folder = real_data / "models" / "videomae-tiny-tin200"
    model, report = TemporalReuseVideoMAEForVideoClassification.from_pretrained(
        folder, temporal_reuse={"mode": "off"}, dtype=torch.float32, output_loading_info=True
    )
    assert_nothing_to_report(report, transformers_log)
    parent = VideoMAEForVideoClassification.from_pretrained(folder, dtype=torch.float32)
    config = parent.config
    clip = make_clip(1, config.num_frames, (config.image_size,) * 2, patch=config.patch_size)
    expected = parent(clip).logits
    assert_same(model(clip).logits, expected)
    assert config.id2label == model.config.id2label
    model.config.temporal_reuse.mode = "bidirectional"
    model.config.temporal_reuse.threshold = 0
    assert_near(model(clip).logits, expected, 1e-5)
