"""Checkpoints of plain V-JEPA 2s load without a missing or changed weight."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2Model

from hf_ttr import (
    TemporalReuseVJEPA2Config,
    TemporalReuseVJEPA2ForVideoClassification,
    TemporalReuseVJEPA2Model,
)

from ..tiny import TINY_VJEPA2, make_clip
from .cases import assert_near, assert_same
from .test_checkpoints_temporal_reuse_vit import assert_nothing_to_report


@pytest.fixture
def parent() -> VJEPA2ForVideoClassification:
    torch.manual_seed(0)
    model = VJEPA2ForVideoClassification(VJEPA2Config(**TINY_VJEPA2)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


@pytest.fixture
def checkpoint(parent: VJEPA2ForVideoClassification, tmp_path: Path) -> Path:
    """A directory with a `VJEPA2ForVideoClassification`."""
    parent.save_pretrained(tmp_path)
    return tmp_path


@torch.no_grad()
def test_a_vjepa2_checkpoint_loads_without_a_word_and_stays_one(
    checkpoint: Path, parent: VJEPA2ForVideoClassification, transformers_log: list[str]
) -> None:
    model, report = TemporalReuseVJEPA2ForVideoClassification.from_pretrained(checkpoint, output_loading_info=True)
    assert_nothing_to_report(report, transformers_log)
    for name, weight in parent.state_dict().items():
        assert_same(model.state_dict()[name], weight)
    clip = make_clip(batch=2, frames=8)
    for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
        model = TemporalReuseVJEPA2ForVideoClassification.from_pretrained(checkpoint, temporal_reuse=settings)
        assert_near(model(clip).logits, parent(clip).logits, tolerance)
    model.save_pretrained(checkpoint / "saved")
    parent.config.save_pretrained(checkpoint / "saved")
    plain, report = VJEPA2ForVideoClassification.from_pretrained(checkpoint / "saved", output_loading_info=True)
    assert_nothing_to_report(report, transformers_log)
    assert_same(plain(clip).logits, parent(clip).logits)


@torch.no_grad()
def test_the_base_model_loads_from_a_classifier_and_from_one_of_its_own(
    checkpoint: Path, parent: VJEPA2ForVideoClassification, transformers_log: list[str]
) -> None:
    options: dict[str, Any] = {"output_loading_info": True}
    model, report = TemporalReuseVJEPA2Model.from_pretrained(checkpoint, temporal_reuse={"mode": "off"}, **options)
    assert report == VJEPA2Model.from_pretrained(checkpoint, **options)[1]
    assert not report["missing_keys"]
    clip = make_clip(batch=2, frames=8)
    assert_same(model(clip).last_hidden_state, parent.vjepa2(clip).last_hidden_state)
    transformers_log.clear()
    parent.vjepa2.save_pretrained(checkpoint / "base")
    assert_nothing_to_report(
        TemporalReuseVJEPA2Model.from_pretrained(checkpoint / "base", **options)[1], transformers_log
    )


def test_sizes_have_the_names_of_other_models_but_are_saved_under_their_own(tmp_path: Path) -> None:
    config = TemporalReuseVJEPA2Config(**TINY_VJEPA2)
    assert (config.num_frames, config.num_channels, config.image_size) == (8, 3, 24)
    assert (config.window_frames, config.tubelet_frames, config.grid, config.frame_size) == (8, 2, (6, 6), (24, 24))
    assert (config.model_shape().tokens, config.model_shape().protected, config.model_shape().times) == (144, 0, 4)
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["crop_size"] == 24
    assert written["frames_per_clip"] == 8
    assert not {"num_frames", "image_size", "num_channels"} & written.keys()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mlp_ratio": 1e9}, "mlp_ratio 1000000000.0, but it must be above 0"),
        ({"pred_hidden_size": 10**9}, "pred_hidden_size 1000000000, but it must be a whole number"),
        ({"frames_per_clip": 8000, "crop_size": 8000}, "tokens that attend to one another"),
    ],
    ids=str,
)
def test_a_config_that_asks_for_too_much_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    settings = {**TINY_VJEPA2, **changes, "model_type": "vjepa2"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=words):
        TemporalReuseVJEPA2Config.from_pretrained(tmp_path)


def test_the_largest_models_there_are_may_be_loaded() -> None:
    largest = {"hidden_size": 1408, "crop_size": 384, "frames_per_clip": 64, "num_attention_heads": 22}
    assert TemporalReuseVJEPA2Config.from_dict(largest).grid == (24, 24)
