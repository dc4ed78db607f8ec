"""Checkpoints of the parents of frame-wise models, with the key names of old, load without a missing weight."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file

import hf_ttr

from ..tiny import make_clip
from .cases import assert_same
from .fixtures import TINY_FRAMES


# Key names of today, and of transformers before version 5.
VIT_NAMES = [
    (r"(^|\.)layers\.(\d+)\.", r"\1encoder.layer.\2."),
    (r"attention\.q_proj", "attention.attention.query"),
    (r"attention\.k_proj", "attention.attention.key"),
    (r"attention\.v_proj", "attention.attention.value"),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
]
DINO_NAMES = [*VIT_NAMES[1:5], (r"mlp\.down_proj", "mlp.weights_out")]
DINO = {name: value for name, value in TINY_FRAMES.items() if name != "intermediate_size"} | {"mlp_ratio": 2}
MODELS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "DeiT": (TINY_FRAMES, VIT_NAMES),
    "ViTMSN": (TINY_FRAMES, VIT_NAMES),
    "IJepa": (TINY_FRAMES, VIT_NAMES),
    "Dinov2": ({**DINO, "use_swiglu_ffn": True}, DINO_NAMES),
    "Dinov2WithRegisters": ({**DINO, "use_swiglu_ffn": True}, DINO_NAMES),
    "DINOv3ViT": ({**TINY_FRAMES, "num_register_tokens": 2}, [(r"^model\.layer\.", "layer.")]),
}
HEADS = {"DeiT": ["ForImageClassification", "ForImageClassificationWithTeacher"], "DINOv3ViT": []}


def old_weights(model: transformers.PreTrainedModel, names: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
    weights = {}
    for name, weight in model.state_dict().items():
        for new, old in names:
            name = re.sub(new, old, name)
        weights[name] = weight.clone()
    # Both halves of a gated MLP were one.
    for name in [name for name in weights if "mlp.gate_proj" in name]:
        parts = weights.pop(name), weights.pop(name.replace("gate_proj", "up_proj"))
        weights[name.replace("gate_proj", "weights_in")] = torch.cat(parts)
    return weights


@pytest.mark.parametrize(
    ("family", "kind"),
    [(family, kind) for family in MODELS for kind in [*HEADS.get(family, ["ForImageClassification"]), "Model"]],
)
@pytest.mark.parametrize("names", ["old-names", "new-names"])
@torch.no_grad()
def test_a_checkpoint_loads_without_a_word(
    family: str, kind: str, names: str, tmp_path: Path, transformers_log: list[str]
) -> None:
    config, renamed = MODELS[family]
    torch.manual_seed(0)
    parent = getattr(transformers, family + kind)(getattr(transformers, f"{family}Config")(**config)).eval()
    parent.config.architectures = [type(parent).__name__]
    parent.config.save_pretrained(tmp_path)
    weights = old_weights(parent, renamed if names == "old-names" else [])
    if names == "new-names":
        weights = {name: weight.clone() for name, weight in parent.state_dict().items()}
    else:
        assert weights.keys() != parent.state_dict().keys()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})

    clip = make_clip(batch=1, frames=2)
    expected = parent(clip[0])
    for own in dict.fromkeys([kind, kind.replace("ForImage", "ForVideo")]):
        model_class = getattr(hf_ttr, f"TemporalReuse{family}{own}")
        model, report = model_class.from_pretrained(tmp_path, temporal_reuse={"mode": "off"}, output_loading_info=True)
        assert not {name: part for name, part in report.items() if part}
        assert transformers_log == []
        assert model.config.model_type == f"temporal_reuse_{parent.config.model_type}"
        if own == "Model":
            assert_same(model(clip).last_hidden_state[0], expected.last_hidden_state)
        elif own == kind:
            assert_same(model(clip[0]).logits, expected.logits)
        else:
            assert_same(model(clip).frame_logits[0], expected.logits)
