"""What has to hold for models in which rows are merged or left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hf_ttr.planning.plan import ReusePlan
from hf_ttr.planning.planner import Planner

from ..models.cases import ModelCase, assert_near, assert_same, run_pieces
from ..models.test_modeling_temporal_reuse_videomae import videomae_case
from ..models.test_modeling_temporal_reuse_vit import random_masks, vit_case
from .loops import merge_by_loops
from .plan_reference import run_reduced


TOME = {"method": "tome", "r": 4}
PRUNING = {"method": "pruning", "keep": 0.6, "layers": [0, 2]}
RANDOM = {"method": "pruning", "keep": 0.6, "by": "random"}
VID_TLDR = {"method": "vid_tldr", "r": [12, 5]}
METHODS = pytest.mark.parametrize(
    "reduction",
    [TOME, PRUNING, RANDOM, VID_TLDR, [VID_TLDR, TOME, PRUNING]],
    ids=["tome", "pruning", "random", "vid-tldr", "all"],
)
NEAR = {"context_weight": 0.1, "context_size": 3}
VIT = vit_case("reduced", "bidirectional", NEAR)
VIDEOMAE = videomae_case("reduced", "bidirectional", NEAR)
FIRST_TOKEN = videomae_case("first-token", "bidirectional", NEAR, config={"use_mean_pooling": False})
CASES = pytest.mark.parametrize("case", [VIT, VIDEOMAE, FIRST_TOKEN], ids=str)
BASE = pytest.mark.parametrize("base", [False, True], ids=["classifier", "base"])


@CASES
@BASE
@pytest.mark.parametrize("mode", ["off", "bidirectional"])
@torch.no_grad()
def test_nothing_to_merge_is_no_reduction_bit_for_bit(case: ModelCase, base: bool, mode: str) -> None:
    settings: dict[str, Any] = {"mode": mode, "reduction": [{"method": "tome", "r": 0}]}
    output, expected = case.model(base, **settings)(case.clip()), case.model(base, mode=mode)(case.clip())
    assert_same(case.states(output), case.states(expected))
    assert (output.reuse is None) == (mode == "off")


@CASES
@BASE
@METHODS
@torch.no_grad()
def test_threshold_0_is_reduction_alone(case: ModelCase, base: bool, reduction: Any) -> None:
    clip = case.clip()
    alone = case.model(base, mode="off", reduction=reduction)(clip)
    dense = case.model(base, mode="off")(clip)
    for mode in ("causal", "bidirectional"):
        output = case.model(base, mode=mode, threshold=0, reduction=reduction)(clip)
        assert_near(case.states(output), case.states(alone), 1e-5)
        assert (output.reuse.computed_share == 1).all()
    assert not torch.allclose(case.states(alone), case.states(dense), atol=1e-3)
    assert alone.past_key_values is None
    # Looking at the sharpness of attention is dear in a tiny model.
    if reduction is not VID_TLDR and not isinstance(reduction, list):
        assert (alone.reuse.multiply_adds < alone.reuse.dense_multiply_adds).all()


@torch.no_grad()
def reference(model: Any, frame: torch.Tensor, merges: list[int]) -> torch.Tensor:
    """CLS state of one frame: the layers of the model's weights, with merging by loops and keys repeated by size."""
    states = model.embeddings(frame)[0]
    sizes = torch.ones(len(states), dtype=states.dtype)
    for layer, count in zip(model.layers, merges, strict=True):
        attention, normed = layer.attention, layer.layernorm_before(states)
        heads = [
            projection(normed).unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        ]
        query, key, value = heads
        repeated = torch.arange(len(states)).repeat_interleave(sizes.long())
        scores = query @ key[:, repeated].transpose(1, 2) * attention.scaling
        output = (scores.softmax(-1) @ value[:, repeated]).transpose(0, 1).flatten(1)
        states = states + attention.o_proj(output)
        if count:
            states, sizes, _ = merge_by_loops(states, sizes, key.mean(0), count, 1)
        states = states + layer.mlp(layer.layernorm_after(states))
    return model.layernorm(states)[0]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("r", [4, [18, 1, 5]], ids=str)
@torch.no_grad()
def test_a_vit_is_that_of_a_dense_implementation(r: Any, attention: str) -> None:
    case = replace(VIT, dtype=torch.float64, attention=attention)
    clip = case.clip()
    model = case.model(mode="off", reduction={"method": "tome", "r": r})
    merges = [r] * 3 if isinstance(r, int) else r
    # Of the last layer only CLS is read, so that nothing is merged in it.
    states = torch.stack([reference(model.vit, frame[None], merges) for frame in clip.flatten(0, 1).double()])
    output = model(clip)
    assert_near(output.frame_logits.flatten(0, 1), model.classifier(states), 1e-6)
    with_cache = case.model(threshold=0, reduction={"method": "tome", "r": r})(clip)
    assert_near(with_cache.frame_logits.flatten(0, 1), model.classifier(states), 1e-6)


@pytest.mark.parametrize("mode", ["off", "causal"])
@BASE
@torch.no_grad()
def test_merged_duplicates_are_duplicates(base: bool, mode: str) -> None:
    settings: dict[str, Any] = {"mode": mode, "threshold": None if mode == "off" else 0}
    plain, merging = (
        VIT.model(base, **settings, reduction=reduction) for reduction in (None, {"method": "tome", "r": [18, 0, 0]})
    )
    clip = VIT.clip()
    # Patches 1 and 2, 3 and 4, and so on are the same; CLS is in front, so one of each pair looks and one is found.
    clip[..., 4:8], clip[..., 12:16], clip[..., 20:24] = clip[..., 0:4], clip[..., 8:12], clip[..., 16:20]
    for model in (plain, merging):
        model.base_model.embeddings.position_embeddings.zero_()
    output, expected = merging(clip), plain(clip)
    assert_near(VIT.states(output), VIT.states(expected), 1e-5)


@torch.no_grad()
def test_without_proportional_attention_duplicates_count_once() -> None:
    clip = VIT.clip()
    outputs = [
        VIT.model(mode="off", reduction={**TOME, "proportional_attention": flag})(clip).logits
        for flag in (True, False)
    ]
    assert not torch.allclose(*outputs, atol=1e-4)


@pytest.mark.parametrize("count", [1, 3, 7])
@BASE
@METHODS
@torch.no_grad()
def test_frames_in_parallel_are_frames_one_by_one(count: int, base: bool, reduction: Any) -> None:
    model = VIT.model(base, mode="causal", reduction=reduction)
    whole, _ = run_pieces(model, [VIT.clip()])
    pieces, _ = run_pieces(model, VIT.clip().split(count, dim=1))
    assert_near(torch.cat([VIT.states(piece) for piece in pieces], 1), VIT.states(whole[0]), 1e-5)
    total = sum(piece.reuse.multiply_adds for piece in pieces)
    assert torch.equal(total, whole[0].reuse.multiply_adds)


@torch.no_grad()
def test_an_image_classifier_merges() -> None:
    case, frames = VIT, VIT.clip()[:, 0]
    model = case.model(single_frames=True, mode="off", reduction=TOME)
    output = model(frames)
    video = case.model(mode="off", reduction=TOME)(frames[:, None])
    assert_near(output.logits, video.logits, 1e-5)


@torch.no_grad()
def test_hidden_states_are_of_the_rows_that_are_left() -> None:
    output = VIT.model(base=True, reduction=TOME)(VIT.clip(), output_hidden_states=True)
    assert [states.shape[2] for states in output.hidden_states] == [37, 33, 29, 25]
    assert output.last_hidden_state.shape[2] == 37


@pytest.mark.parametrize("case", [VIT, VIDEOMAE], ids=str)
@METHODS
@torch.no_grad()
def test_every_token_is_accounted_for_in_every_layer(case: ModelCase, reduction: Any) -> None:
    report = case.model(base=True, reduction=reduction)(case.clip()).reuse
    names = ("computed", "reused", "merged", "pruned")
    computed, reused, merged, pruned = (report[f"{name}_by_layer"] for name in names)
    assert computed.shape == (case.batch, 3)
    assert torch.equal(computed + reused + merged + pruned, report.total_tokens[:, None].expand(-1, 3))
    assert torch.equal(computed[:, 0], report.computed_tokens)
    assert (reused == reused[:, :1]).all()
    methods = [reduction] if isinstance(reduction, dict) else reduction
    prunes = [method["method"] == "pruning" for method in methods]
    assert bool((pruned[:, -1] > 0).all()) == any(prunes)
    assert bool((merged[:, -1] > 0).all()) == (not all(prunes))
    plain = case.model(base=True)(case.clip()).reuse
    assert torch.equal(plain.computed_by_layer, plain.computed_tokens[:, None].expand(-1, 3))
    assert not plain.merged_by_layer.any() and not plain.pruned_by_layer.any()


@pytest.mark.parametrize(("r", "keep"), [(0, 0.6), (6, 1.0), (4, 0.7)], ids=["pruning", "tome", "tome-and-pruning"])
@pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
@BASE
@torch.no_grad()
def test_a_plan_is_carried_out_as_defined(
    monkeypatch: pytest.MonkeyPatch, base: bool, interpolate: bool, r: int, keep: float
) -> None:
    reduction = [{"method": "tome", "r": r}, {"method": "pruning", "keep": keep, "layers": [0, 1]}]
    model, clip = VIT.model(base, reduction=reduction), VIT.clip()
    plans = [ReusePlan.build(random_masks([1, 0.1, 0.5, 0]), None, interpolate)]
    for shares in ([0], [0.7, 0, 1, 0.05], [1], [0.02]):
        plans.append(ReusePlan.build(random_masks(shares), plans[-1].age, interpolate, record_saliency=True))
    pieces = [clip[:, :4], clip[:, 4:5], clip[:, [5, 6, 2, 0]], clip[:, 3:4], clip[:, 1:2]]
    cache = past = None
    for plan, piece in zip(plans, pieces):
        monkeypatch.setattr(Planner, "plan", lambda *_, plan=plan: plan)
        output = model(piece, past_key_values=cache)
        cache = output.past_key_values
        # Of the last layer only CLS is read by a classifier: nothing is merged in it.
        layers = 3 if base else 2
        expected, past = run_reduced(model.base_model, piece, plan, past, r, keep, (0, 1), layers)
        if not base:
            expected = model.classifier(expected[:, :, 0])
        assert_near(VIT.states(output), expected, 1e-5)
