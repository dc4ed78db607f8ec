"""Checkpoints of plain TimeSformers load without a missing or changed weight; their keys never had other names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import TimesformerConfig, TimesformerForVideoClassification, TimesformerModel

from hf_ttr import TemporalReuseTimesformerForVideoClassification, TemporalReuseTimesformerModel

from ..tiny import TINY_TIMESFORMER, make_clip
from .cases import assert_near, assert_same
from .test_checkpoints_temporal_reuse_vit import assert_nothing_to_report


@pytest.fixture
def parent() -> TimesformerForVideoClassification:
    torch.manual_seed(0)
    model = TimesformerForVideoClassification(TimesformerConfig(**TINY_TIMESFORMER)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


@torch.no_grad()
def test_a_timesformer_checkpoint_loads_without_a_word_and_stays_one(
    parent: TimesformerForVideoClassification, transformers_log: list[str], tmp_path: Path
) -> None:
    parent.save_pretrained(tmp_path / "plain")
    kind, clip = TemporalReuseTimesformerForVideoClassification, make_clip(batch=2, frames=8)
    model, report = kind.from_pretrained(tmp_path / "plain", output_loading_info=True)
    assert_nothing_to_report(report, transformers_log)
    for name, weight in parent.state_dict().items():
        assert_same(model.state_dict()[name], weight)
    for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
        model = kind.from_pretrained(tmp_path / "plain", temporal_reuse=settings)
        assert_near(model(clip).logits, parent(clip).logits, tolerance)
    model.save_pretrained(tmp_path / "saved")
    parent.config.save_pretrained(tmp_path / "saved")
    plain, report = TimesformerForVideoClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert_nothing_to_report(report, transformers_log)
    assert_same(plain(clip).logits, parent(clip).logits)


@torch.no_grad()
def test_the_base_model_loads_from_a_classifier(parent: TimesformerForVideoClassification, tmp_path: Path) -> None:
    parent.save_pretrained(tmp_path)
    model, report = TemporalReuseTimesformerModel.from_pretrained(
        tmp_path, temporal_reuse={"mode": "off"}, output_loading_info=True
    )
    # As for a `TimesformerModel`, the head is left over.
    assert report == TimesformerModel.from_pretrained(tmp_path, output_loading_info=True)[1]
    assert not report["missing_keys"]
    clip = make_clip(batch=2, frames=8)
    assert_same(model(clip).last_hidden_state, parent.timesformer(clip).last_hidden_state)
