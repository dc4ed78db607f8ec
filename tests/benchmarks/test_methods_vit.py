"""Methods for models of frames: what defines each of them, and what they say they cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hf_ttr
from benchmarks.methods import VIT, StreamMethod
from benchmarks.methods.eventful import (
    ClsGate,
    ClsPreviousFrameGate,
    EventfulFull,
    EventfulTokenwise,
    PreviousFrameGate,
    ThresholdGate,
    TokenGate,
)
from benchmarks.methods.frame_skipping import HeldFrames, InterpolatedFrames
from benchmarks.methods.frames import FrameModel
from benchmarks.methods.neuroflow import FLOOR, SurpriseGate
from benchmarks.methods.random_drop import RandomDrop
from benchmarks.methods.reuse import Bidirectional, Causal, LookAhead
from benchmarks.methods.stc import RareReferences, SelectiveCaching, dependent_layer, last_layer, reference_layer
from hf_ttr.models.vit.modeling_temporal_reuse_vit import ViTParts

from ..tiny import TINY_VIT, make_clip, tiny_parent
from .counting import assert_close, profiled


FRAMES = 12
SWEPT = [key for key in VIT if not key.startswith("dense")]
# Methods that leave tokens out, or merge them, in every frame.
NOT_DENSE_WHEN_STILL = (
    *("random_drop", "neuroflow", "tome", "vidtome", "vid_tldr", "pruning", "rgtp"),
    *("tome_published", "vid_tldr_published", "pitome", "ats"),
    *("reuse_tome", "reuse_vidtome", "reuse_pruning"),
)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_parent()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """Still patches, patches that change, and a cut, `(frames, channels, height, width)`."""
    return make_clip(batch=1, frames=FRAMES)[0]


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    """Frames in which everything changes."""
    return torch.randn(6, 3, 24, 24, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def dense_logits(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return model(pixels).logits


@pytest.mark.parametrize("key", VIT)
def test_every_method_costs_what_a_profiler_counts(key: str, model: Any, pixels: torch.Tensor) -> None:
    for setting in VIT[key].sweep[::4]:
        method = VIT[key](model, setting)
        outcome = method.measured(pixels)
        assert outcome.logits.shape == (FRAMES, TINY_VIT["num_labels"])
        assert outcome.multiply_adds == profiled(method, pixels)


@pytest.mark.parametrize("key", ["dense", "dense_frame_by_frame"])
def test_the_dense_model_costs_what_the_formula_says(key: str, model: Any, pixels: torch.Tensor) -> None:
    outcome = VIT[key](model).measured(pixels)
    head = TINY_VIT["hidden_size"] * TINY_VIT["num_labels"]
    assert outcome.multiply_adds == ViTParts().cost(model.vit, 36).dense(FRAMES, 37) + FRAMES * head
    assert_close(outcome.logits, dense_logits(model, pixels))


@pytest.mark.parametrize("key", SWEPT)
def test_sweeps_go_from_dense_to_sparse(key: str, model: Any, pixels: torch.Tensor) -> None:
    method = VIT[key]
    assert 6 <= len(method.sweep) <= 8 and method.title and method.knob
    costs = [method(model, setting).measured(pixels).multiply_adds for setting in method.sweep]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


@pytest.mark.parametrize("key", VIT)
def test_every_clip_starts_anew_and_leaves_the_model_alone(key: str, pixels: torch.Tensor) -> None:
    model = tiny_parent()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    method = VIT[key](model, VIT[key].sweep[len(VIT[key].sweep) // 2])
    first, other, again = (method.measured(clip) for clip in (pixels, pixels.flip(0), pixels))
    assert torch.equal(first.logits, again.logits) and first.multiply_adds == again.multiply_adds
    assert not torch.equal(first.logits, other.logits)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("key", [key for key in VIT if issubclass(VIT[key], StreamMethod)])
def test_streams_know_nothing_of_the_future(key: str, model: Any, pixels: torch.Tensor) -> None:
    method = VIT[key](model, VIT[key].sweep[len(VIT[key].sweep) // 2])
    whole = method.clip(pixels)
    assert torch.equal(method.clip(pixels[:7]), whole[:7])


@pytest.mark.parametrize("key", [key for key in SWEPT if key not in NOT_DENSE_WHEN_STILL])
def test_a_still_scene_keeps_its_logits(key: str, model: Any, pixels: torch.Tensor) -> None:
    still = pixels[:1].repeat(9, 1, 1, 1)
    logits = VIT[key](model, VIT[key].sweep[-1]).clip(still)
    assert_close(logits, dense_logits(model, still))


# The last layer


@torch.no_grad()
def test_a_last_layer_for_cls_alone_leaves_it_as_it_is(model: Any, pixels: torch.Tensor) -> None:
    parts = FrameModel(model)
    states = parts.embed(pixels)[:, [0, 4, 9, 30]]
    whole = states
    for layer in parts.layers:
        whole = layer(whole)
    assert_close(parts.through_layers(states), whole[:, :1])
    cost = parts.cost
    assert cost.dense(1, 37) + parts.head - parts.multiply_adds(37) == 36 * (cost.row + 37 * cost.pair)


@pytest.mark.parametrize("key", [key for key in VIT if key.endswith(("cls", "_before", "_threshold"))])
def test_gates_in_the_last_layer_leave_cls_as_it_is(key: str, model: Any, pixels: torch.Tensor) -> None:
    method: Any = VIT[key](model, 0.3)
    logits = method.clip(pixels)
    method.reset()
    method.blocks[-1].last = method.blocks[-1]
    assert_close(torch.cat([method.step(frame) for frame in pixels.split(1)]), logits)


@torch.no_grad()
def test_stc_in_the_last_layer_leaves_cls_as_it_is(model: Any) -> None:
    layer = model.vit.layers[-1]
    torch.manual_seed(0)
    states, now = torch.randn(2, 37, 32)
    whole, reference = reference_layer(layer, states)
    cls, *last = last_layer(layer, states)
    assert_close(cls, whole[:1])
    assert_close(last_layer(layer, now, last, 9)[0], dependent_layer(layer, now, reference, 9)[:1])


def test_names_are_unique() -> None:
    assert len({method.title for method in VIT.values()}) == len(VIT)


# Reuse


@torch.no_grad()
def test_reuse_is_that_of_the_package(model: Any, pixels: torch.Tensor) -> None:
    reuse: Any = hf_ttr.with_temporal_reuse(model, {"threshold": 0.2})
    whole = reuse(pixels[None])
    outcome = Bidirectional(model, 0.2).measured(pixels)
    assert torch.equal(outcome.logits, whole.frame_logits[0])
    assert outcome.multiply_adds == whole.reuse.multiply_adds.item()

    first = reuse(pixels[None, :8])
    second = reuse(pixels[None, 8:], past_key_values=first.past_key_values)
    outcome = LookAhead(model, 0.2).measured(pixels)
    assert torch.equal(outcome.logits, torch.cat([first.frame_logits[0], second.frame_logits[0]]))
    assert outcome.multiply_adds == (first.reuse.multiply_adds + second.reuse.multiply_adds).item()

    causal: Any = hf_ttr.with_temporal_reuse(model, {"threshold": 0.2, "mode": "causal"})
    cache, outputs = None, []
    for frame in pixels.split(1):
        outputs.append(causal(frame[None], past_key_values=cache))
        cache = outputs[-1].past_key_values
    outcome = Causal(model, 0.2).measured(pixels)
    assert torch.equal(outcome.logits, torch.cat([output.frame_logits[0] for output in outputs]))
    assert outcome.multiply_adds == sum(output.reuse.multiply_adds.item() for output in outputs)


# Frame skipping


def test_held_frames_are_exact_and_held(model: Any, noise: torch.Tensor) -> None:
    logits, dense = HeldFrames(model, 1 / 3).clip(noise), dense_logits(model, noise)
    assert_close(logits, dense[[0, 0, 0, 3, 3, 3]])
    assert_close(HeldFrames(model, 1.0).clip(noise), dense)


def test_interpolated_frames_lie_between_exact_ones(model: Any, noise: torch.Tensor) -> None:
    pixels = torch.cat([noise, noise[:1] + 1])
    logits, dense = InterpolatedFrames(model, 3 / 7).clip(pixels), dense_logits(model, pixels)
    assert_close(logits[[0, 3, 6]], dense[[0, 3, 6]])
    assert_close(logits[1], dense[0] * 2 / 3 + dense[3] / 3)
    assert_close(logits[5], dense[3] / 3 + dense[6] * 2 / 3)
    assert_close(InterpolatedFrames(model, 1.0).clip(pixels), dense)
    assert_close(InterpolatedFrames(model, 0.5).clip(pixels[:1]), dense[:1])


# Eventful


@pytest.mark.parametrize("key", [key for key in VIT if key.startswith(("eventful", "stgt"))])
def test_eventful_with_all_tokens_is_dense(key: str, model: Any, noise: torch.Tensor) -> None:
    setting = 0.0 if "threshold" in key else 1.0
    assert_close(VIT[key](model, setting).clip(noise), dense_logits(model, noise))


def test_a_slow_drift_opens_the_gate_but_not_that_of_the_previous_frame() -> None:
    # Token 0 drifts by 0.1 in a frame, token 1 swings by 0.35, token 2 stands still; one is let through.
    frames = [torch.tensor([[0.1 * time, 0.0], [0.0, 0.35 * (time % 2)], [1.0, 1.0]]) for time in range(9)]

    def let_through(gate: TokenGate) -> list[int]:
        assert gate.select(frames[0])[1] is None
        return [int(gate.select(frame)[1]) for frame in frames[1:]]  # type: ignore[arg-type]

    assert 0 in let_through(TokenGate(1))
    assert let_through(PreviousFrameGate(1)) == [1] * 8


def test_the_reference_is_the_value_that_was_let_through() -> None:
    gate = TokenGate(1)
    gate.select(torch.zeros(2, 1))
    rows, index = gate.select(torch.tensor([[1.0], [3.0]]))
    assert rows.tolist() == [[3.0]] and index.tolist() == [1]  # type: ignore[union-attr]
    assert gate.reference.tolist() == [[0.0], [3.0]]  # type: ignore[union-attr]


def test_attention_by_deltas_is_attention_if_all_values_pass(model: Any, pixels: torch.Tensor) -> None:
    tokenwise, full = EventfulTokenwise(model, 0.2), EventfulFull(model, 0.2)
    for frame in pixels.split(1):
        for block in full.blocks:
            block.values_gate.count = 37  # type: ignore[attr-defined]
        assert_close(full.step(frame), tokenwise.step(frame))


@pytest.mark.parametrize("key", ["eventful_tokenwise", "eventful_tokenwise_cls"])
def test_gates_catch_up(key: str, model: Any, pixels: torch.Tensor) -> None:
    # Once the picture stands still, every token gets its turn.
    still = pixels[-1:].repeat(20, 1, 1, 1)
    logits = VIT[key](model, 0.5).clip(torch.cat([pixels, still]))
    assert_close(logits[-1:], dense_logits(model, still[:1]))


@pytest.mark.parametrize("gate", [ClsGate, ClsPreviousFrameGate])
def test_cls_always_passes_and_is_one_of_the_count(gate: type[TokenGate]) -> None:
    gates = gate(2)
    gates.select(torch.zeros(4, 1))
    rows, index = gates.select(torch.tensor([[0.0], [1.0], [3.0], [2.0]]))
    assert sorted(rows.flatten().tolist()) == [0.0, 3.0] and sorted(index.tolist()) == [0, 2]  # type: ignore


def test_a_threshold_is_a_share_of_the_mean_norm_in_the_first_frame() -> None:
    gate = ThresholdGate(0.5)
    gate.select(torch.tensor([[1.0], [3.0], [-2.0], [2.0]]))
    rows, index = gate.select(torch.tensor([[1.0], [4.5], [-3.0], [2.9]]))
    assert index.tolist() == [0, 1] and rows.tolist() == [[1.0], [4.5]]  # type: ignore[union-attr]
    # What did not pass is still compared with the first frame.
    assert gate.select(torch.tensor([[1.0], [4.5], [-3.1], [2.9]]))[1].tolist() == [0, 2]  # type: ignore[union-attr]


# STC


@pytest.mark.parametrize("method", [SelectiveCaching, RareReferences])
def test_reference_frames_are_dense(method: Any, model: Any, noise: torch.Tensor) -> None:
    pixels = torch.cat([noise, noise.flip(0)])
    logits, dense = method(model, 0.1).clip(pixels), dense_logits(model, pixels)
    assert_close(logits[:: method.interval], dense[:: method.interval])
    assert not torch.allclose(logits[1], dense[1], atol=1e-3)
    assert_close(method(model, 1.0).clip(pixels), dense)


@torch.no_grad()
def test_keys_are_computed_for_all_tokens_and_values_are_not(model: Any) -> None:
    layer = model.vit.layers[1]
    torch.manual_seed(0)
    states = torch.randn(37, 32)
    _, reference = reference_layer(layer, states)
    now = states + 0.3 * torch.randn(37, 32)
    expected = dependent_layer(layer, now, reference, 9)
    # Longer reference keys choose the same tokens, and attention does not read them.
    reference.keys *= 2
    assert torch.equal(dependent_layer(layer, now, reference, 9), expected)
    computed = (expected - now - reference.attended - reference.fed_forward).norm(dim=-1) > 1e-4
    assert computed[0] and computed.sum() == 9 + 1
    reference.values[~computed] += 1
    assert not torch.allclose(dependent_layer(layer, now, reference, 9), expected, atol=1e-3)


# NeuroFlow


def test_active_tokens_meet_only_one_another(model: Any, pixels: torch.Tensor) -> None:
    def stream(change: float) -> torch.Tensor:
        frames = pixels[:1].repeat(2, 1, 1, 1)
        frames[1, :, :8, :12] = pixels[-1, :, :8, :12]  # 2 x 3 patches change by much
        frames[1, :, 20:, 20:] += change  # and one by little
        return frames

    method = SurpriseGate(model, 0.05)
    still, changed = method.clip(stream(0.0)), method.clip(stream(0.01))
    assert torch.equal(still, changed)
    assert method.multiply_adds == _neuroflow_cost(model, (37, 7))
    assert not torch.allclose(still[1], dense_logits(model, stream(0.0))[1], atol=1e-3)


def _neuroflow_cost(model: Any, rows: tuple[int, ...]) -> int:
    cost = ViTParts().cost(model.vit, 36)
    head = TINY_VIT["hidden_size"] * TINY_VIT["num_labels"]
    outside = cost.patch + head + cost.row + 37 * cost.pair  # in the last layer CLS alone reads all tokens
    layers = (2 * count * (cost.key_value + cost.row + count * cost.pair) + count * cost.key_value for count in rows)
    return sum(outside + part for part in layers)


def test_the_surprise_gate_has_a_floor_and_can_be_dense(model: Any, noise: torch.Tensor) -> None:
    assert_close(SurpriseGate(model, -1.0).clip(noise), dense_logits(model, noise))
    still = noise[:1].repeat(3, 1, 1, 1)
    assert SurpriseGate(model, 0.2).measured(still).multiply_adds == _neuroflow_cost(model, (37, *[FLOOR + 1] * 2))


def test_the_running_mean_follows_slowly(model: Any, noise: torch.Tensor) -> None:
    gate = SurpriseGate(model, 0.2)
    first, second = torch.ones(5, 2), torch.tensor([[1.0, -1.0]] * 5)
    assert gate.active(first) is None
    assert gate.active(second).tolist() == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
    assert_close(gate.mean, torch.tensor([[1.0, 0.98]] * 5))  # type: ignore[arg-type]


# Random drop


def test_random_drop_keeps_all_or_others_in_every_frame(model: Any, noise: torch.Tensor) -> None:
    assert_close(RandomDrop(model, 1.0).clip(noise), dense_logits(model, noise))
    still = RandomDrop(model, 0.5).clip(noise[:1].repeat(3, 1, 1, 1))
    assert not torch.allclose(still[0], still[1], atol=1e-3)
