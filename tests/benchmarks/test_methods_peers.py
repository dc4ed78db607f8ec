"""Merging as published, sampling, and pruning by rollout: what defines each of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hf_ttr
from benchmarks.methods import VIDEOMAE, VIT
from benchmarks.methods.merging import EnergyMerging, Pairs, PublishedMerging, PublishedSaliency, Seen, merge
from benchmarks.methods.rollout import RolloutPruning, moved, rolled_out
from benchmarks.methods.sampling import AdaptiveSampling, sampled
from hf_ttr.reduction.rows import RowSets
from hf_ttr.reduction.vid_tldr import saliency_of

from ..tiny import make_clip, tiny_parent, tiny_videomae
from .counting import assert_close


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_parent()


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    return make_clip(batch=1, frames=12)[0]


@pytest.mark.parametrize(
    ("key", "setting"), [("pitome", 0.0), ("vid_tldr_published", 0.0), ("ats", 1e3), ("rgtp", 1.0)]
)
@torch.no_grad()
def test_keeping_all_is_dense(key: str, setting: float, model: Any, pixels: torch.Tensor) -> None:
    assert_close(VIT[key](model, setting).clip(pixels), model(pixels).logits)
    if key in VIDEOMAE:
        videomae = tiny_videomae()
        assert_close(VIDEOMAE[key](videomae, setting).clip(pixels[:8]), videomae(pixels[None, :8]).logits)


@torch.no_grad()
def test_one_merge_is_that_of_the_package_whatever_the_order(
    model: Any, pixels: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = PublishedMerging(model)
    monkeypatch.setattr(method, "merged", lambda number, rows: 9 if number == 0 else 0)
    reduction = {"method": "tome", "r": [9, 0, 0]}
    reduced: Any = hf_ttr.with_temporal_reuse(model, {"mode": "off", "reduction": reduction})
    assert_close(method.clip(pixels), reduced(pixels[None], use_cache=False).frame_logits[0])


def test_merged_rows_count_by_their_shares() -> None:
    states = torch.tensor([[[9.0], [1.0], [4.0], [7.0], [2.0]]])
    sizes = torch.tensor([[1.0, 2.0, 1.0, 3.0, 2.0]])
    pairs = Pairs(*(torch.tensor([index]) for index in ([0, 3], [1, 1], [2, 1])))
    found, counts = merge(states, sizes, pairs, first=1)
    assert_close(found, torch.tensor([[[9.0], [7.0], [(2 * 1 + 2 * 2 + 1 * 4) / 5]]]))
    assert counts.tolist() == [[1.0, 3.0, 5.0]]
    pairs.shares = torch.tensor([[0.5, 1.0, 1.0, 0.0]])
    found, counts = merge(states, sizes, pairs, first=1)
    assert_close(found, torch.tensor([[[9.0], [7.0], [(1 * 1 + 1 * 4) / 2]]]))
    assert counts.tolist() == [[1.0, 3.0, 2.0]]


def test_published_saliency_is_that_of_the_package(model: Any) -> None:
    states, keys, scores = torch.randn(1, 9, 5), torch.randn(1, 9, 4), torch.randn(1, 2, 9, 9)
    pairs = PublishedSaliency(model).pairs(0, Seen(states, keys, scores), 3)
    attention = scores.softmax(-1).mean(1)[0]
    sharpness = (attention * attention.log()).sum(-1)
    assert pairs.shares is not None
    assert_close(pairs.shares[0], saliency_of(sharpness, RowSets([9], torch.device("cpu")), [1]))


def test_what_stands_alone_is_protected(model: Any) -> None:
    one, two, three = torch.eye(3)
    keys = torch.stack([one, two, one + 0.1 * two, three, one + 0.2 * two])[None]
    method = EnergyMerging(model)
    assert list(method.protects) == [2]
    pairs = method.pairs(2, Seen(keys, keys, keys), 1)
    assert {int(pairs.sources), int(pairs.targets)} < {0, 2, 4}
    assert {1, 3} < set(pairs.kept[0].tolist()) and pairs.kept[0, -1] == pairs.targets
    # Where nothing is protected, the most similar pair of two halves of all rows.
    pairs = method.pairs(0, Seen(keys, keys, keys), 2)
    every = [*pairs.kept[0].tolist(), *pairs.sources[0].tolist()]
    assert sorted(every) == [0, 1, 2, 3, 4] and len(pairs.kept[0]) == 3


def test_large_scores_are_sampled_once_and_small_ones_seldom() -> None:
    scores = torch.tensor([0.02, 0.5, 0.03, 0.05, 0.4])
    assert sampled(scores, 2).tolist() == [1, 4]
    assert sampled(scores, 1000).tolist() == [0, 1, 2, 3, 4]
    assert len(sampled(torch.full((8,), 1 / 8), 8)) == 8


def test_frames_get_as_many_tokens_as_they_need(model: Any, pixels: torch.Tensor) -> None:
    method = AdaptiveSampling(model, 1.0)
    costs = {method.measured(frame).multiply_adds for frame in pixels.split(1)}
    assert len(costs) > 1


def test_rollout_is_the_product_of_all_layers() -> None:
    layers = torch.randn(3, 5, 5).softmax(-1)
    with_itself = (layers + torch.eye(5)) / 2
    expected = (with_itself[2] @ with_itself[1] @ with_itself[0])[0]
    assert_close(rolled_out(layers[2, :1], list(layers[:2])), expected)


def test_importance_moves_with_the_picture() -> None:
    before, importance = torch.randn(4, 5, 16), torch.rand(4, 5)
    now = before.roll((1, -1), (0, 1))
    found = moved(importance.flatten(), before.flatten(0, 1), now.flatten(0, 1), (4, 5)).view(4, 5)
    assert torch.equal(found[1:, :-1], importance.roll((1, -1), (0, 1))[1:, :-1])
    still = moved(importance.flatten(), before.flatten(0, 1), before.flatten(0, 1), (4, 5))
    assert torch.equal(still, importance.flatten())


def test_every_eighth_frame_is_whole_and_others_drop_what_matters_little(model: Any, pixels: torch.Tensor) -> None:
    method = RolloutPruning(model, 0.2)
    logits = method.clip(pixels)
    with torch.no_grad():
        dense = model(pixels).logits
    assert_close(logits[[0, 8]], dense[[0, 8]])
    assert not torch.allclose(logits[1:8], dense[1:8], atol=1e-3)
