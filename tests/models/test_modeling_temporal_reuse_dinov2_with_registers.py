from __future__ import annotations

from typing import Any

import torch

from hf_ttr import (
    TemporalReuseDinov2WithRegistersForImageClassification,
    TemporalReuseDinov2WithRegistersForVideoClassification,
    TemporalReuseDinov2WithRegistersModel,
)

from .cases import ModelCase
from .fixtures import BUDGET, NEAR, TINY_FRAMES, TOME, case_fixtures
from .modeling_invariants import FrameClassifierInvariants, FrameReuseInvariants, MaskInvariants


CONFIG = {name: value for name, value in TINY_FRAMES.items() if name != "intermediate_size"}
CONFIG |= {"mlp_ratio": 2, "num_register_tokens": 3}


def registers_case(name: str, mode: str, settings: dict[str, Any], **options: Any) -> ModelCase:
    return ModelCase(
        name=name,
        classifier=TemporalReuseDinov2WithRegistersForVideoClassification,
        base=TemporalReuseDinov2WithRegistersModel,
        frame_classifier=TemporalReuseDinov2WithRegistersForImageClassification,
        config=CONFIG,
        prefix=4,
        reads=None,
        settings={"mode": mode, **settings},
        **options,
    )


case, some_case, plain_case, causal_case = case_fixtures(
    [
        registers_case("threshold", "causal", NEAR),
        registers_case("tome", "bidirectional", TOME),
    ],
    [registers_case("budget", "bidirectional", BUDGET, dtype=torch.bfloat16)],
)


class TestTemporalReuseDinov2WithRegisters(FrameReuseInvariants, FrameClassifierInvariants, MaskInvariants):
    """The invariants of all frame-wise models."""
