"""Checkpoints of plain BEiTs, with the key names of today and of old, load without a missing or changed weight."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import BeitForImageClassification, BeitModel

import hf_ttr
from hf_ttr import (
    TemporalReuseBeitForImageClassification,
    TemporalReuseBeitForVideoClassification,
    TemporalReuseBeitModel,
)

from .cases import assert_near, assert_same
from .test_modeling_temporal_reuse_beit import POSITIONS, beit_cases


# Key names of transformers before version 5, as all checkpoints on the Hub have them.
OLD_NAMES = [
    (r"layers\.(\d+)\.relative_position_bias", r"layers.\1.attention.attention.relative_position_bias"),
    (r"shared_position_bias", "encoder.relative_position_bias"),
    (r"layers\.(\d+)\.", r"encoder.layer.\1."),
    (r"attention\.q_proj", "attention.attention.query"),
    (r"attention\.k_proj", "attention.attention.key"),
    (r"attention\.v_proj", "attention.attention.value"),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
]


def old_name(name: str) -> str:
    for new, old in OLD_NAMES:
        name = re.sub(new, old, name)
    return name


@pytest.mark.parametrize("renamed", [old_name, str], ids=["old-names", "new-names"])
@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_a_plain_checkpoint_loads_without_a_word(
    positions: str, renamed: type, tmp_path: Path, transformers_log: list[str]
) -> None:
    case = beit_cases(positions, dtype=torch.float32)[0]
    parent, clip = case.parent(), case.clip()
    parent.config.architectures = ["BeitForImageClassification"]
    parent.config.save_pretrained(tmp_path)
    weights = {renamed(name): weight.clone() for name, weight in parent.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for kind in (TemporalReuseBeitForVideoClassification, TemporalReuseBeitForImageClassification):
        model, report = kind.from_pretrained(tmp_path, temporal_reuse={"mode": "off"}, output_loading_info=True)
        assert not {name: part for name, part in report.items() if part}
        assert transformers_log == []
        for name, weight in parent.state_dict().items():
            assert_same(model.state_dict()[name], weight)
    model = TemporalReuseBeitForVideoClassification.from_pretrained(tmp_path, temporal_reuse={"mode": "off"})
    plain = BeitForImageClassification.from_pretrained(tmp_path)
    assert_same(model(clip).frame_logits.flatten(0, 1), plain(clip.flatten(0, 1)).logits)
    base, report = TemporalReuseBeitModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    model.save_pretrained(tmp_path / "saved")
    _, report = TemporalReuseBeitForVideoClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not {name: part for name, part in report.items() if part}


@pytest.mark.parametrize("add_pooling_layer", [False, True])
@torch.no_grad()
def test_a_base_model_in_memory_gets_reuse(add_pooling_layer: bool) -> None:
    case = beit_cases("own")[0]
    parent = BeitModel(case.parent().config, add_pooling_layer=add_pooling_layer).eval()
    model = hf_ttr.with_temporal_reuse(parent, {"threshold": 0})
    assert type(model) is TemporalReuseBeitModel
    output, expected = model(case.clip()[:, 0]), parent(case.clip()[:, 0])
    assert_near(output.last_hidden_state, expected.last_hidden_state, 1e-5)
    assert (output.pooler_output is None) == (not add_pooling_layer)
    if add_pooling_layer:
        assert_near(output.pooler_output, expected.pooler_output, 1e-5)
