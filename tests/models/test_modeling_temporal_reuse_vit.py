from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTModel

from hf_ttr import (
    TemporalReuseViTConfig,
    TemporalReuseViTForImageClassification,
    TemporalReuseViTForVideoClassification,
    TemporalReuseViTModel,
)
from hf_ttr.planning.plan import ReusePlan
from hf_ttr.planning.planner import Planner

from ..tiny import TINY_VIT, make_clip
from .cases import ModelCase, assert_near, with_and_without_a_head
from .modeling_invariants import FrameClassifierInvariants, FrameReuseInvariants, MaskInvariants
from .vit_reference import run_reference


def vit_case(name: str, mode: str, settings: dict[str, Any], **options: Any) -> ModelCase:
    return ModelCase(
        name=name,
        classifier=TemporalReuseViTForVideoClassification,
        base=TemporalReuseViTModel,
        frame_classifier=TemporalReuseViTForImageClassification,
        config=TINY_VIT,
        settings={"mode": mode, **settings},
        **options,
    )


def vit_cases(mode: str) -> list[ModelCase]:
    # The clips are noise, in which a wide neighbourhood finds a change everywhere.
    near = {"context_weight": 0.1, "context_size": 3}
    return [
        vit_case("threshold", mode, near),
        vit_case("no-saliency", mode, {"saliency_weight": 0, "context_weight": 0, "max_age": 3}, attention="eager"),
        vit_case("budget", mode, {"compute_budget": 0.4, **near}, batch=3, frames=8),
        vit_case("threshold", mode, near, dtype=torch.bfloat16),
        vit_case("tome", mode, {**near, "reduction": {"method": "tome", "r": 4}}),
        vit_case("pruning", mode, {**near, "reduction": {"method": "pruning", "keep": 0.6, "layers": [0, 1]}}),
    ]


CAUSAL, BIDIRECTIONAL = vit_cases("causal"), vit_cases("bidirectional")
# What merges across the frames of a call depends on where a call ends.
BIDIRECTIONAL.append(vit_case("vidtome", "bidirectional", {"reduction": {"method": "vidtome", "chunk": 3}}))


# In this order, what is tested with a head in one mode is tested without in the other.
@pytest.fixture(params=with_and_without_a_head([*CAUSAL, BIDIRECTIONAL[-1], *BIDIRECTIONAL[:-1]]), ids=str)
def case(request: pytest.FixtureRequest) -> ModelCase:
    return request.param


@pytest.fixture(params=[CAUSAL[0], BIDIRECTIONAL[1]], ids=str)
def some_case(request: pytest.FixtureRequest) -> ModelCase:
    """For what does not hang on the settings: the handling of arguments, of copies, and of the grad mode."""
    return request.param


@pytest.fixture(params=[case for case in CAUSAL + BIDIRECTIONAL if not case.reduces], ids=str)
def plain_case(request: pytest.FixtureRequest) -> ModelCase:
    return request.param


@pytest.fixture(params=CAUSAL, ids=str)
def causal_case(request: pytest.FixtureRequest) -> ModelCase:
    return request.param


class TestTemporalReuseViT(FrameReuseInvariants, FrameClassifierInvariants, MaskInvariants):
    """The invariants of all frame-wise models."""


def random_masks(shares: list[float], batch: int = 2, tokens: int = 37) -> torch.Tensor:
    """Frames with about the given shares of computed tokens; 1 is a whole frame, 0 the CLS token alone."""
    generator = torch.Generator().manual_seed(len(shares))
    computed = torch.stack([torch.rand(batch, tokens, generator=generator) < share for share in shares], dim=1)
    computed[:, :, 0] = True
    return computed


@pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
@pytest.mark.parametrize(("base", "attention"), [(False, "eager"), (True, "sdpa")], ids=["classifier", "base"])
@torch.no_grad()
def test_a_plan_is_carried_out_as_defined(
    monkeypatch: pytest.MonkeyPatch, base: bool, interpolate: bool, attention: str
) -> None:
    case = vit_case("by-hand", "bidirectional", {}, attention=attention)
    model, clip = case.model(base), case.clip()
    plans = [ReusePlan.build(random_masks([1, 0.1, 0.5, 0]), None, interpolate)]
    for shares in ([0], [0.7, 0, 1, 0.05], [0.02]):
        plans.append(ReusePlan.build(random_masks(shares), plans[-1].age, interpolate, record_saliency=True))
    pieces = [clip[:, :4], clip[:, 4:5], clip[:, [5, 6, 2, 0]], clip[:, 1:2]]
    cache = past = None
    for plan, piece in zip(plans, pieces):
        monkeypatch.setattr(Planner, "plan", lambda self, patches, streams, spent, plan=plan: plan)
        output = model(piece, past_key_values=cache)
        cache = output.past_key_values
        expected, past = run_reference(model.base_model, piece, plan, past)
        if not base:
            expected = model.classifier(expected[:, :, 0])
        assert_near(case.states(output), expected, 1e-5)
        for layer, keys, values in zip(cache.layers, past.keys, past.values):
            assert_near(layer.keys.transpose(1, 2).flatten(2).flatten(0, 1), torch.stack(keys), 1e-5)
            assert_near(layer.values.transpose(1, 2).flatten(2).flatten(0, 1), torch.stack(values), 1e-5)


@pytest.mark.parametrize("budget", [0.3, 0.5, 0.8])
@torch.no_grad()
def test_a_clip_meets_its_budget(budget: float) -> None:
    case = vit_case("budget", "bidirectional", {"compute_budget": budget, "scene_cut": 1}, batch=3, frames=14)
    shares = case.model()(case.clip()).reuse.computed_share
    assert (shares <= budget).all()
    assert (shares > budget - 0.1).any()


@pytest.mark.parametrize("budget", [0.1, 0.3, 0.5])
@torch.no_grad()
def test_a_frame_of_a_live_stream_meets_its_budget(budget: float) -> None:
    case = vit_case("budget", "causal", {"compute_budget": budget, "scene_cut": 1}, batch=3, frames=9)
    computed = case.model()(case.clip(), output_reuse_plan=True).reuse.plan.sum(-1)
    assert (computed[:, 0] == 37).all()
    assert (computed[:, 1:] <= math.ceil(budget * 37)).all()
    assert (computed[:, 1:] >= math.floor(budget * 37)).any()


@torch.no_grad()
def test_the_planner_remembers_the_attention_of_the_cls_token() -> None:
    case = vit_case("saliency", "causal", {})
    frame = case.clip()[:, :1]
    saliency = case.model()(frame).past_key_values.streams.saliency
    parent = case.parent()
    parent.set_attn_implementation("eager")
    attentions = torch.stack(parent(frame[:, 0], output_attentions=True).attentions)
    assert_near(saliency, attentions[:, :, :, 0, 1:].mean((0, 2)), 1e-5)


@pytest.mark.parametrize("size", [(24, 24), (32, 32), (20, 36)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
@torch.no_grad()
def test_other_resolutions(mode: str, size: tuple[int, int]) -> None:
    case = vit_case("resolution", mode, {"threshold": 0}, size=size)
    clip = case.clip()
    expected = case.parent()(clip.flatten(0, 1), interpolate_pos_encoding=True).logits
    for settings, tolerance in (({"mode": "off"}, 0), ({}, 1e-5)):
        output = case.model(**settings)(clip, interpolate_pos_encoding=True)
        assert_near(output.frame_logits.flatten(0, 1), expected, tolerance)
    patches = (size[0] // 4) * (size[1] // 4)
    output = case.model(threshold=None)(clip[:, [0, 0]], interpolate_pos_encoding=True)
    assert output.reuse.computed_tokens.tolist() == [patches + 2] * 2


@torch.no_grad()
def test_the_cache_of_another_resolution_is_refused() -> None:
    case = vit_case("resolution", "causal", {})
    model = case.model()
    cache = model(case.clip()).past_key_values
    larger = torch.zeros(2, 1, 3, 32, 24)
    words = "was filled with resolution 24 x 24, but is now used with resolution 32 x 24; start a new stream"
    with pytest.raises(ValueError, match=words):
        model(larger, interpolate_pos_encoding=True, past_key_values=cache)


@torch.no_grad()
def test_a_rectangular_model_with_grey_frames() -> None:
    config = {**TINY_VIT, "image_size": (16, 28), "num_channels": 1, "qkv_bias": False}
    clip = torch.randn(2, 1, 1, 16, 28).repeat(1, 4, 1, 1, 1)
    torch.manual_seed(0)
    parent = ViTForImageClassification(ViTConfig(**config)).eval()
    model = TemporalReuseViTForVideoClassification(TemporalReuseViTConfig(**config)).eval()
    model.load_state_dict(parent.state_dict())
    output = model(clip)
    assert_near(output.frame_logits[:, 0], parent(clip[:, 0]).logits, 1e-5)
    assert output.reuse.computed_tokens.tolist() == [29 + 3] * 2


@torch.no_grad()
def test_masked_patches_are_masked_in_every_frame() -> None:
    case = vit_case("masked", "causal", {"threshold": 0})
    parent = ViTModel(ViTConfig(**TINY_VIT), use_mask_token=True).eval()
    parent.embeddings.mask_token.normal_()
    config = TemporalReuseViTConfig(**TINY_VIT, temporal_reuse=case.settings)
    model = TemporalReuseViTModel(config, use_mask_token=True).eval()
    model.load_state_dict(parent.state_dict())
    clip = case.clip()
    mask = torch.rand(2, 36) < 0.3
    expected = parent(clip.flatten(0, 1), bool_masked_pos=mask.repeat_interleave(case.frames, 0)).last_hidden_state
    for mode, tolerance in (("causal", 1e-5), ("off", 0)):
        model.config.temporal_reuse.mode = mode
        output = model(clip, bool_masked_pos=mask)
        assert_near(output.last_hidden_state.flatten(0, 1), expected, tolerance)


@torch.no_grad()
def test_a_model_without_labels_gives_the_cls_state() -> None:
    model = TemporalReuseViTForVideoClassification(TemporalReuseViTConfig(**{**TINY_VIT, "num_labels": 0})).eval()
    output = model(make_clip())
    assert output.logits.shape == (2, TINY_VIT["hidden_size"])
    assert output.reuse is not None


@torch.no_grad()
def test_a_stream_that_is_computed_whole_costs_the_same_beside_others() -> None:
    model = vit_case("threshold", "bidirectional", {"context_weight": 0}).model()
    still = make_clip(batch=1, frames=1).repeat(1, 4, 1, 1, 1)
    cuts = torch.randn(1, 4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    alone, together = model(cuts), model(torch.cat([cuts, still]))
    assert alone.reuse.computed_share == 1
    assert together.reuse.computed_share[1] < 1
    assert torch.equal(together.reuse.multiply_adds[:1], alone.reuse.multiply_adds)
    assert_near(together.frame_logits[:1], alone.frame_logits, 1e-5)
