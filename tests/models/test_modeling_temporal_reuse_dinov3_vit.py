from __future__ import annotations

from typing import Any

import torch

from hf_ttr import TemporalReuseDINOv3ViTModel

from .cases import ModelCase
from .fixtures import BUDGET, NEAR, PRUNING, TINY_FRAMES, TOME, case_fixtures
from .modeling_invariants import FrameReuseInvariants


CONFIG = {**TINY_FRAMES, "num_register_tokens": 2, "pos_embed_rescale": None}


def dinov3_case(
    name: str, mode: str, settings: dict[str, Any], config: dict[str, Any] | None = None, **options: Any
) -> ModelCase:
    return ModelCase(
        name=name,
        classifier=TemporalReuseDINOv3ViTModel,
        base=TemporalReuseDINOv3ViTModel,
        config={**CONFIG, **(config or {})},
        reads=None,
        settings={"mode": mode, **settings},
        **{"prefix": 3, **options},
    )


case, some_case, plain_case, causal_case = case_fixtures(
    [
        dinov3_case("threshold", "causal", NEAR),
        dinov3_case("tome", "bidirectional", TOME),
        dinov3_case("pruning", "causal", PRUNING),
    ],
    [
        dinov3_case("budget", "bidirectional", BUDGET, dtype=torch.bfloat16),
        dinov3_case("gated", "bidirectional", NEAR, {"use_gated_mlp": True, "num_register_tokens": 0}, prefix=1),
    ],
)


class TestTemporalReuseDINOv3ViT(FrameReuseInvariants):
    """The invariants of all frame-wise models."""
