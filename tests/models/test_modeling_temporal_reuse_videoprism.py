from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel
from transformers.models.videoprism.modeling_videoprism import eager_attention_forward

from hf_ttr import TemporalReuseVideoPrismForVideoClassification, TemporalReuseVideoPrismVisionModel

from ..tiny import TINY_VIDEOPRISM, make_clip
from . import modeling_invariants
from .cases import ModelCase, WindowCase, assert_near, assert_same, run_pieces
from .fixtures import BUDGET, NEAR, PRUNING, TOME, VIDTOME, case_fixtures
from .modeling_invariants import ClassifierInvariants, WindowReuseInvariants


def _with_flat_logits(forward: Any, *args: Any, **kwargs: Any) -> Any:
    output = forward(*args, **kwargs)
    output["logits"] = output.logits.squeeze(1)
    return output


class FactorizedCase(WindowCase):
    """
    A model that is handed windows, and looks at their frames one by one first.

    Its parent has logits of a dimension more.
    """

    cache_name: ClassVar[str] = "TemporalReuseFactorizedCache"
    layers_name: ClassVar[str] = "num_spatial_layers"

    def parent(self, base: bool = False, seed: int = 0) -> PreTrainedModel:
        parent = super().parent(base, seed)
        if not base:
            parent.forward = partial(_with_flat_logits, parent.forward)
        return parent

    def always_computed(self, plan: torch.Tensor, past: bool = False) -> torch.Tensor:
        return ModelCase.always_computed(self, plan, past)


def videoprism_case(name: str, mode: str, settings: dict[str, Any], **options: Any) -> FactorizedCase:
    return FactorizedCase(
        name=name,
        classifier=TemporalReuseVideoPrismForVideoClassification,
        base=TemporalReuseVideoPrismVisionModel,
        config=TINY_VIDEOPRISM,
        settings={"mode": mode, **settings},
        attention="eager",
        **options,
    )


START = videoprism_case("start", "causal", NEAR)
PLAIN = [videoprism_case("budget", "bidirectional", BUDGET, dtype=torch.bfloat16)]
case, some_case, plain_case, _ = case_fixtures([START], PLAIN)


class TestTemporalReuseVideoPrism(WindowReuseInvariants, ClassifierInvariants):
    """The invariants of all models that are handed windows; what differs where windows are not planned is below."""

    test_identical_windows_cost_next_to_nothing = None
    test_a_still_scene_costs_a_row_for_each_position_once = None
    test_a_known_stride_saves_embeddings_and_changes_nothing = None
    test_a_still_scene_is_recomputed_at_max_age = None

    @pytest.mark.parametrize("base", [False, True], ids=["classifier", "base"])
    def test_an_unknown_keyword_is_refused(self, some_case: WindowCase, base: bool) -> None:
        with pytest.raises(TypeError, match="has no use for 'banana'; leave it out.$"):
            some_case.model(base)(some_case.clip(), banana=1)

    @pytest.mark.parametrize("base", [False, True], ids=["classifier", "base"])
    def test_multiply_adds_are_those_that_a_profiler_counts(self, case: ModelCase, base: bool) -> None:
        # The profiler fails at the parent's pooling where there are no gradients.
        super().test_multiply_adds_are_those_that_a_profiler_counts.__wrapped__(self, case, base)

    attentions = ("flex_attention", "registered")

    @pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
    @pytest.mark.parametrize("base", [False, True], ids=["classifier", "base"])
    def test_attention_implementations_agree(
        self, case: ModelCase, base: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # "sdpa" knows no cap, and the parent refuses it.
        monkeypatch.setattr(modeling_invariants, "eager_attention_forward", eager_attention_forward)
        super().test_attention_implementations_agree(case, base, monkeypatch)

    @torch.no_grad()
    def test_a_known_stride_with_fresh_streams(self, case: WindowCase) -> None:
        model, (first, second) = case.model(), case.windows(2)
        cache = model(first).past_key_values
        alone, _ = run_pieces(model, [first[1:], second[1:]], stride=case.stride)
        cache.reset([0])
        # A fresh stream may show anything.
        second[0] = second[0].flip(0)
        output = model(second, past_key_values=cache, stride=case.stride, output_reuse_plan=True)
        fresh = model(second[:1], output_reuse_plan=True)
        for stream, expected in enumerate((fresh, alone[1])):
            assert_near(output.logits[stream], expected.logits[0], case.tolerance)
            for name, part in expected.reuse.items():
                assert torch.equal(output.reuse[name][stream], part[0]), name


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
@pytest.mark.parametrize("stride", [None, 2])
@torch.no_grad()
def test_a_still_scene_is_looked_at_once(mode: str, stride: int | None) -> None:
    case = START.with_settings(mode=mode, max_age=None)
    model = case.model()
    still = case.clip()[:, :1].repeat(1, case.frames, 1, 1, 1)
    (first, *others), _ = run_pieces(model, [still] * 3, stride=stride)
    assert first.reuse.plan[:, 0].all() and not first.reuse.plan[:, 1:].any()
    dense = int(first.reuse.dense_multiply_adds[0])
    encoder, rows = model.vision_model, case.frames * 36
    over_time = encoder.parts.cost_over_time(encoder, case.frames, 36) + model.head_multiply_adds(rows)
    patches = encoder.parts.cost(encoder, 36).patch
    for output in others:
        assert output.reuse.computed_tokens.tolist() == [0] * case.batch
        assert output.reuse.total_tokens.tolist() == [rows] * case.batch
        assert output.reuse.dense_multiply_adds.tolist() == [dense] * case.batch
        # What is left is the look at time, the patches of what comes in and the plan; causal ones are free.
        plan = output.reuse.multiply_adds - over_time - (stride or case.frames) * patches
        assert (plan == 0).all() if mode == "causal" else (plan < 0.01 * dense).all()
        assert_near(output.logits, first.logits, case.tolerance)


@torch.no_grad()
def test_windows_of_a_known_stride_are_those_of_the_frames_of_the_stream() -> None:
    model, stride = START.model(base=True), 3
    video = make_clip(2, START.frames + 2 * stride, (24, 24))
    # The first part, frame by frame, without windows.
    frames = model.encode_frames(video, output_reuse_plan=True)
    outputs, cache = run_pieces(model, [video[:, start : start + 8] for start in (0, 3, 6)], stride=stride)
    for number, output in enumerate(outputs):
        own = slice(number * stride, number * stride + 8)
        states = output.last_spatial_hidden_state.unflatten(0, (2, 8))
        assert_near(states, frames.last_hidden_state[:, own], 1e-5)
        new = 5 if number else 0
        assert not output.reuse.plan[:, :new].any()
        assert torch.equal(output.reuse.plan[:, new:], frames.reuse.plan[:, own][:, new:])
    assert torch.equal(sum(output.reuse.computed_tokens for output in outputs), frames.reuse.computed_tokens)
    assert cache.window_states.shape == (2, 8, 36, 32)


@pytest.mark.parametrize("settings", [NEAR, TOME, PRUNING, VIDTOME], ids=["plain", "tome", "pruning", "vidtome"])
def test_multiply_adds_of_a_known_stride_are_those_that_a_profiler_counts(settings: dict[str, Any]) -> None:
    model, parent, cache = START.model(**settings), START.parent(), None
    for window in START.windows(2):
        with FlopCounterMode(display=False) as counted:
            output = model(window, past_key_values=cache, stride=START.stride, output_reuse_plan=True)
        with FlopCounterMode(display=False) as counted_dense:
            parent(window)
        cache = output.past_key_values
        assert int(output.reuse.multiply_adds.sum()) * 2 == counted.get_total_flops()
        assert int(output.reuse.dense_multiply_adds.sum()) * 2 == counted_dense.get_total_flops()
        parts = ("computed", "reused", "merged", "pruned")
        by_layer = sum(output.reuse[f"{part}_by_layer"] for part in parts)
        assert torch.equal(by_layer, output.reuse.total_tokens[:, None].expand(-1, 2))
        assert torch.equal(output.reuse.plan.sum((1, 2)), output.reuse.computed_tokens)


@pytest.mark.parametrize("settings", [TOME, PRUNING], ids=["tome", "pruning"])
@torch.no_grad()
def test_streams_with_methods_of_reduction_are_the_same_as_alone(settings: dict[str, Any]) -> None:
    model, windows = START.model(mode="bidirectional", **settings), START.windows(3)
    together, _ = run_pieces(model, windows, stride=2)
    assert (together[0].reuse.merged_by_layer + together[0].reuse.pruned_by_layer).any()
    for stream in range(2):
        alone, _ = run_pieces(model, [window[stream : stream + 1] for window in windows], stride=2)
        for mine, theirs in zip(alone, together):
            assert_near(mine.logits[0], theirs.logits[stream], 1e-5)
            assert torch.equal(mine.reuse.multiply_adds[0], theirs.reuse.multiply_adds[stream])


@torch.no_grad()
def test_where_hidden_states_are_asked_for_every_frame_of_a_window_is_computed() -> None:
    model, parent, windows = START.model(base=True), START.parent(base=True), START.windows(2)
    cache = model(windows[0]).past_key_values
    output = model(windows[1], past_key_values=cache, stride=2, output_hidden_states=True)
    expected = parent(windows[1], output_hidden_states=True)
    assert (output.reuse.computed_share == 1).all()
    for mine, theirs in zip(output.hidden_states, expected.hidden_states, strict=True):
        assert_near(mine, theirs, 1e-5)
    for name in ("last_spatial_hidden_state", "last_temporal_hidden_state"):
        assert_near(output[name], expected[name], 1e-5)


@torch.no_grad()
def test_maps_of_frames_that_were_seen_before() -> None:
    model, cache = START.model(), None
    for number, window in enumerate(START.windows(2)):
        output = model(window, past_key_values=cache, stride=2, output_token_maps=True, output_reuse_plan=True)
        cache, maps = output.past_key_values, output.reuse.maps
        assert torch.equal(maps.computed, output.reuse.plan)
        assert maps.groups.shape == (2, 8, 36, 3)
        own = torch.arange(8 * 36).view(8, 36).expand(2, 8, 36)
        known = maps.computed.clone()
        known[:, : 6 * number] = True
        assert torch.equal(maps.groups[..., 0][known], own[known])
        assert not maps.error[known].any() and not maps.age[known].any()


@torch.no_grad()
def test_other_positions_run_the_parents_own_code() -> None:
    model, parent, clip = START.model(base=True), START.parent(base=True), START.clip()
    output = model(pixel_values_videos=clip, interpolate_pos_encoding=True)
    assert_same(output.last_hidden_state, parent(clip, interpolate_pos_encoding=True).last_hidden_state)
    assert output.past_key_values is None
    cache = model(clip, interpolate_pos_encoding=False).past_key_values
    with pytest.raises(ValueError, match="^past_key_values cannot be used with interpolate_pos_encoding; leave it "):
        model(clip, past_key_values=cache, interpolate_pos_encoding=True)
