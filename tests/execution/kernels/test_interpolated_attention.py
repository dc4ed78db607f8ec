"""Attention to interpolated keys and values: the reference against its definition, the kernel against both."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from transformers.models.vit.modeling_vit import eager_attention_forward

from hf_ttr import devices
from hf_ttr.caching.cache import TemporalReuseCacheLayer
from hf_ttr.execution.kernels.frame_links import FrameLinks
from hf_ttr.execution.kernels.interpolated_attention import (
    interpolated_attention,
    kernel_unavailable_reason,
    reference_interpolated_attention,
    unsupported_tensors_reason,
)
from hf_ttr.execution.packed import FrameCall
from hf_ttr.planning.plan import ReusePlan

from .frames import random_links, random_states


SCALING = 0.3

# Query rows of each frame, tokens, table rows, heads, head_dim.
SHAPES = [
    ([3, 0, 1, 20], 37, 50, 2, 32),
    ([1], 5, 4, 1, 16),
    ([70, 2], 70, 90, 1, 64),
    ([0, 0, 2], 65, 130, 3, 80),
    ([4, 4], 33, 40, 1, 128),
    ([2, 3], 9, 12, 2, 4),
    ([1, 1, 1, 1], 17, 30, 2, 24),
]
TOLERANCES = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def defined_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, links: FrameLinks
) -> torch.Tensor:
    """The definition, in float64: assemble the keys and values of each frame; softmax over its positions."""
    query, keys, values, alpha = (part.cpu().double() for part in (query, keys, values, links.alpha))
    output = torch.zeros_like(query)
    for frame, (start, end) in enumerate(pairwise(links.query_starts.tolist())):
        share = alpha[frame, :, None, None]
        left, right = links.left[frame].cpu().long(), links.right[frame].cpu().long()
        own_keys, own_values = (table[left] + share * (table[right] - table[left]) for table in (keys, values))
        weights = (torch.einsum("qhd,khd->hqk", query[start:end], own_keys) * SCALING).softmax(-1)
        output[start:end] = torch.einsum("hqk,khd->qhd", weights, own_values)
    return output


def to_device(links: FrameLinks, device: torch.device) -> FrameLinks:
    names = ("query_starts", "left", "right", "alpha")
    return replace(links, **{name: getattr(links, name).to(device) for name in names})


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.4, None], ids=["hold", "right", "between", "mixed"])
@pytest.mark.parametrize(("counts", "tokens", "table_rows", "heads", "head_dim"), SHAPES, ids=str)
def test_reference_is_the_definition(
    counts: list[int], tokens: int, table_rows: int, heads: int, head_dim: int, alpha: float | None
) -> None:
    links = random_links(counts, tokens, table_rows, alpha)
    states = random_states(sum(counts), table_rows, heads, head_dim)
    output = interpolated_attention(*states, links, SCALING)
    torch.testing.assert_close(output.double(), defined_attention(*states, links), atol=1e-5, rtol=0)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.4, None], ids=["hold", "right", "between", "mixed"])
@pytest.mark.parametrize(("counts", "tokens", "table_rows", "heads", "head_dim"), SHAPES, ids=str)
def test_kernel_is_the_definition(
    counts: list[int],
    tokens: int,
    table_rows: int,
    heads: int,
    head_dim: int,
    alpha: float | None,
    kernel_device: torch.device,
) -> None:
    from hf_ttr.execution.kernels.interpolated_attention_triton import triton_interpolated_attention

    links = to_device(random_links(counts, tokens, table_rows, alpha), kernel_device)
    states = [part.to(kernel_device) for part in random_states(sum(counts), table_rows, heads, head_dim)]
    output = triton_interpolated_attention(*states, links, SCALING)
    torch.testing.assert_close(output.cpu().double(), defined_attention(*states, links), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("alpha", [0.0, None], ids=["hold", "mixed"])
def test_kernel_in_half_precision(dtype: torch.dtype, alpha: float | None, kernel_device: torch.device) -> None:
    from hf_ttr.execution.kernels.interpolated_attention_triton import triton_interpolated_attention

    if kernel_device.type == "cpu" and dtype == torch.bfloat16:
        pytest.skip("Triton's interpreter keeps bfloat16 as integers, of which it takes matrix products as such.")
    links = to_device(random_links([5, 0, 30], 80, 100, alpha), kernel_device)
    states = [part.to(kernel_device) for part in random_states(35, 100, 2, 64, dtype)]
    output = triton_interpolated_attention(*states, links, SCALING)
    assert output.dtype == dtype
    expected = defined_attention(*states, links)
    torch.testing.assert_close(output.cpu().double(), expected, atol=TOLERANCES[dtype], rtol=0)


def test_kernel_survives_large_scores(kernel_device: torch.device) -> None:
    from hf_ttr.execution.kernels.interpolated_attention_triton import triton_interpolated_attention

    links = to_device(random_links([6], 130, 60, None), kernel_device)
    query, keys, values = (part.to(kernel_device) for part in random_states(6, 60, 1, 32))
    states = (query * 100, keys * 100, values)
    output = triton_interpolated_attention(*states, links, SCALING)
    torch.testing.assert_close(output.cpu().double(), defined_attention(*states, links), atol=1e-3, rtol=0)


def test_kernel_reads_strided_states(kernel_device: torch.device) -> None:
    from hf_ttr.execution.kernels.interpolated_attention_triton import triton_interpolated_attention

    links = to_device(random_links([4, 9], 21, 30, None), kernel_device)
    states = [part.to(kernel_device) for part in random_states(13, 30, 2, 32)]
    # Heads before rows, and one part of a fused projection.
    by_head = [part.transpose(0, 1).contiguous().transpose(0, 1) for part in states]
    fused = [torch.cat([part, part.neg()], dim=-1)[..., :32] for part in states]
    for strided in (by_head, fused):
        assert not strided[0].is_contiguous()
        output = triton_interpolated_attention(*strided, links, SCALING)
        torch.testing.assert_close(output.cpu().double(), defined_attention(*states, links), atol=1e-5, rtol=0)


def test_kernel_reads_nothing_that_has_no_share(kernel_device: torch.device) -> None:
    from hf_ttr.execution.kernels.interpolated_attention_triton import triton_interpolated_attention

    links = random_links([3, 5], 20, 10, None)
    # Row 9 is never a left one, and the right one exactly where it has no share.
    links = replace(links, left=links.left % 9, right=torch.where(links.alpha > 0, links.right % 9, 9).to(torch.int32))
    query, keys, values = random_states(8, 10, 2, 32)
    expected = defined_attention(query, keys, values, links)
    for table in (keys, values):
        table[9] = torch.nan
    states = [part.to(kernel_device) for part in (query, keys, values)]
    output = triton_interpolated_attention(*states, to_device(links, kernel_device), SCALING)
    torch.testing.assert_close(output.cpu().double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("longest", [64, 100])
def test_kernel_takes_a_bound_for_the_longest_frame(longest: int, kernel_device: torch.device) -> None:
    from hf_ttr.execution.kernels.interpolated_attention_triton import triton_interpolated_attention

    links = to_device(random_links([3, 0, 7], 20, 25, None), kernel_device)
    states = [part.to(kernel_device) for part in random_states(10, 25, 1, 32)]
    bounded = triton_interpolated_attention(*states, replace(links, longest=longest, is_hold=False), SCALING)
    torch.testing.assert_close(bounded.cpu().double(), defined_attention(*states, links), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["reference", "kernel"])
def test_rows_of_no_frame_are_zero(name: str, request: pytest.FixtureRequest) -> None:
    attend = reference_interpolated_attention
    device = torch.device("cpu")
    if name == "kernel":
        device = request.getfixturevalue("kernel_device")
        from hf_ttr.execution.kernels.interpolated_attention_triton import triton_interpolated_attention as attend
    query, keys, values = (part.to(device) for part in random_states(9, 12, 2, 16))
    links = to_device(random_links([2, 4], 8, 12, None), device)
    output = attend(query, keys, values, links, SCALING)
    assert not output[6:].any() and output[:6].all()
    no_rows = replace(links, query_starts=torch.zeros_like(links.query_starts), longest=0)
    assert not attend(query, keys, values, no_rows, SCALING).any()
    assert attend(query[:0], keys, values, no_rows, SCALING).shape == (0, 2, 16)


def make_plan(batch: int, frames: int, tokens: int, has_past: bool, interpolate: bool) -> ReusePlan:
    computed = torch.rand(batch, frames, tokens, generator=torch.Generator().manual_seed(tokens)) < 0.3
    computed[:, :, 0] = True
    age = None
    if has_past:
        age = torch.arange(1, tokens + 1).expand(batch, tokens) % 4 + 1
    else:
        computed[:, 0] = True
    return ReusePlan.build(computed, age, interpolate)


@pytest.mark.parametrize("first_tokens_only", [False, True], ids=["all-rows", "cls-rows"])
@pytest.mark.parametrize(
    ("batch", "frames", "tokens", "has_past", "interpolate"),
    [
        (1, 4, 18, False, True),
        (2, 3, 20, True, True),
        (2, 4, 9, False, False),
        (2, 3, 17, True, False),
        (3, 1, 21, True, False),
    ],
    ids=["clips", "clips-with-a-past", "hold", "hold-with-a-past", "single-frames"],
)
def test_plans_are_carried_out_as_by_packed_attention(
    batch: int, frames: int, tokens: int, has_past: bool, interpolate: bool, first_tokens_only: bool
) -> None:
    heads, head_dim = 2, 8
    plan = make_plan(batch, frames, tokens, has_past, interpolate)
    call = FrameCall.of(plan, outputs=1 if first_tokens_only else None)
    layer = TemporalReuseCacheLayer()
    with torch.inference_mode():
        if has_past:
            layer.keys, layer.values = torch.randn(2, batch, heads, tokens, head_dim)
            layer.lazy_initialization(layer.keys, layer.values)
        states = torch.randn(3, 1, len(plan.rows), heads * head_dim)
        query = call.select_outputs(states[0]).unflatten(-1, (heads, head_dim)).transpose(1, 2)
        computed = (part.unflatten(-1, (heads, head_dim)).transpose(1, 2) for part in states[1:])
        keys, values = layer.update(*computed, plan)
        expected, _ = call.attend(
            eager_attention_forward, nn.Module(), query, keys, values, scaling=SCALING, dropout=0.0
        )
        # With single frames the table is what the cache holds: all streams, side by side.
        tables = (part.transpose(1, 2).flatten(0, 1) for part in (keys, values))
        links = FrameLinks.of(plan, [1] * (batch * frames) if first_tokens_only else plan.row_counts)
        output = interpolated_attention(query[0].transpose(0, 1), *tables, links, SCALING)
    torch.testing.assert_close(output, expected[0])


def test_reference_has_gradients() -> None:
    links = random_links([3, 2], 6, 8, None)
    query, keys, values = (part.requires_grad_() for part in random_states(5, 8, 1, 4))
    interpolated_attention(query, keys, values, links, SCALING).square().sum().backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in (query, keys, values))


def test_reasons() -> None:
    states = random_states(3, 4, 1, 32)
    assert "device cpu" in str(kernel_unavailable_reason(*states))
    assert unsupported_tensors_reason(*states) is None
    assert "head dimension is 160" in str(unsupported_tensors_reason(*random_states(3, 4, 1, 160)))
    assert "float64" in str(unsupported_tensors_reason(*random_states(3, 4, 1, 32, torch.float64)))
    query, keys, values = states
    assert "one dtype" in str(unsupported_tensors_reason(query.half(), keys, values))
    keys.requires_grad_()
    assert "gradients" in str(unsupported_tensors_reason(query, keys, values))
    with torch.inference_mode():
        assert unsupported_tensors_reason(query, keys, values) is None


def test_reasons_on_a_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnCuda:
        device = torch.device("cuda")

    monkeypatch.setattr(devices, "find_spec", lambda name: None)
    assert "triton is not installed" in str(kernel_unavailable_reason(OnCuda(), OnCuda(), OnCuda()))
    monkeypatch.setattr(devices, "find_spec", lambda name: "found")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert "compute capability 7.5" in str(kernel_unavailable_reason(OnCuda(), OnCuda(), OnCuda()))
