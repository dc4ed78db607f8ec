from __future__ import annotations

from typing import Any

import torch

from hf_ttr import (
    TemporalReuseViTMSNForImageClassification,
    TemporalReuseViTMSNForVideoClassification,
    TemporalReuseViTMSNModel,
)

from .cases import ModelCase
from .fixtures import BUDGET, NEAR, TINY_FRAMES, case_fixtures
from .modeling_invariants import FrameClassifierInvariants, FrameReuseInvariants, MaskInvariants


def vit_msn_case(name: str, mode: str, settings: dict[str, Any], **options: Any) -> ModelCase:
    return ModelCase(
        name=name,
        classifier=TemporalReuseViTMSNForVideoClassification,
        base=TemporalReuseViTMSNModel,
        frame_classifier=TemporalReuseViTMSNForImageClassification,
        config=TINY_FRAMES,
        settings={"mode": mode, **settings},
        **options,
    )


case, some_case, plain_case, causal_case = case_fixtures(
    [
        vit_msn_case("threshold", "causal", NEAR),
    ],
    [vit_msn_case("budget", "bidirectional", BUDGET, dtype=torch.bfloat16)],
)


class TestTemporalReuseViTMSN(FrameReuseInvariants, FrameClassifierInvariants, MaskInvariants):
    """The invariants of all frame-wise models."""
