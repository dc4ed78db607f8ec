from __future__ import annotations

import pytest
import torch
from torch import nn

from hf_ttr.execution.kernels.interpolated_attention import interpolated_attention
from hf_ttr.execution.kernels.row_buckets import RowBuckets, trim_rows

from .frames import random_links


@pytest.mark.parametrize("buckets", [RowBuckets(), RowBuckets(16, 1), RowBuckets(8, 2), RowBuckets(1, 4)], ids=str)
def test_sizes_are_few_and_close(buckets: RowBuckets) -> None:
    counts = range(1, 5000)
    sizes = [buckets.size(rows) for rows in counts]
    for rows, size in zip(counts, sizes):
        assert size >= rows
        assert size - rows < max(buckets.smallest, rows / buckets.sizes_per_doubling)
        # A size is its own bucket.
        assert buckets.size(size) == size
    assert sizes == sorted(sizes)
    doublings = 13
    assert len(set(sizes)) <= (doublings + 1) * 2 * buckets.sizes_per_doubling
    assert buckets.size(0) == 0


@pytest.mark.parametrize("name", ["smallest", "sizes_per_doubling"])
def test_bad_sizes_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        RowBuckets(**{name: 0})


@pytest.mark.parametrize(("shape", "dim"), [((1, 70, 5), -2), ((70, 2, 3), 0), ((1, 2, 70, 3), 2)], ids=str)
def test_padding_is_behind_the_rows(shape: tuple[int, ...], dim: int) -> None:
    states = torch.randn(shape)
    padded = RowBuckets().pad(states, dim)
    assert padded.shape[dim] == 128
    assert torch.equal(padded.narrow(dim, 0, 70), states)
    assert not padded.narrow(dim, 70, 58).any()


@torch.inference_mode()
def test_a_padded_layer_gives_what_an_unpadded_one_does() -> None:
    """A pre-norm layer whose queries, keys and values are the packed rows, with and without a past in the table."""
    heads, head_dim, past = 2, 8, 11
    dim = heads * head_dim
    norm, fused, mlp = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Sequential(nn.Linear(dim, 32), nn.GELU())
    past_keys, past_values = torch.randn(2, past, heads, head_dim)
    counts = [11, 0, 3, 25]
    rows = torch.randn(sum(counts), dim)
    links = random_links(counts, 11, past + len(rows), None)

    def layer(rows: torch.Tensor) -> torch.Tensor:
        query, keys, values = fused(norm(rows)).unflatten(-1, (3, heads, head_dim)).unbind(1)
        keys, values = torch.cat([past_keys, keys]), torch.cat([past_values, values])
        return mlp(rows + interpolated_attention(query, keys, values, links, 0.3).flatten(1))

    padded = layer(RowBuckets(16).pad(rows))
    assert len(padded) == 48
    torch.testing.assert_close(padded[: len(rows)], layer(rows))


@pytest.mark.parametrize(("shape", "dim"), [((1, 70, 5), -2), ((70, 2, 3), 0), ((1, 2, 70, 3), 2)], ids=str)
def test_trimming_undoes_padding(shape: tuple[int, ...], dim: int) -> None:
    states = torch.randn(shape)
    assert torch.equal(trim_rows(RowBuckets().pad(states, dim), 70, dim), states)
    assert trim_rows(states, 70, dim) is states and trim_rows(states, 71, dim) is states
