"""Scores that are kept within bounds, wherever rows attend."""

from __future__ import annotations

import torch
from torch import nn
from transformers.models.videoprism.modeling_videoprism import eager_attention_forward

from hf_ttr.execution.packed import FrameCall, TableGroup, first_token_attention
from hf_ttr.execution.softcap import soft_capped
from hf_ttr.planning.plan import ReusePlan
from hf_ttr.reduction.base import ModelShape
from hf_ttr.reduction.pruning import Pruning
from hf_ttr.reduction.row_reduction import RowReduction


def module() -> nn.Module:
    own = nn.Module().eval()
    own.num_key_value_groups = 1
    return own


def test_large_scores_come_near_the_cap_and_small_ones_stay() -> None:
    scores = torch.tensor([-1e6, -0.01, 0.0, 0.01, 1e6])
    assert soft_capped(scores, None) is scores
    torch.testing.assert_close(
        soft_capped(scores, 5.0), torch.tensor([-5.0, -0.01, 0.0, 0.01, 5.0]), rtol=0, atol=1e-7
    )


def test_rows_that_attend_to_the_table_are_capped_like_those_of_assembled_frames() -> None:
    computed = torch.zeros(1, 4, 40, dtype=torch.bool)
    computed[:, 0] = computed[:, 3, :30] = True
    computed[:, 1:3, :2] = True
    plan = ReusePlan.build(computed, interpolate=True)
    call = FrameCall.of(plan)
    assert any(isinstance(group, TableGroup) for group in call.layout.groups)
    rows = len(plan.rows)
    query, keys, values = 3 * torch.randn(3, 1, 2, rows, 8)
    output, _ = call.attend(eager_attention_forward, module(), query, keys, values, scaling=0.5, softcap=2.0)
    counts = torch.tensor(plan.row_counts)
    for row, frame in enumerate(torch.arange(4).repeat_interleave(counts).tolist()):
        left, right, alpha = (part[0, frame] for part in plan.links)
        own_keys, own_values = (
            torch.lerp(part[0, :, left], part[0, :, right], alpha[:, None]) for part in (keys, values)
        )
        scores = 2 * torch.tanh((own_keys @ query[0, :, row, :, None]).squeeze(-1) * 0.5 / 2)
        torch.testing.assert_close(output[0, row], (scores.softmax(-1)[:, None] @ own_values).squeeze(1))


def test_what_is_observed_is_capped() -> None:
    query, keys = torch.randn(2, 3, 4, 7, 8)
    expected = eager_attention_forward(module(), query, keys, keys, None, scaling=2.0, softcap=3.0)[1]
    found = first_token_attention(query[:, :, :1], keys, 2.0, softcap=3.0)
    torch.testing.assert_close(found, expected[:, :, 0].mean(1))
    reduction = RowReduction(
        [Pruning(keep=0.5, layers=(0,))], ModelShape("", 2, 7, 32, 4, 8, 1), [7] * 3, torch.device("cpu")
    )
    reduction.observe(0, query, keys, 2.0, softcap=3.0)
    torch.testing.assert_close(reduction._observed["importance"], expected[:, :, 0].mean(1).flatten())
