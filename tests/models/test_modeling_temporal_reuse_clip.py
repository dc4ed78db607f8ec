from __future__ import annotations

import torch

from hf_ttr import (
    TemporalReuseCLIPForImageClassification,
    TemporalReuseCLIPForVideoClassification,
    TemporalReuseCLIPVisionModel,
)

from .cases import ModelCase, assert_near
from .few_cases import TINY_COMPOSITE, few_cases
from .fixtures import case_fixtures
from .modeling_invariants import FrameClassifierInvariants, FrameReuseInvariants


CASES = few_cases(
    classifier=TemporalReuseCLIPForVideoClassification,
    base=TemporalReuseCLIPVisionModel,
    frame_classifier=TemporalReuseCLIPForImageClassification,
    config=TINY_COMPOSITE,
    reads=None,
)
case, some_case, plain_case, causal_case = case_fixtures(CASES[:1])


class TestTemporalReuseCLIP(FrameReuseInvariants, FrameClassifierInvariants):
    """The invariants of all frame-wise models with a head."""


@torch.no_grad()
def test_other_resolutions() -> None:
    case = ModelCase(**{**vars(CASES[0]), "size": (20, 36)})
    clip = case.clip()
    expected = case.parent()(clip.flatten(0, 1), interpolate_pos_encoding=True).logits
    for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
        output = case.model(**settings)(clip, interpolate_pos_encoding=True)
        assert_near(output.frame_logits.flatten(0, 1), expected, tolerance)


@torch.no_grad()
def test_the_pooled_output_is_that_of_the_parent() -> None:
    clip = CASES[0].clip()
    expected = CASES[0].parent(base=True)(clip.flatten(0, 1)).pooler_output
    output = CASES[0].model(base=True, threshold=0)(clip).pooler_output
    assert_near(output.flatten(0, 1), expected, 1e-5)
