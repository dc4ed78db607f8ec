from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hf_ttr import (
    TemporalReuseDinov2ForImageClassification,
    TemporalReuseDinov2ForVideoClassification,
    TemporalReuseDinov2Model,
)

from .cases import ModelCase, assert_near
from .fixtures import BUDGET, NEAR, TINY_FRAMES, TOME, case_fixtures
from .modeling_invariants import FrameClassifierInvariants, FrameReuseInvariants, MaskInvariants


CONFIG = {name: value for name, value in TINY_FRAMES.items() if name != "intermediate_size"} | {"mlp_ratio": 2}


def dinov2_case(
    name: str, mode: str, settings: dict[str, Any], config: dict[str, Any] | None = None, **options: Any
) -> ModelCase:
    return ModelCase(
        name=name,
        classifier=TemporalReuseDinov2ForVideoClassification,
        base=TemporalReuseDinov2Model,
        frame_classifier=TemporalReuseDinov2ForImageClassification,
        config={**CONFIG, **(config or {})},
        reads=None,
        settings={"mode": mode, **settings},
        **options,
    )


case, some_case, plain_case, causal_case = case_fixtures(
    [
        dinov2_case("threshold", "causal", NEAR),
        dinov2_case("tome", "bidirectional", TOME),
    ],
    [
        dinov2_case("budget", "bidirectional", BUDGET, dtype=torch.bfloat16),
        dinov2_case("swiglu", "bidirectional", NEAR, {"use_swiglu_ffn": True}),
    ],
)


class TestTemporalReuseDinov2(FrameReuseInvariants, FrameClassifierInvariants, MaskInvariants):
    """The invariants of all frame-wise models."""


@torch.no_grad()
def test_multiply_adds_of_gated_layers_are_those_that_a_profiler_counts() -> None:
    case = dinov2_case("swiglu", "bidirectional", NEAR, {"use_swiglu_ffn": True}, attention="eager")
    with FlopCounterMode(display=False) as counted:
        output = case.model()(case.clip())
    assert int(output.reuse.multiply_adds.sum()) * 2 == counted.get_total_flops()


@pytest.mark.parametrize("size", [(32, 32), (20, 36)], ids=lambda size: f"{size[0]}x{size[1]}")
@torch.no_grad()
def test_other_resolutions(size: tuple[int, int]) -> None:
    case = dinov2_case("resolution", "bidirectional", {"threshold": 0}, size=size)
    clip = case.clip()
    expected = case.parent()(clip.flatten(0, 1)).logits
    assert_near(case.model()(clip).frame_logits.flatten(0, 1), expected, 1e-5)
    # The norm that errors are relative to is that of the content.
    base = case.model(base=True)
    frames = clip.flatten(0, 1)
    embedded = base.embeddings(frames)[:, 1:]
    content = base.embeddings.patch_embeddings(frames)
    assert_near(embedded - base.parts.positions(base, frames, {}), content, 1e-5)
