"""Checkpoints of plain VideoPrisms load without a missing or changed weight."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import VideoPrismForVideoClassification, VideoPrismVisionConfig, VideoPrismVisionModel

from hf_ttr import (
    TemporalReuseVideoPrismForVideoClassification,
    TemporalReuseVideoPrismVisionConfig,
    TemporalReuseVideoPrismVisionModel,
    with_temporal_reuse,
)
from hf_ttr.streaming import StreamEngine, StreamOptions

from ..streaming.engines import processor
from ..tiny import TINY_VIDEOPRISM, make_clip
from .cases import assert_near, assert_same
from .test_checkpoints_temporal_reuse_vit import assert_nothing_to_report


@pytest.fixture
def parent() -> VideoPrismForVideoClassification:
    torch.manual_seed(0)
    model = VideoPrismForVideoClassification(VideoPrismVisionConfig(**TINY_VIDEOPRISM)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return model


@torch.no_grad()
def test_a_videoprism_checkpoint_loads_without_a_word_and_stays_one(
    parent: VideoPrismForVideoClassification, tmp_path: Path, transformers_log: list[str]
) -> None:
    parent.save_pretrained(tmp_path)
    transformers_log.clear()
    load = TemporalReuseVideoPrismForVideoClassification.from_pretrained
    model, report = load(tmp_path, output_loading_info=True)
    assert_nothing_to_report(report, transformers_log)
    for name, weight in parent.state_dict().items():
        assert_same(model.state_dict()[name], weight)
    # Classes that are not spread over devices go by other names.
    renamed = {f"TemporalReuse{name}" for name in ("VideoPrismLayer", "VideoPrismMultiheadAttentionPoolingHead")}
    assert renamed <= set(model._no_split_modules)
    clip = make_clip(batch=2, frames=8)
    for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
        assert_near(load(tmp_path, temporal_reuse=settings)(clip).logits, parent(clip).logits.squeeze(1), tolerance)
    model.save_pretrained(tmp_path / "saved")
    parent.config.save_pretrained(tmp_path / "saved")
    plain, report = type(parent).from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert_nothing_to_report(report, transformers_log)
    assert_same(plain(clip).logits, parent(clip).logits)


@torch.no_grad()
def test_the_base_model_loads_from_a_classifier_and_alone(
    parent: VideoPrismForVideoClassification, tmp_path: Path
) -> None:
    parent.save_pretrained(tmp_path / "whole")
    parent.vision_model.save_pretrained(tmp_path / "base")
    clip = make_clip(batch=2, frames=8)
    for name in ("whole", "base"):
        model, report = TemporalReuseVideoPrismVisionModel.from_pretrained(
            tmp_path / name, temporal_reuse={"mode": "off"}, output_loading_info=True
        )
        # transformers 5.17 does not find the base model in a classifier.
        expected = VideoPrismVisionModel.from_pretrained(tmp_path / name, output_loading_info=True)[1]
        assert report["missing_keys"] == expected["missing_keys"]
        if name == "base" or not report["missing_keys"]:
            assert_same(model(clip).last_hidden_state, parent.vision_model(clip).last_hidden_state)


def test_sizes_of_the_config() -> None:
    config = TemporalReuseVideoPrismVisionConfig(**TINY_VIDEOPRISM)
    assert (config.window_frames, config.tubelet_frames, config.grid, config.frame_size) == (8, 1, (6, 6), (24, 24))
    shape = config.model_shape()
    assert (shape.tokens, shape.layers, shape.protected, shape.times) == (36, 2, 0, 1)
    # What decides is the change from frame to frame, as where there are no windows.
    assert config.threshold_in_force == 0.1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_spatial_layers": 10**6}, "num_spatial_layers 1000000, but it must be a whole number"),
        ({"num_temporal_layers": 0}, "num_temporal_layers 0, but it must be a whole number"),
    ],
    ids=str,
)
def test_a_config_that_asks_for_too_much_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    settings = {**TINY_VIDEOPRISM, **changes, "model_type": "videoprism_vision_model"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=words):
        TemporalReuseVideoPrismVisionConfig.from_pretrained(tmp_path)


@torch.no_grad()
def test_windows_of_a_stream_that_overlap_cost_their_new_frames(parent: VideoPrismForVideoClassification) -> None:
    model = with_temporal_reuse(parent, {"threshold": 1e-3, "max_age": None, "mode": "causal"})
    engine = StreamEngine(model, processor(), StreamOptions(stride=2, top_k=1))
    engine.add("door")
    results = []
    for index, frame in enumerate(np.random.default_rng(0).integers(0, 256, (14, 24, 24, 3), dtype=np.uint8)):
        engine.push("door", frame, index=index, time=index / 25)
        results += engine.step()
    assert len(results) == 4
    # Noise: nothing can be reused but the frames that were there before.
    assert [result.computed_share for result in results] == [1, 0.25, 0.25, 0.25]
