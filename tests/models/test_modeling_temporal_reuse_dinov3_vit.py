from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.dinov3_vit.modeling_dinov3_vit import apply_rotary_pos_emb

from hf_ttr import TemporalReuseDINOv3ViTModel
from hf_ttr.planning.plan import ReusePlan
from hf_ttr.planning.planner import Planner

from .cases import ModelCase, assert_near
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
    ],
    [
        dinov3_case("budget", "bidirectional", BUDGET, dtype=torch.bfloat16),
        dinov3_case("gated", "bidirectional", NEAR, {"use_gated_mlp": True, "num_register_tokens": 0}, prefix=1),
    ],
)


class TestTemporalReuseDINOv3ViT(FrameReuseInvariants):
    """The invariants of all frame-wise models."""


def run_reference(model: Any, clip: torch.Tensor, computed: torch.Tensor) -> torch.Tensor:
    """Last hidden states of the computed tokens, frame by frame; all others hold their last keys and values."""
    held: dict[int, list[torch.Tensor]] = {}
    outputs = []
    for frame, is_computed in zip(clip.unbind(1), computed.unbind(1)):
        states, turns = model.embeddings(frame), model.rope_embeddings(frame)
        chosen = is_computed[..., None]
        for number, layer in enumerate(model.model.layer):
            attention, normed = layer.attention, layer.norm1(states)
            query, key, value = (
                part(normed).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
                for part in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            fresh = [*apply_rotary_pos_emb(query, key, *turns), value][1:]
            held[number] = [torch.where(chosen[:, None], new, old) for new, old in zip(fresh, held.get(number, fresh))]
            query = apply_rotary_pos_emb(query, key, *turns)[0]
            weights = (query @ held[number][0].transpose(2, 3) * attention.scaling).softmax(-1)
            attended = (weights @ held[number][1]).transpose(1, 2).flatten(2)
            states = states + layer.layer_scale1(attention.o_proj(attended))
            states = states + layer.layer_scale2(layer.mlp(layer.norm2(states)))
        outputs.append(torch.where(chosen, model.norm(states), outputs[-1] if outputs else model.norm(states)))
    return torch.stack(outputs, dim=1)


@pytest.mark.parametrize("pieces", [[7], [3, 1, 3]], ids=str)
@torch.no_grad()
def test_every_row_is_turned_by_its_own_position(monkeypatch: pytest.MonkeyPatch, pieces: list[int]) -> None:
    case = dinov3_case("by-hand", "causal", {})
    model, clip, cache, age, outputs = case.model(), case.clip(), None, None, []
    computed = torch.rand(2, 7, 39, generator=torch.Generator().manual_seed(0)) < 0.3
    computed[:, :, :3] = computed[:, 0] = True
    expected = run_reference(model, clip, computed)
    for piece, chosen in zip(clip.split(pieces, dim=1), computed.split(pieces, dim=1)):
        plan = ReusePlan.build(chosen, age)
        monkeypatch.setattr(Planner, "plan", lambda *_, plan=plan: plan)
        output = model(piece, past_key_values=cache)
        cache, age = output.past_key_values, plan.age
        outputs.append(output.last_hidden_state)
    assert_near(torch.cat(outputs, dim=1), expected, 1e-5)


@pytest.mark.parametrize("settings", [NEAR, {**NEAR, "threshold": 0}], ids=["packed", "whole"])
@torch.no_grad()
def test_outputs_of_tokens_in_front_alone_are_those_of_all(settings: dict[str, Any]) -> None:
    case = dinov3_case("reads", "causal", settings)
    clip = case.clip()
    expected = case.model()(clip).last_hidden_state
    assert_near(case.model().encode_frames(clip, reads=1).last_hidden_state[:, :, :1], expected[:, :, :1], 1e-5)


@pytest.mark.parametrize("settings", [TOME, PRUNING], ids=["tome", "pruning"])
@pytest.mark.parametrize("threshold", [0, None])
@torch.no_grad()
def test_rows_that_are_left_know_where_they_are(settings: dict[str, Any], threshold: float | None) -> None:
    case = dinov3_case("left", "causal", {**settings, "threshold": threshold})
    model, positions = case.model(), []
    inputs = model.parts.layer_inputs(model, case.clip()[:, 0], {})
    model.parts = type("Recording", (type(model.parts),), {})()
    numbers = torch.arange(39.0)[:, None]
    model.parts.layer_inputs = lambda *_: (
        lambda of_rows: positions.append(of_rows and of_rows(numbers)) or inputs(of_rows)
    )
    with FlopCounterMode(display=False) as counted:
        model.set_attn_implementation("eager")
        output = model(case.clip())
    assert int(output.reuse.multiply_adds.sum()) * 2 == counted.get_total_flops()
    whole = next(rows for rows in positions if rows is not None and rows.dim() == 3)[..., 0]
    assert (whole[:, :3] == torch.arange(3)).all()
    assert 20 < whole.shape[1] < 39
    is_whole_number = whole == whole.round()
    if "tome" in str(settings):
        # A row that others were merged into lies at the mean of all.
        assert not is_whole_number.all()
    else:
        assert is_whole_number.all() and (whole.diff(dim=1) > 0).all()
