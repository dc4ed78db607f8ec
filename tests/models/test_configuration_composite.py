"""What the configs do of models that see and read: their settings are those of the part that sees."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPConfig, CLIPVisionConfig

from hf_ttr import (
    TemporalReuseCLIPConfig,
    TemporalReuseCLIPVisionConfig,
    TemporalReuseConfig,
    TemporalReuseSiglip2Config,
)

from .few_cases import TINY_COMPOSITE


def whole(**changes: Any) -> TemporalReuseCLIPConfig:
    return TemporalReuseCLIPConfig(**{**TINY_COMPOSITE, **changes})


def assert_shared(config: TemporalReuseCLIPConfig) -> None:
    assert type(config.vision_config) is TemporalReuseCLIPVisionConfig
    assert config.vision_config.temporal_reuse is config.temporal_reuse
    assert config.vision_config.num_frames == config.num_frames
    assert config.vision is config.vision_config


@pytest.mark.parametrize(
    "vision",
    [
        {"hidden_size": 36},
        {"hidden_size": 36, "temporal_reuse": {"max_age": 3}, "num_frames": 3},
        {"hidden_size": 36, "model_type": "clip_vision_model"},
        CLIPVisionConfig(hidden_size=36),
        TemporalReuseCLIPVisionConfig(hidden_size=36, temporal_reuse={"max_age": 3}, num_frames=3),
        None,
    ],
    ids=["dict", "dict-with-settings", "plain-dict", "plain", "own", "none"],
)
def test_settings_of_the_whole_are_those_of_the_part(vision: Any) -> None:
    for given in ({}, {"temporal_reuse": {"max_age": 9}, "num_frames": 4}):
        config = whole(vision_config=copy.deepcopy(vision), **given)
        assert_shared(config)
        assert config.vision_config.hidden_size == (768 if vision is None else 36)
        has_own = isinstance(vision, TemporalReuseCLIPVisionConfig) or "num_frames" in (vision or {})
        assert config.num_frames == (4 if given else 3 if has_own else 16)
        assert config.temporal_reuse.max_age == (9 if given else 3 if has_own else 24)
        assert config.vision_config.model_type == "temporal_reuse_clip_vision_model"


def test_what_is_set_later_is_set_in_both() -> None:
    config = whole()
    config.temporal_reuse = TemporalReuseConfig(max_age=5)
    config.num_frames = 2
    assert_shared(config)
    assert config.vision_config.num_frames == 2
    config.vision_config = TemporalReuseCLIPVisionConfig(temporal_reuse={"max_age": 6}, num_frames=7)
    assert_shared(config)
    assert (config.temporal_reuse.max_age, config.num_frames) == (6, 7)
    for copied in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert_shared(copied)


def test_a_config_is_read_as_it_was_written(tmp_path: Path) -> None:
    config = whole(temporal_reuse={"compute_budget": 0.3})
    config.save_pretrained(tmp_path)
    read = TemporalReuseCLIPConfig.from_pretrained(tmp_path, temporal_reuse={"max_age": 8}, num_labels=3)
    assert_shared(read)
    assert (read.temporal_reuse.compute_budget, read.temporal_reuse.max_age, read.num_labels) == (0.3, 8, 3)
    part = TemporalReuseCLIPVisionConfig.from_pretrained(tmp_path)
    assert (part.temporal_reuse.compute_budget, part.hidden_size) == (0.3, 32)


def test_what_is_known_of_the_part_is_known_of_the_whole() -> None:
    config = whole()
    assert config.frame_size == (24, 24)
    assert config.prefix_tokens == 1
    assert config.window_frames is None
    shape = config.model_shape()
    assert (shape.layers, shape.tokens, shape.hidden_size, shape.heads, shape.protected) == (3, 37, 32, 4, 1)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="reduction 'pruning'"):
        whole(temporal_reuse={"reduction": {"method": "pruning", "layers": [7]}})
    with pytest.raises(ValueError, match=r"^temporal_reuse\.threshold is -1"):
        whole(temporal_reuse={"threshold": -1})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (TemporalReuseCLIPConfig, "hidden_size", 2**20),
        (TemporalReuseCLIPConfig, "image_size", 2**14),
        (TemporalReuseCLIPConfig, "num_hidden_layers", 0),
        (TemporalReuseSiglip2Config, "num_patches", 2**20),
    ],
    ids=lambda part: str(getattr(part, "__name__", part)),
)
def test_sizes_of_no_model_are_refused(kind: type, name: str, value: int, tmp_path: Path) -> None:
    settings = {"model_type": kind.parent_model_type, "vision_config": {name: value}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=f"^the config has {name} {value}, but it must be a whole number from 1 to "):
        kind.from_pretrained(tmp_path)


def test_code_of_others_is_forgotten_in_every_part() -> None:
    config = whole()
    for part in (config, config.vision_config, config.text_config):
        part.auto_map = {"AutoModel": "other.Model"}
        part.custom_pipelines = {"a": {"impl": "other.Pipeline"}}
    config.forget_foreign_code()
    assert "other" not in json.dumps(config.to_dict())
    assert (
        config.auto_map["AutoModelForVideoClassification"] == "import_hf_ttr.TemporalReuseCLIPForVideoClassification"
    )
    assert not hasattr(config.text_config, "custom_pipelines")


def test_a_plain_config_becomes_one_with_reuse() -> None:
    plain = CLIPConfig(**TINY_COMPOSITE, attn_implementation={"": "sdpa", "vision_config": "eager"})
    config = TemporalReuseCLIPConfig.from_parent_config(plain, {"max_age": 3})
    assert_shared(config)
    assert config.temporal_reuse.max_age == 3
    assert config.num_labels == 5
    assert config._attn_implementation == "sdpa"
    assert config.vision_config._attn_implementation == "eager"
