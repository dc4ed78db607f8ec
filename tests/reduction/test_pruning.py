from __future__ import annotations

from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseViTConfig
from hf_ttr.reduction import Pruning
from hf_ttr.reduction.pruning import lowest
from hf_ttr.reduction.row_reduction import RowReduction
from hf_ttr.reduction.rows import RowSets

from ..tiny import TINY_VIT
from .test_tome import random_rows, shape


def test_the_lowest_of_each_set_are_found() -> None:
    sets = RowSets([4, 0, 1, 20], torch.device("cpu"))
    scores = torch.tensor([0.0, 3.0, 1.0, 2.0, 5.0, *range(20, 0, -1)])
    assert sorted(lowest(scores, sets, [2, 0, 0, 3], protected=1).tolist()) == [2, 3, 22, 23, 24]
    assert sorted(lowest(scores, sets, [1, 0, 0, 0], protected=0).tolist()) == [0]
    assert lowest(scores, sets, [0, 0, 0, 0], protected=1).tolist() == []


@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("has_first_token", [True, False], ids=["first-token", "all-tokens"])
def test_rows_that_receive_least_attention_are_left_out(has_first_token: bool, biased: bool) -> None:
    counts, model = [9, 1, 6], shape(9, layers=4, protected=int(has_first_token))
    reduction = RowReduction([Pruning(keep=0.5, layers=[1])], model, counts, torch.device("cpu"))
    states = initial = random_rows(16, 5, 0).float()
    query, key = (random_rows(16, 12, seed).float().view(1, 16, 2, 6).transpose(1, 2) for seed in (1, 2))
    # Sets of a few of nine tokens, and what the model adds to the scores of two of these.
    tokens = torch.cat([torch.arange(9), torch.tensor([0]), torch.tensor([0, 2, 3, 5, 7, 8])])
    bias = random_rows(9, 18, 3).float().view(1, 9, 2, 9).transpose(1, 2) * biased
    expected, start = [], 0
    for count in counts:
        own = slice(start, start + count)
        scores = query[0, :, own] @ key[0, :, own].transpose(1, 2) * 0.5 + bias[0][:, tokens[own]][:, :, tokens[own]]
        weights = scores.softmax(-1).mean(0)
        received = weights[0] if has_first_token else weights.sum(0)
        free = count - has_first_token
        order = [int(row) for row in received.argsort(descending=True) if row or not has_first_token]
        chosen = order[: -(-free // 2)]
        expected += sorted([start + row for row in chosen] + [start] * has_first_token)
        start += count
    for layer in range(4):
        reduction.observe(layer, query, key, 0.5, bias if biased else None, tokens if biased else None)
        states = reduction.reduce(layer, states[None])[0]
    assert reduction.sets.counts == reduction.counts[-1]
    assert torch.equal(states, initial[expected])
    # Nothing happens to states here, so those left out are as they were.
    assert torch.equal(reduction.expand_last(states[None])[0], initial)
    kept = [row in expected for row in range(16)]
    assert reduction.last_layers is not None
    assert reduction.last_layers.tolist() == [4 if is_kept else 1 for is_kept in kept]
    assert [sum(rows) for rows in reduction.left_out] == [0, 0, 16 - len(expected)] + [16 - len(expected)] * 2


def test_random_rows_are_the_same_in_any_batch() -> None:
    def kept(counts: list[int]) -> torch.Tensor:
        reduction = RowReduction([Pruning(keep=0.5, layers=[0], by="random")], shape(20), counts, torch.device("cpu"))
        return reduction.reduce(0, torch.arange(sum(counts)).float()[None, :, None])[0, :, 0]

    assert torch.equal(kept([20, 7])[:11], kept([20]))
    assert torch.equal(kept([7, 20])[4:] - 7, kept([20]))
    assert (kept([20]).diff() > 0).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"keep": 0}, "keep is 0, but must be a share of the rows above 0 and at most 1"),
        ({"keep": 1.2}, "keep is 1.2, but must be a share of the rows above 0 and at most 1"),
        ({"layers": [1, -1]}, "layers is (1, -1), but must be a list of numbers of layers, counted from 0, or None"),
        ({"layers": [3]}, "layers is (3,), but must be layers of the model, 0 to 2"),
        ({"by": "size"}, "by is 'size', but must be one of 'attention', 'random'"),
        ({"seed": "a"}, "seed is 'a', but must be a whole number"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_when_the_config_is_made(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as raised:
        TemporalReuseViTConfig(**TINY_VIT, temporal_reuse={"reduction": {"method": "pruning", **settings}})
    assert sentence in str(raised.value)
