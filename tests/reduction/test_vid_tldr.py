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


def test_saliency_is_scaled_in_each_set_and_background_has_none() -> None:
    sets = RowSets([4, 1, 3], torch.device("cpu"))
    sharpness = torch.tensor([-3.0, -1.0, -2.0, -2.5, -9.0, -4.0, -4.0, -1.0])
    saliency = saliency_of(sharpness, sets, [1, 0, 1])
    torch.testing.assert_close(saliency, torch.tensor([0.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 1.0]))


def test_what_is_merged_counts_by_its_saliency() -> None:
    counts, model = [9, 6], shape(9, layers=1, protected=0)
    reduction = RowReduction([VidTLDR(r=[4])], model, counts, torch.device("cpu"))
    states = random_rows(15, 5, 0).float()
    query, key = (random_rows(15, 12, seed).float().view(1, 15, 2, 6).transpose(1, 2) for seed in (1, 2))
    sets = RowSets(counts, torch.device("cpu"))
    sources, targets = match(states, sets, [4, 2])
    sharpness = []
    for own in (slice(0, 9), slice(9, 15)):
        weights = (query[0, :, own] @ key[0, :, own].transpose(1, 2) * 3.0).softmax(-1)
        sharpness.append((weights * weights.log()).sum(-1).mean(0))
    saliency = saliency_of(torch.cat(sharpness), sets, [4, 2])
    assert 0 < (saliency[sources] == 0).sum() < len(sources)

    expected, sizes = states.clone(), torch.ones(15)
    for row in targets.unique().tolist():
        members = sources[targets == row]
        total = states[row] + (saliency[members, None] * states[members]).sum(0)
        expected[row] = total / (1 + saliency[members].sum())
        sizes[row] = 1 + len(members)
    left = [row for row in range(15) if row not in sources.tolist()]
    reduction.observe(0, query, key, 3.0)
    torch.testing.assert_close(reduction.reduce(0, states[None])[0], expected[left])
    torch.testing.assert_close(reduction.sizes, sizes[left])


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
