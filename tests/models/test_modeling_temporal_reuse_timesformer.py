from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hf_ttr import (
    TemporalReuseTimesformerConfig,
    TemporalReuseTimesformerForVideoClassification,
    TemporalReuseTimesformerModel,
)
from hf_ttr.caching.snapshot import check_cache, load_cache, save_cache
from hf_ttr.execution.kernels.row_buckets import RowBuckets
from hf_ttr.models.window_model import embed_tubelets
from hf_ttr.planning.window_plan import PastSlots, WindowPlan
from hf_ttr.planning.window_planner import WindowPlanner

from ..tiny import TINY_TIMESFORMER
from .cases import WindowCase, assert_near, assert_same, run_pieces
from .modeling_invariants import ClassifierInvariants, WindowReuseInvariants
from .timesformer_reference import run_reference


def timesformer_case(name: str, mode: str, settings: dict[str, Any], **options: Any) -> WindowCase:
    return WindowCase(
        name=name,
        classifier=TemporalReuseTimesformerForVideoClassification,
        base=TemporalReuseTimesformerModel,
        config={**TINY_TIMESFORMER, **options.pop("config", {})},
        prefix=1,
        reads=1,
        settings={"mode": mode, "context_weight": 0.1, "context_size": 3, **settings},
        # The parent has no other.
        attention="eager",
        **options,
    )


CASES = [
    timesformer_case("start", "causal", {}),
    timesformer_case("budget", "bidirectional", {"compute_budget": 0.4}, dtype=torch.bfloat16),
    timesformer_case("spread", "bidirectional", {}),
]


@pytest.fixture(params=CASES[2:], ids=str)
def case(request: pytest.FixtureRequest) -> WindowCase:
    return request.param


@pytest.fixture(params=CASES[:1], ids=str)
def some_case(request: pytest.FixtureRequest) -> WindowCase:
    return request.param


@pytest.fixture(params=CASES[:2], ids=str)
def plain_case(request: pytest.FixtureRequest) -> WindowCase:
    return request.param


class TestTemporalReuseTimesformer(WindowReuseInvariants, ClassifierInvariants):
    """The invariants of all models that see a window at once."""


def random_plan(share: float, past: PastSlots | None, interpolate: bool, seed: int) -> WindowPlan:
    """A plan with about the given share of computed slots; the others take any row of their position."""
    generator = torch.Generator().manual_seed(seed)
    computed = torch.rand(2, 8, 36, generator=generator) < share
    if past is None:
        # At least one for each position.
        computed[:, seed % 8] |= ~computed.any(1)
    sources = torch.rand(2, 8, 8, 36, generator=generator).masked_fill(~computed[:, None], -1).argmax(2)
    if past is not None:
        held = torch.rand(2, 8, 36, generator=generator) < 0.5
        sources[held | ~computed.any(1, keepdim=True)] = -1
    sources = torch.where(computed, torch.arange(8)[:, None], sources)
    return WindowPlan.build(sources, past, interpolate, prefix=1)


@pytest.mark.parametrize(
    ("interpolate", "base", "attention"), [(False, False, "eager"), (True, True, "sdpa")], ids=["hold", "interpolate"]
)
@torch.no_grad()
def test_a_plan_is_carried_out_as_defined(
    monkeypatch: pytest.MonkeyPatch, interpolate: bool, base: bool, attention: str
) -> None:
    case = timesformer_case("by-hand", "bidirectional", {})
    model = case.model(base)
    torch.nn.init.normal_(model.base_model.embeddings.time_embeddings, std=0.2)
    model.set_attn_implementation(attention)
    cache = past = None
    for seed, (window, share) in enumerate(zip(case.windows(4), [0.1, 0.02, 1, 0])):
        plan = random_plan(share, None if cache is None else cache.streams.past, interpolate, seed)
        monkeypatch.setattr(WindowPlanner, "plan", lambda *_, plan=plan: plan)
        output = model(window, past_key_values=cache)
        cache = output.past_key_values
        expected, past = run_reference(model.base_model, window, plan, past)
        expected = model.base_model.layernorm(expected)
        assert_near(case.states(output), expected if base else model.classifier(expected[:, 0]), 1e-5)
        assert len(cache.layers) == len(past.keys) == 4
        for layer, keys, values in zip(cache.layers, past.keys, past.values):
            assert_near(layer.keys.transpose(1, 2).flatten(2)[0], keys, 1e-5)
            assert_near(layer.values.transpose(1, 2).flatten(2)[0], values, 1e-5)


@pytest.mark.parametrize("representative", ["start", "spread"])
@torch.no_grad()
def test_a_still_clip_is_the_parents(representative: str) -> None:
    # No embedding tells one time from another, so that each row is the parent's for all its slots.
    case = timesformer_case("still", "bidirectional", {"representative": representative, "drift_weight": 0})
    still = case.clip()[:, :1].repeat(1, 8, 1, 1, 1)
    for base in (False, True):
        model, parent = case.model(base), case.parent(base)
        output, expected = model(still, output_reuse_plan=True), parent(still)
        assert_near(case.states(output), expected.last_hidden_state if base else expected.logits, 1e-5)
        assert output.reuse.computed_tokens.tolist() == [37, 37]
        if representative == "start":
            assert output.reuse.plan[:, 0].all()


@torch.no_grad()
def test_what_costs_less_in_a_window_of_which_everything_is_computed() -> None:
    case = timesformer_case("start", "causal", {"threshold": 0})
    for base in (False, True):
        model = case.model(base)
        reuse, cost = model(case.clip()).reuse, model.video_encoder.parts.cost(model.video_encoder, 36)
        (saved,) = set((reuse.dense_multiply_adds - reuse.multiply_adds).tolist())
        within = cost.key_value + cost.query_output - cost.over_time
        # The token in front has one row, not one in every frame; it goes along over time.
        expected = 2 * (7 * within - cost.over_time)
        if not base:
            # In the last layer it alone asks, and goes on.
            expected += 288 * cost.row + 8 * 36 * 37 * cost.pair
        assert saved == expected


@pytest.mark.parametrize("attention_type", ["space_only", "joint_space_time"])
@torch.no_grad()
def test_other_attention_is_the_parents_and_reuses_nothing(attention_type: str) -> None:
    words = f"^attention_type is '{attention_type}', but a TimeSformer reuses tokens with 'divided_space_time' alone; "
    with pytest.raises(ValueError, match=words):
        TemporalReuseTimesformerConfig(**TINY_TIMESFORMER, attention_type=attention_type)
    case = timesformer_case("other", "off", {}, config={"attention_type": attention_type})
    clip = case.clip()
    if attention_type == "space_only":
        # The parent takes frames for a batch of it.
        with pytest.raises(ValueError, match=words):
            case.model()(clip, temporal_reuse={"mode": "causal"})
        return
    model = case.model()
    assert_same(model(clip).logits, case.parent()(clip).logits)
    for settings in ({"mode": "causal"}, {"mode": "off", "reduction": {"method": "run_length"}}):
        with pytest.raises(ValueError, match=words):
            model(clip, temporal_reuse=settings)


@pytest.mark.parametrize("method", ["tome", "pruning", "vid_tldr"])
def test_methods_that_work_in_the_layers_are_refused(method: str) -> None:
    settings = {"tome": {"r": 8}, "pruning": {"keep": 0.6}, "vid_tldr": {}}[method]
    words = f"^reduction '{method}' makes tokens fewer from layer to layer, but a TimeSformer attends over time at "
    for mode in ("off", "causal"):
        with pytest.raises(ValueError, match=words):
            timesformer_case(method, mode, {"reduction": {"method": method, **settings}}).model()


@torch.no_grad()
def test_settings_of_a_call_hold_in_the_base_model_too() -> None:
    case = timesformer_case("start", "causal", {})
    model, parent, clip = case.model(), case.parent(), case.clip()
    output = model(clip, temporal_reuse={"mode": "off"})
    assert output.reuse is None
    assert_same(output.logits, parent(clip).logits)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_attentions_are_there_with_any_attention(attention: str) -> None:
    case = timesformer_case("start", "causal", {})
    model, clip = case.model(), case.clip()
    model.set_attn_implementation(attention)
    output, expected = model(clip, output_attentions=True), case.parent()(clip, output_attentions=True)
    assert [part.shape for part in output.attentions] == [(16, 4, 37, 37)] * 2
    for mine, theirs in zip(output.attentions, expected.attentions, strict=True):
        assert_near(mine, theirs, 1e-5)


@pytest.mark.parametrize("mode", ["off", "bidirectional"])
@torch.no_grad()
def test_runs_of_pixels_are_found(mode: str) -> None:
    case = timesformer_case("runs", mode, {"reduction": {"method": "run_length", "threshold": 1e-3}})
    model, still = case.model(), case.clip()[:, :1].repeat(1, 8, 1, 1, 1)
    output = model(still)
    assert output.reuse.computed_tokens.tolist() == [37, 37]
    assert_near(output.logits, case.parent()(still).logits, 1e-5)
    if mode == "off":
        assert output.past_key_values is None
    else:
        assert model(still, past_key_values=output.past_key_values).reuse.computed_tokens.tolist() == [1, 1]


@torch.no_grad()
def test_a_snapshot_goes_on(tmp_path: Path) -> None:
    case = timesformer_case("start", "causal", {}, batch=1)
    model, (first, second) = case.model(), case.windows(2)
    cache = model(first).past_key_values
    save_cache(cache, tmp_path / "stream.safetensors")
    read, _, _ = load_cache(tmp_path / "stream.safetensors")
    check_cache(read, model.config)
    expected = model(second, past_key_values=cache, stride=2)
    assert_same(model(second, past_key_values=read, stride=2).logits, expected.logits)


@torch.no_grad()
def test_padded_rows_give_the_same() -> None:
    case = timesformer_case("start", "bidirectional", {})
    model, plain = case.model(), case.model()
    model.video_encoder.row_buckets = RowBuckets(64)
    for mine, theirs in zip(*(run_pieces(each, case.windows(3))[0] for each in (model, plain))):
        assert_near(mine.logits, theirs.logits, 1e-5)


@torch.no_grad()
def test_maps_are_of_the_slots() -> None:
    case = timesformer_case("maps", "causal", {})
    model, cache = case.model(), None
    for window in case.windows(2):
        output = model(window, past_key_values=cache, output_token_maps=True, output_reuse_plan=True)
        cache, maps = output.past_key_values, output.reuse.maps
        assert torch.equal(maps.computed, output.reuse.plan)
        assert maps.groups.shape == (2, 8, 36, 3)
        assert not maps.error[maps.computed].any()


@torch.no_grad()
def test_windows_of_a_stream_compute_what_is_new_in_their_slots() -> None:
    # One layer: what is held has no context, so that the token in front is exactly the parent's.
    settings = {"threshold": 1e-3, "window_weight": 0}
    case = timesformer_case("one-layer", "causal", settings, config={"num_hidden_layers": 1})
    model, parent, (first, second) = case.model(), case.parent(), case.windows(2)
    second[:, 2:] = first[:, 2:]
    outputs, _ = run_pieces(model, [first, first, second])
    assert outputs[1].reuse.computed_tokens.tolist() == [1, 1]
    assert (outputs[2].reuse.computed_tokens <= 1 + 2 * 36).all()
    for output, window in zip(outputs[:2], [first, first]):
        assert_near(output.logits, parent(window).logits, 1e-5)


@torch.no_grad()
def test_frames_with_a_hooked_projection_are_embedded_by_it() -> None:
    projection = torch.nn.Conv2d(3, 8, 4, stride=4)
    frames = torch.randn(2, 5, 3, 8, 12)
    expected = embed_tubelets(projection, frames)
    assert expected.shape == (2, 5, 6, 8)
    calls = []
    projection.register_forward_pre_hook(lambda module, inputs: calls.append(module))
    assert_near(embed_tubelets(projection, frames), expected, 1e-5)
    assert calls == [projection]
