from __future__ import annotations

import pytest
import torch

from hf_ttr import (
    TemporalReuseSiglipForImageClassification,
    TemporalReuseSiglipForVideoClassification,
    TemporalReuseSiglipVisionConfig,
    TemporalReuseSiglipVisionModel,
)

from .cases import ModelCase, assert_near
from .few_cases import TINY_COMPOSITE, TINY_VISION, few_cases
from .fixtures import case_fixtures
from .modeling_invariants import FrameClassifierInvariants, FrameReuseInvariants


CASES = few_cases(
    classifier=TemporalReuseSiglipForVideoClassification,
    base=TemporalReuseSiglipVisionModel,
    frame_classifier=TemporalReuseSiglipForImageClassification,
    config=TINY_COMPOSITE,
    prefix=0,
    reads=None,
)
case, some_case, plain_case, causal_case = case_fixtures(CASES[::2])


class TestTemporalReuseSiglip(FrameReuseInvariants, FrameClassifierInvariants):
    """The invariants of all frame-wise models with a head."""


@pytest.mark.parametrize("size", [(32, 32), (20, 36)], ids=lambda size: f"{size[0]}x{size[1]}")
@torch.no_grad()
def test_other_resolutions(size: tuple[int, int]) -> None:
    case = ModelCase(**{**vars(CASES[0]), "size": size})
    clip = case.clip()
    expected = case.parent()(clip.flatten(0, 1), interpolate_pos_encoding=True).logits
    for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
        output = case.model(**settings)(clip, interpolate_pos_encoding=True)
        assert_near(output.frame_logits.flatten(0, 1), expected, tolerance)
    output = case.model()(clip[:, [0, 0]], interpolate_pos_encoding=True)
    assert output.reuse.computed_tokens.tolist() == [(size[0] // 4) * (size[1] // 4)] * 2


@torch.no_grad()
def test_a_model_without_a_pooling_head_gives_no_pooled_output() -> None:
    model = TemporalReuseSiglipVisionModel(
        TemporalReuseSiglipVisionConfig(**TINY_VISION, vision_use_head=False)
    ).eval()
    output = model(CASES[0].clip())
    assert output.pooler_output is None
    assert output.reuse is not None
