"""Checkpoints of plain ViViTs, with the key names of today and of old, load without a missing or changed weight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import VivitConfig, VivitForVideoClassification, VivitModel

from hf_ttr import TemporalReuseVivitForVideoClassification, TemporalReuseVivitModel

from ..tiny import TINY_VIVIT, make_clip
from .cases import assert_near, assert_same
from .test_checkpoints_temporal_reuse_vit import assert_nothing_to_report, old_name


@pytest.fixture
def parent() -> VivitForVideoClassification:
    torch.manual_seed(0)
    model = VivitForVideoClassification(
        VivitConfig(**TINY_VIVIT, architectures=["VivitForVideoClassification"])
    ).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


@pytest.fixture(params=["old-names", "new-names"])
def checkpoint(request: pytest.FixtureRequest, parent: VivitForVideoClassification, tmp_path: Path) -> Path:
    """A directory with a `VivitForVideoClassification`."""
    parent.config.save_pretrained(tmp_path)
    renamed = old_name if request.param == "old-names" else str
    weights = {renamed(name): weight.clone() for name, weight in parent.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path


@torch.no_grad()
def test_a_vivit_checkpoint_loads_without_a_word_and_stays_one(
    checkpoint: Path, parent: VivitForVideoClassification, transformers_log: list[str]
) -> None:
    model, report = TemporalReuseVivitForVideoClassification.from_pretrained(checkpoint, output_loading_info=True)
    assert_nothing_to_report(report, transformers_log)
    for name, weight in parent.state_dict().items():
        assert_same(model.state_dict()[name], weight)
    clip = make_clip(batch=2, frames=8)
    for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
        model = TemporalReuseVivitForVideoClassification.from_pretrained(checkpoint, temporal_reuse=settings)
        assert_near(model(clip).logits, parent(clip).logits, tolerance)
    model.save_pretrained(checkpoint / "saved")
    parent.config.save_pretrained(checkpoint / "saved")
    plain, report = VivitForVideoClassification.from_pretrained(checkpoint / "saved", output_loading_info=True)
    assert_nothing_to_report(report, transformers_log)
    assert_same(plain(clip).logits, parent(clip).logits)


@torch.no_grad()
def test_the_base_model_loads_from_a_classifier(checkpoint: Path, parent: VivitForVideoClassification) -> None:
    options = {"add_pooling_layer": False, "output_loading_info": True}
    model, report = TemporalReuseVivitModel.from_pretrained(checkpoint, temporal_reuse={"mode": "off"}, **options)
    # As for a `VivitModel`, the head is left over.
    assert report == VivitModel.from_pretrained(checkpoint, **options)[1]
    assert not report["missing_keys"]
    clip = make_clip(batch=2, frames=8)
    assert_same(model(clip).last_hidden_state, parent.vivit(clip).last_hidden_state)
