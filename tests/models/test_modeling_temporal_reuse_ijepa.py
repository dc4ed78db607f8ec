from __future__ import annotations

from typing import Any

import torch

from hf_ttr import (
    TemporalReuseIJepaForImageClassification,
    TemporalReuseIJepaForVideoClassification,
    TemporalReuseIJepaModel,
)

from ..tiny import make_clip
from .cases import ModelCase, assert_near
from .fixtures import BUDGET, NEAR, TINY_FRAMES, VIDTOME, case_fixtures
from .modeling_invariants import FrameClassifierInvariants, FrameReuseInvariants, MaskInvariants


def ijepa_case(name: str, mode: str, settings: dict[str, Any], **options: Any) -> ModelCase:
    return ModelCase(
        name=name,
        classifier=TemporalReuseIJepaForVideoClassification,
        base=TemporalReuseIJepaModel,
        frame_classifier=TemporalReuseIJepaForImageClassification,
        config=TINY_FRAMES,
        prefix=0,
        reads=None,
        settings={"mode": mode, **settings},
        **options,
    )


case, some_case, plain_case, causal_case = case_fixtures(
    [
        ijepa_case("threshold", "causal", NEAR),
        ijepa_case("vidtome", "bidirectional", VIDTOME),
    ],
    [ijepa_case("budget", "bidirectional", BUDGET, dtype=torch.bfloat16)],
)


class TestTemporalReuseIJepa(FrameClassifierInvariants, FrameReuseInvariants, MaskInvariants):
    """The invariants of all frame-wise models."""


@torch.no_grad()
def test_without_a_token_in_front_all_frames_of_a_clip_are_planned_at_once() -> None:
    model = ijepa_case("threshold", "bidirectional", NEAR).model()
    expected = ijepa_case("threshold", "bidirectional", {**NEAR, "saliency_weight": 0}).model()
    clip = make_clip()
    output = model(clip, output_reuse_plan=True)
    assert torch.equal(output.reuse.plan, expected(clip, output_reuse_plan=True).reuse.plan)
    assert output.past_key_values.streams.saliency.isnan().all()


@torch.no_grad()
def test_frames_that_stay_as_they_were_cost_no_row_at_all() -> None:
    case = ijepa_case("threshold", "causal", NEAR)
    model, frame = case.model(single_frames=True), make_clip()[:, 0]
    first = model(frame)
    output = model(frame, past_key_values=first.past_key_values, output_reuse_plan=True)
    assert not output.reuse.plan.any()
    assert_near(output.logits, first.logits, 1e-6)
