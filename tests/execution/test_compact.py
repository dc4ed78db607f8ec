from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.videomae.modeling_videomae import eager_attention_forward

from hf_ttr.execution.compact import compact_attention, logit_mask
from hf_ttr.planning.window_plan import PastSlots, WindowPlan, logits_of_counts


HEADS, DIM = 2, 8


class Attention(nn.Module):
    """What the attention functions ask of their module."""

    is_causal = False


ATTENTIONS = pytest.mark.parametrize(
    "attention", [eager_attention_forward, sdpa_attention_forward], ids=["eager", "sdpa"]
)


def states(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plan_of(counts: list[list[int]]) -> WindowPlan:
    """One time of as many positions as there are slots; each stream has rows of the past, used `counts` times."""
    offset, links = 0, []
    for own in counts:
        links.append([offset + row for row, count in enumerate(own) for _ in range(count)])
        offset += len(own)
    left = torch.tensor(links)[:, None]
    sources = torch.full(left.shape, -1)
    return WindowPlan.build(sources, PastSlots(left, left, torch.zeros(left.shape), [len(own) for own in counts]))


@ATTENTIONS
@pytest.mark.parametrize("counts", [[1, 1, 1], [1, 2, 5], [1000, 1, 1]], ids=str)
def test_a_key_that_counts_c_times_is_c_equal_keys(attention: object, counts: list[int]) -> None:
    query, keys, values = (states(1, HEADS, count, DIM, seed=count).double() for count in (4, 3, 3))
    mask = logit_mask(logits_of_counts(torch.tensor(counts).float()), query)
    output, _ = attention(Attention(), query, keys, values, mask, scaling=DIM**-0.5, is_causal=False)
    repeated = [part.repeat_interleave(torch.tensor(counts), 2) for part in (keys, values)]
    expected, _ = attention(Attention(), query, *repeated, None, scaling=DIM**-0.5, is_causal=False)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)


def test_equal_counts_need_no_mask() -> None:
    assert logits_of_counts(torch.full((5,), 3.0)) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_mask_has_the_shape_and_dtype_of_the_logits(dtype: torch.dtype) -> None:
    mask = logit_mask(logits_of_counts(torch.tensor([1e-6, 1.0, 1568.0])), states(1, HEADS, 4, DIM).to(dtype))
    assert mask.shape == (1, 1, 4, 3)
    assert mask.dtype == dtype
    assert mask.isfinite().all()
    assert mask.max() == 0
    expected = torch.tensor([1e-6 / 1568, 1 / 1568, 1.0]).log()
    torch.testing.assert_close(mask[0, 0, 2].float(), expected, rtol=1e-2, atol=1e-2)


@ATTENTIONS
def test_streams_attend_to_their_own_rows(attention: object) -> None:
    counts = [[1, 3, 2], [6], [2, 2, 1, 1]]
    plan = plan_of(counts)
    # Rows that ask; the second stream has none.
    plan.row_counts = [2, 0, 3]
    keys, values = states(1, HEADS, 8, DIM, seed=1), states(1, HEADS, 8, DIM, seed=2)
    query = states(1, HEADS, 5, DIM, seed=3)
    output, weights = compact_attention(attention, Attention(), query, keys, values, plan, scaling=DIM**-0.5)
    assert weights is None
    assert output.shape == (1, 5, HEADS, DIM)
    row = key = 0
    for own, asked in zip(counts, plan.row_counts):
        part = slice(key, key + len(own))
        repeats = torch.tensor(own)
        repeated = [states[:, :, part].repeat_interleave(repeats, 2) for states in (keys, values)]
        expected = nn.functional.scaled_dot_product_attention(query[:, :, row : row + asked], *repeated)
        torch.testing.assert_close(output[:, row : row + asked], expected.transpose(1, 2), rtol=1e-5, atol=1e-6)
        row, key = row + asked, key + len(own)


@ATTENTIONS
def test_whole_windows_go_through_as_they_are(attention: object) -> None:
    plan = WindowPlan.build(torch.arange(2)[:, None].expand(3, 2, 4))
    query, keys, values = (states(3, HEADS, 8, DIM, seed=seed) for seed in range(3))
    mine = compact_attention(attention, Attention(), query, keys, values, plan, scaling=0.3)
    theirs = attention(Attention(), query, keys, values, None, scaling=0.3)
    assert torch.equal(mine[0], theirs[0])
    assert (mine[1] is None) == (theirs[1] is None)


@ATTENTIONS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(attention: object, dtype: torch.dtype) -> None:
    query, keys, values = (states(1, HEADS, count, DIM, seed=count) for count in (4, 3, 3))
    counts = torch.tensor([1.0, 1500.0, 67.0])
    expected, _ = attention(
        Attention(), query, keys, values, logit_mask(logits_of_counts(counts), query), scaling=DIM**-0.5
    )
    query, keys, values = (part.to(dtype) for part in (query, keys, values))
    output, _ = attention(
        Attention(), query, keys, values, logit_mask(logits_of_counts(counts), query), scaling=DIM**-0.5
    )
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), expected, rtol=3e-2, atol=3e-2)
