from __future__ import annotations

from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseViTConfig
from hf_ttr.reduction import VidTLDR
from hf_ttr.reduction.row_reduction import RowReduction
from hf_ttr.reduction.rows import RowSets
from hf_ttr.reduction.tome import match
from hf_ttr.reduction.vid_tldr import saliency_of

from ..tiny import TINY_VIT
from .test_tome import random_rows, shape


def test_saliency_rises_from_the_mean_of_each_set() -> None:
    sets = RowSets([4, 1, 3], torch.device("cpu"))
    sharpness = torch.tensor([-3.0, -1.0, -2.0, -3.0, -9.0, -4.0, -4.0, -1.0])
    saliency = saliency_of(sharpness, sets, [1, 0, 1])
    torch.testing.assert_close(saliency, torch.tensor([0.0, 1.0, 0.2, 0.0, 0.0, 0.0, 0.0, 1.0]))


def mean_attention(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Of a set of rows, heads in front."""
    return (query @ key.mT * 3.0).softmax(-1).mean(0)


def test_what_is_merged_counts_by_its_saliency_then_and_later() -> None:
    counts, model = [9, 6], shape(9, layers=2, protected=0)
    reduction = RowReduction([VidTLDR(r=[4, 2])], model, counts, torch.device("cpu"))
    states, sizes, weights = random_rows(15, 5, 0).float(), torch.ones(15), torch.ones(15)
    for layer, merges in enumerate([[4, 2], [2, 1]]):
        rows = len(states)
        query, key = (
            random_rows(rows, 12, 2 * layer + seed).float().view(1, rows, 2, 6).transpose(1, 2) for seed in (1, 2)
        )
        sets = RowSets(counts, torch.device("cpu"))
        sources, targets = match(states, sets, merges)
        # As if each row were one token, whatever was merged before.
        attention = [mean_attention(*own) for own in zip(query[0].split(counts, 1), key[0].split(counts, 1))]
        sharpness = torch.cat([(part * part.log()).sum(-1) for part in attention])
        given = weights * saliency_of(sharpness, sets, merges)
        expected = states.clone()
        for row in targets.unique().tolist():
            members = sources[targets == row]
            total = weights[row] * states[row] + (given[members, None] * states[members]).sum(0)
            weights[row] += given[members].sum()
            expected[row] = total / weights[row]
            sizes[row] += sizes[members].sum()
        left = [row for row in range(rows) if row not in sources.tolist()]
        reduction.observe(layer, query, key, 3.0)
        states, sizes, weights = reduction.reduce(layer, states[None])[0], sizes[left], weights[left]
        torch.testing.assert_close(states, expected[left])
        torch.testing.assert_close(reduction.sizes, sizes)
        counts = [count - merged for count, merged in zip(counts, merges)]
    assert (weights < sizes).any()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"r": 4}, "r is 4, but must be a list of whole numbers of at least 0"),
        ({"r": [4, -1]}, "r is (4, -1), but must be a list of whole numbers of at least 0"),
        ({"r": [1, 1, 1, 1]}, "must be a list of at most 3 numbers, as many as layers"),
        ({"r": [19]}, "r is (19,), but must be at most half of the 37 tokens, 18"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_when_the_config_is_made(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as raised:
        TemporalReuseViTConfig(**TINY_VIT, temporal_reuse={"reduction": {"method": "vid_tldr", **settings}})
    assert sentence in str(raised.value)
