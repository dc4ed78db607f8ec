"""The few settings in which a model is tested whose body is that of others."""

from __future__ import annotations

from typing import Any

import torch

from ..tiny import TINY_VIT
from .cases import ModelCase


TINY_VISION = {name: value for name, value in TINY_VIT.items() if name not in ("num_labels", "initializer_range")}

# Of a model that sees and reads; nothing is made of the part that reads.
TINY_COMPOSITE: dict[str, Any] = {
    "vision_config": TINY_VISION,
    "text_config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 32,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
    "num_labels": 5,
}


def few_cases(kind: type[ModelCase] = ModelCase, **options: Any) -> list[ModelCase]:
    """
    Three cases of a model; one whose body is tested with another's needs but one of them.

    Args:
        kind: the class of the cases.
        options: what is the same in all of them.
    """
    # The clips are noise, in which a wide neighbourhood finds a change everywhere.
    near = {"context_weight": 0.1, "context_size": 3}
    return [
        kind(name="threshold", settings={"mode": "causal", **near}, **options),
        kind(
            name="budget",
            settings={"mode": "bidirectional", "compute_budget": 0.4, **near},
            **{"dtype": torch.bfloat16, **options},
        ),
        kind(
            name="tome",
            settings={"mode": "bidirectional", **near, "reduction": {"method": "tome", "r": 4}},
            **{"attention": "eager", **options},
        ),
    ]
