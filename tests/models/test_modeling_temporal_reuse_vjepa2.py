from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from hf_ttr import TemporalReuseVJEPA2ForVideoClassification, TemporalReuseVJEPA2Model

from ..tiny import TINY_VJEPA2, make_clip
from .cases import WindowCase, assert_near, assert_same, run_pieces
from .modeling_invariants import ClassifierInvariants, WindowReuseInvariants


class VJEPA2Case(WindowCase):
    """The parent without its predictor, which there is none of with reuse."""

    def parent(self, base: bool = False, seed: int = 0) -> PreTrainedModel:
        parent = super().parent(base, seed)
        if base:
            parent.forward = partial(parent.forward, skip_predictor=True)
        return parent


def vjepa2_case(name: str, mode: str, settings: dict[str, Any], **options: Any) -> VJEPA2Case:
    return VJEPA2Case(
        name=name,
        classifier=TemporalReuseVJEPA2ForVideoClassification,
        base=TemporalReuseVJEPA2Model,
        config={**TINY_VJEPA2, **options.pop("config", {})},
        settings={"mode": mode, "context_weight": 0.1, "context_size": 3, **settings},
        **options,
    )


CASES = [
    vjepa2_case("start", "causal", {}),
    vjepa2_case("budget", "bidirectional", {"compute_budget": 0.4}, dtype=torch.bfloat16),
    vjepa2_case("tome", "bidirectional", {"reduction": {"method": "tome", "r": 12}}),
]


@pytest.fixture(params=CASES[::2], ids=str)
def case(request: pytest.FixtureRequest) -> WindowCase:
    return request.param


@pytest.fixture(params=CASES[:1], ids=str)
def some_case(request: pytest.FixtureRequest) -> WindowCase:
    return request.param


@pytest.fixture(params=CASES[:2], ids=str)
def plain_case(request: pytest.FixtureRequest) -> WindowCase:
    return request.param


class TestTemporalReuseVJEPA2(WindowReuseInvariants, ClassifierInvariants):
    """The invariants of all models that see a window at once."""

    @torch.no_grad()
    def test_a_known_stride_with_fresh_streams(self, case: WindowCase) -> None:
        model, (first, second) = case.model(), case.windows(2)
        cache = model(first).past_key_values
        cache.reset([0])
        second[0] = second[0].flip(0)
        output = model(second, past_key_values=cache, stride=case.stride, output_reuse_plan=True)
        alone = model(second[:1], output_reuse_plan=True)
        assert torch.equal(output.reuse.plan[:1], alone.reuse.plan)
        assert_near(case.states(output)[:1], case.states(alone), case.tolerance)


# What is held has error 0 and what comes in is computed.
ONLY_NEW = {"sliding": True, "threshold": 1e-3, "window_weight": 0, "drift_weight": 1, "max_age": None}


def moving(frames: int, batch: int = 2) -> torch.Tensor:
    """Frames in which everything changes."""
    return torch.randn(batch, frames, 3, 24, 24, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("stride", "attention"), [(2, "eager"), (2, "sdpa"), (6, "sdpa")])
@torch.no_grad()
def test_a_sliding_window_computes_what_is_new_where_it_is(stride: int, attention: str) -> None:
    # One layer: keys have no context, so that what is new is exactly that of the parent if all keys are in place.
    case = vjepa2_case("one-layer", "causal", ONLY_NEW, config={"num_hidden_layers": 1}, attention=attention)
    model, parent = case.model(base=True), case.parent(base=True)
    video, cache = moving(8 + 12 * stride), None
    for number in range(13):
        window = video[:, number * stride : number * stride + 8]
        output = model(window, past_key_values=cache, stride=stride, output_reuse_plan=True)
        cache, new = output.past_key_values, stride // 2 if number else 4
        expected = torch.arange(4)[None, :, None].expand(2, 4, 36) >= 4 - new
        assert torch.equal(output.reuse.plan, expected)
        states, own = (part.unflatten(1, (4, 36)) for part in (output.last_hidden_state, parent(window)[0]))
        assert_near(states[:, -new:], own[:, -new:], 1e-5)


@torch.no_grad()
def test_what_is_held_moves_with_the_window() -> None:
    case = vjepa2_case("start", "causal", ONLY_NEW)
    model, video = case.model(base=True), moving(14)
    outputs, _ = run_pieces(model, [video[:, start : start + 8] for start in (0, 2, 6)], stride=None)
    first, second, third = run_pieces_by(model, video, [0, 2, 6])
    assert torch.equal(second.last_hidden_state[:, :108], first.last_hidden_state[:, 36:])
    assert torch.equal(third.last_hidden_state[:, :72], second.last_hidden_state[:, 72:])
    assert [int(output.reuse.computed_tokens[0]) for output in (first, second, third)] == [144, 36, 72]
    # Without a stride slots stay, and what moves on is computed anew.
    assert [int(output.reuse.computed_tokens[0]) for output in outputs] == [144, 144, 144]
    # Nor do they move with one unless that is asked for.
    model.config.temporal_reuse.sliding = False
    fixed = run_pieces_by(model, video, [0, 2, 6])
    assert [int(output.reuse.computed_tokens[0]) for output in fixed] == [144, 144, 144]
    assert_near(fixed[2].last_hidden_state, outputs[2].last_hidden_state, 1e-5)


def run_pieces_by(model: PreTrainedModel, video: torch.Tensor, starts: list[int]) -> list[Any]:
    """Windows that begin at the given frames."""
    outputs, cache, before = [], None, 0
    for start in starts:
        stride = start - before or None
        output = model(video[:, start : start + 8], past_key_values=cache, stride=stride)
        cache, before = output.past_key_values, start
        outputs.append(output)
    return outputs


@torch.no_grad()
def test_a_still_scene_that_slides_is_computed_as_time_goes_on() -> None:
    case = vjepa2_case("start", "causal", {"sliding": True, "threshold": 0.4, "drift_weight": 0.04, "max_age": None})
    still = make_clip(2, 1)[:, :1].repeat(1, 8, 1, 1, 1)
    outputs, cache = run_pieces(case.model(), [still] * 12, stride=2)
    shares = [float(output.reuse.computed_share[0]) for output in outputs]
    # Far less than the 0.25 that come in with each window, but not nothing: what is held would lie in the past.
    assert 0 < sum(shares[1:]) / 11 < 0.15
    times = torch.div(cache.streams.row_slots, 36, rounding_mode="floor")
    assert (times >= 0).all() and (times < 4).all()


@torch.no_grad()
def test_both_names_of_the_input_are_taken() -> None:
    for base in (False, True):
        for settings in ({}, {"mode": "off"}):
            case = vjepa2_case("start", "causal", {})
            model, clip = case.model(base, **settings), case.clip()
            outputs = model(clip), model(pixel_values=clip), model(pixel_values_videos=clip)
            for output in outputs[1:]:
                assert_same(case.states(output), case.states(outputs[0]))


@torch.no_grad()
def test_the_predictor_is_the_parents_and_keeps_tokens_from_being_reused() -> None:
    case = vjepa2_case("start", "causal", {})
    parent, clip = WindowCase.parent(case, base=True), case.clip()
    masks = {"context_mask": [torch.arange(50).repeat(2, 1)], "target_mask": [torch.arange(50, 144).repeat(2, 1)]}
    off, on = case.model(base=True, mode="off"), case.model(base=True)
    for options in ({}, masks):
        expected = parent(clip, **options)
        output = off(clip, **options)
        assert_same(output.predictor_output.last_hidden_state, expected.predictor_output.last_hidden_state)
        assert_same(output.masked_hidden_state, expected.masked_hidden_state)
    assert_same(on(clip, **masks).predictor_output.last_hidden_state, expected.predictor_output.last_hidden_state)
    assert on(clip).predictor_output is None
    assert on(clip, skip_predictor=True).reuse is not None
    assert on(clip, skip_predictor=False).predictor_output is not None
    cache = on(clip).past_key_values
    with pytest.raises(ValueError, match="^past_key_values cannot be used with context_mask; leave it out.$"):
        on(clip, past_key_values=cache, **masks)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("reduction", [None, {"method": "tome", "r": 12}], ids=["all", "merged"])
@torch.no_grad()
def test_the_head_reads_each_row_as_often_as_it_is_used(reduction: dict[str, Any] | None, attention: str) -> None:
    # Rows that are mixed count in parts: only what is not mixed is the same.
    settings = {"representative": "middle", "reduction": reduction}
    case = vjepa2_case("head", "bidirectional", settings, attention=attention)
    model, parent, cache = case.model(), case.parent(), None
    for window in case.windows(3):
        before = copy.deepcopy(cache)
        output = model(window, past_key_values=cache)
        states = model.vjepa2(window, past_key_values=before).last_hidden_state
        assert_near(output.logits, parent.classifier(parent.pooler(states)), 1e-5)
        cache = output.past_key_values
