"""Methods for models of clips: what defines each of them, and what they say they cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hf_ttr
from benchmarks.methods import VIDEOMAE
from benchmarks.methods.accumulation import TemporalAccumulation, activation, kept_tokens, unlike_others
from benchmarks.methods.clip_dropping import FewerFrames, RandomTokens, RunLength, Tubes, tubelet_changes
from benchmarks.methods.clip_model import ClipModel
from benchmarks.methods.reuse import ClipReuse
from hf_ttr.models.videomae.modeling_temporal_reuse_videomae import VideoMAEParts

from ..tiny import TINY_VIDEOMAE, tiny_videomae
from .counting import assert_close, profiled


POSITIONS, TIMES = 36, 4
SWEPT = [key for key in VIDEOMAE if key != "dense"]


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_videomae()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """A clip whose patches change by more and more from left to right, `(frames, channels, height, width)`."""
    generator = torch.Generator().manual_seed(1)
    still, moves = torch.randn(1, 3, 24, 24, generator=generator), torch.randn(8, 3, 24, 24, generator=generator)
    return still + moves * torch.linspace(0.001, 1, 24) ** 2


@torch.no_grad()
def dense_logits(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    return model(pixels[None]).logits


@pytest.mark.parametrize("key", VIDEOMAE)
def test_every_method_costs_what_a_profiler_counts(key: str, model: Any, pixels: torch.Tensor) -> None:
    for setting in VIDEOMAE[key].sweep[::4]:
        method = VIDEOMAE[key](model, setting)
        outcome = method.measured(pixels)
        assert outcome.logits.shape == (1, TINY_VIDEOMAE["num_labels"])
        assert outcome.multiply_adds == profiled(method, pixels)


def test_the_dense_model_costs_what_the_formula_says(model: Any, pixels: torch.Tensor) -> None:
    cost, tokens = VideoMAEParts().cost(model.videomae, POSITIONS), TIMES * POSITIONS
    head = TINY_VIDEOMAE["hidden_size"] * TINY_VIDEOMAE["num_labels"]
    outcome = VIDEOMAE["dense"](model).measured(pixels)
    assert outcome.multiply_adds == TIMES * cost.patch + cost.rows(tokens, tokens, tokens) + head
    assert_close(outcome.logits, dense_logits(model, pixels))


@pytest.mark.parametrize("key", SWEPT)
def test_sweeps_go_from_dense_to_sparse(key: str, model: Any, pixels: torch.Tensor) -> None:
    method = VIDEOMAE[key]
    assert 6 <= len(method.sweep) <= 10 and method.title and method.knob
    costs = [method(model, setting).measured(pixels).multiply_adds for setting in method.sweep]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


@pytest.mark.parametrize("key", VIDEOMAE)
def test_every_run_is_the_same(key: str, model: Any, pixels: torch.Tensor) -> None:
    method = VIDEOMAE[key](model, VIDEOMAE[key].sweep[len(VIDEOMAE[key].sweep) // 2])
    first = method.measured(pixels)
    method.clip(pixels.flip(0) + 1)
    again = method.measured(pixels)
    assert torch.equal(first.logits, again.logits) and first.multiply_adds == again.multiply_adds


def test_names_are_unique() -> None:
    assert len({method.title for method in VIDEOMAE.values()}) == len(VIDEOMAE)


def test_reuse_is_that_of_the_package(model: Any, pixels: torch.Tensor) -> None:
    reuse: Any = hf_ttr.with_temporal_reuse(model, {"threshold": 0.3})
    with torch.no_grad():
        expected = reuse(pixels[None])
    outcome = ClipReuse(model, 0.3).measured(pixels)
    assert torch.equal(outcome.logits, expected.logits)
    assert outcome.multiply_adds == expected.reuse.multiply_adds.item()


@torch.no_grad()
def test_tokens_are_embedded_as_the_model_does(pixels: torch.Tensor) -> None:
    model = tiny_videomae(image_size=(16, 24), patch_size=(4, 8))
    parts = ClipModel(model)
    clip = pixels[:, :, :16]
    expected = model.videomae.embeddings(clip[None], None)
    kept = torch.tensor([0, 5, 13, 14, 40])
    assert_close(parts.embed(clip, kept), expected[:, kept])


def test_a_model_that_reads_its_first_token_is_refused() -> None:
    with pytest.raises(ValueError, match="pools by its first token"):
        ClipModel(tiny_videomae(use_mean_pooling=False))


@pytest.mark.parametrize(
    ("method", "setting"),
    [(RunLength, -1.0), (TemporalAccumulation, 0.0), (RandomTokens, 1.0), (Tubes, 1.0), (FewerFrames, 1.0)],
)
def test_keeping_all_tokens_is_dense(method: Any, setting: float, model: Any, pixels: torch.Tensor) -> None:
    outcome = method(model, setting).measured(pixels)
    assert_close(outcome.logits, dense_logits(model, pixels))
    assert outcome.multiply_adds == ClipModel(model).dense_multiply_adds


# Dropping before the model


def test_run_length_keeps_the_first_tubelet_and_what_changes(model: Any, pixels: torch.Tensor) -> None:
    method = RunLength(model, 0.1)
    still = pixels[:1].repeat(8, 1, 1, 1)
    assert method.kept(still).tolist() == list(range(POSITIONS))
    still[5, :, 4:8, 8:12] += 0.5  # in the last frame of tubelet 2, row 1, column 2; gone in tubelet 3
    assert method.kept(still).tolist() == [*range(POSITIONS), 2 * POSITIONS + 8]


def test_run_length_compares_the_last_frame_with_the_first_of_the_tubelet_before() -> None:
    frames = torch.tensor([0.0, 5.0, 7.0, 1.0, 3.0, 3.0]).view(6, 1, 1, 1).expand(6, 3, 4, 8)
    assert tubelet_changes(frames, (2, 4, 4)).tolist() == [[torch.inf] * 2, [1.0] * 2, [4.0] * 2]
    assert tubelet_changes(frames[:2], (2, 4, 4)).tolist() == [[torch.inf] * 2]


def test_what_blind_methods_keep(model: Any, pixels: torch.Tensor) -> None:
    tokens = RandomTokens(model, 0.25).kept(pixels)
    assert len(tokens) == 36 and tokens.tolist() == sorted(set(tokens.tolist()))
    tubes = Tubes(model, 0.25).kept(pixels).view(TIMES, -1)
    assert tubes.shape[1] == 9 and torch.equal(tubes[1:], tubes[:-1] + POSITIONS)
    frames = FewerFrames(model, 0.5).kept(pixels).view(2, POSITIONS)
    assert (frames[:, 0] // POSITIONS).tolist() == [1, 3]


# STA


def test_accumulation_drops_as_many_of_each_group(model: Any, pixels: torch.Tensor) -> None:
    method, counts = TemporalAccumulation(model, 0.25), []
    handles = [
        layer.register_forward_hook(lambda _, inputs, output: counts.append(output.shape[1]))
        for layer in method.parts.layers
    ]
    logits, hook = [], method.parts.model.fc_norm.register_forward_pre_hook(lambda *_: logits.append(len(counts)))
    method.clip(pixels)
    for handle in (*handles, hook):
        handle.remove()
    assert method.stages == (0, 1, 2) and logits == [3]
    # Behind the first layer each of 4 groups of 36 tokens loses 9, behind the second each of 2 groups of 54.
    assert counts == [TIMES * 36, TIMES * 27, 2 * 45]
    states, keys = torch.randn(2, 1, 90, 32)
    assert method.thinned(states, keys[0], 2).shape[1] == 81


def test_accumulation_drops_what_was_seen_and_keeps_what_is_new() -> None:
    one, two, three, four = torch.eye(4)
    keys = 9 * torch.stack([torch.stack([one, two, one, three]), torch.stack([one, two, three, four])])
    # At the start one of the two that are alike goes; later the new token goes last.
    assert unlike_others(torch.stack([one, one, two, three])).tolist() == [1, 3, 2, 0]
    kept = kept_tokens(torch.ones(2, 4, 5), keys, 3)
    assert kept[0].tolist() == [1, 3, 2] or kept[0].tolist() == [1, 3, 0]
    assert kept[1][0] == 3


def test_scores_add_up_as_in_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    states, keys = (torch.randn(3, 6, size, generator=generator) for size in (5, 4))
    directions, meaningless = keys / keys.norm(dim=-1, keepdim=True), 1 - activation(states)
    kept = kept_tokens(states, keys, 4)
    score = (directions[1] @ directions[0].T).softmax(0).sum(1)
    assert kept[1].tolist() == (score * meaningless[1]).argsort()[:4].tolist()
    weights = score[kept[1]] / score[kept[1]].sum()
    score = (directions[2] @ directions[1, kept[1]].T).softmax(0) @ weights
    assert kept[2].tolist() == (score * meaningless[2]).argsort()[:4].tolist()


def test_activation_is_the_sum_of_what_is_felt() -> None:
    token = torch.tensor([1.0, -2.0, 3.0])
    states = (token * torch.tensor([1.0, -3.0, 2.0, 1.5])[:, None])[None]
    assert_close(activation(states), torch.tensor([[0.0, 1.0, 0.5, 0.25]]))


def test_accumulation_turns_round_in_the_second_stage(model: Any) -> None:
    method = TemporalAccumulation(model, 0.1)
    generator = torch.Generator().manual_seed(0)
    states, keys = (torch.randn(2 * 8, size, generator=generator) for size in (32, 8))
    turned_states, turned_keys = (part.unflatten(0, (2, 8)).flip(0).flatten(0, 1) for part in (states, keys))
    back = method.thinned(states[None], keys, 1)[0]
    forth = kept_tokens(turned_states.unflatten(0, (2, 8)), turned_keys.unflatten(0, (2, 8)), 4)
    assert torch.equal(back[4:], turned_states[:8][forth[0]]) and torch.equal(back[:4], turned_states[8:][forth[1]])
    assert not torch.equal(back, method.thinned(states[None], keys, 0)[0][: len(back)])
