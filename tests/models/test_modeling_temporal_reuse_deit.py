from __future__ import annotations

from typing import Any

import torch

from hf_ttr import (
    TemporalReuseDeiTForImageClassification,
    TemporalReuseDeiTForVideoClassification,
    TemporalReuseDeiTModel,
)

from .cases import ModelCase
from .fixtures import BUDGET, NEAR, TINY_FRAMES, TOME, case_fixtures
from .modeling_invariants import FrameClassifierInvariants, FrameReuseInvariants, MaskInvariants


def deit_case(name: str, mode: str, settings: dict[str, Any], **options: Any) -> ModelCase:
    return ModelCase(
        name=name,
        classifier=TemporalReuseDeiTForVideoClassification,
        base=TemporalReuseDeiTModel,
        frame_classifier=TemporalReuseDeiTForImageClassification,
        config=TINY_FRAMES,
        prefix=2,
        settings={"mode": mode, **settings},
        **options,
    )


case, some_case, plain_case, causal_case = case_fixtures(
    [
        deit_case("threshold", "causal", NEAR),
        deit_case("tome", "bidirectional", TOME),
    ],
    [deit_case("budget", "bidirectional", BUDGET, dtype=torch.bfloat16)],
)


class TestTemporalReuseDeiT(FrameReuseInvariants, FrameClassifierInvariants, MaskInvariants):
    """The invariants of all frame-wise models."""
