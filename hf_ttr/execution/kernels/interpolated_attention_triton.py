"""
Attention of packed rows to interpolated keys and values in one Triton kernel.

A program takes a block of query rows of one frame and one head, and goes over the keys of the frame with an online
softmax (FlashAttention-2, Dao, ICLR 2024). It reads the table rows of which keys and values are made and interpolates
them in registers: no copy of the keys and values of a frame is ever made. Frames have as many rows as they have: the
rows of all frames lie side by side, as in variable-length attention.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl

from .frame_links import FrameLinks
from .tuning import KernelCase, Settings, kernels_file, tuned_settings, usual_settings


LOG2_E = math.log2(math.e)


@triton.jit
def interpolate_rows(
    table: tl.tensor,
    row_stride: tl.tensor,
    left: tl.tensor,
    right: tl.tensor,
    alpha: tl.tensor,
    is_key: tl.tensor,
    dims: tl.tensor,
    HEAD_DIM: tl.constexpr,
    HOLD: tl.constexpr,
) -> tl.tensor:
    """Reads table rows and interpolates: `(1 - alpha) * table[left] + alpha * table[right]`, shape `(keys, dims)`."""
    is_dim = dims[None, :] < HEAD_DIM
    states = tl.load(table + left[:, None] * row_stride + dims[None, :], mask=is_key[:, None] & is_dim, other=0.0)
    if not HOLD:
        # A masked row is not read: what is held costs one read, as under HOLD.
        is_between = is_key & (alpha > 0)
        other = tl.load(
            table + right[:, None] * row_stride + dims[None, :], mask=is_between[:, None] & is_dim, other=0.0
        )
        between = (1 - alpha)[:, None] * states.to(tl.float32) + alpha[:, None] * other.to(tl.float32)
        states = between.to(states.dtype)
    return states


@triton.jit
def interpolated_attention_kernel(
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    output: tl.tensor,
    query_starts: tl.tensor,
    left: tl.tensor,
    right: tl.tensor,
    alpha: tl.tensor,
    log2_scaling: tl.tensor,
    tokens: tl.tensor,
    blocks: tl.tensor,
    query_row_stride: tl.tensor,
    query_head_stride: tl.tensor,
    key_row_stride: tl.tensor,
    key_head_stride: tl.tensor,
    value_row_stride: tl.tensor,
    value_head_stride: tl.tensor,
    output_row_stride: tl.tensor,
    output_head_stride: tl.tensor,
    HEAD_DIM: tl.constexpr,
    HOLD: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
) -> None:
    """
    One block of query rows of one frame and head; the grid is `(frames * blocks, heads)`.

    See `FrameLinks` for `query_starts`, `left`, `right` and `alpha`. Scores are in powers of two: `log2_scaling` is
    the factor of the scores times log2(e).
    """
    frame = tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks
    head = tl.program_id(1)
    first = tl.load(query_starts + frame) + block * BLOCK_QUERIES
    end = tl.load(query_starts + frame + 1)
    # `blocks` is that of the longest frame: in the others the last programs have nothing to do.
    if first >= end:
        return

    dims = tl.arange(0, BLOCK_DIM)
    rows = first + tl.arange(0, BLOCK_QUERIES)
    is_row = (rows < end)[:, None] & (dims[None, :] < HEAD_DIM)
    # In a large batch a row's offset may exceed 32 bits.
    rows = rows.to(tl.int64)[:, None]
    block_query = tl.load(
        query + head * query_head_stride + rows * query_row_stride + dims[None, :], mask=is_row, other=0.0
    )

    largest = tl.full([BLOCK_QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_QUERIES], tl.float32)
    weighted = tl.zeros([BLOCK_QUERIES, BLOCK_DIM], tl.float32)
    for start in range(0, tokens, BLOCK_KEYS):
        positions = start + tl.arange(0, BLOCK_KEYS)
        is_key = positions < tokens
        link = frame.to(tl.int64) * tokens + positions
        left_rows = tl.load(left + link, mask=is_key, other=0).to(tl.int64)
        right_rows = left_rows
        share = tl.zeros([BLOCK_KEYS], tl.float32)
        if not HOLD:
            right_rows = tl.load(right + link, mask=is_key, other=0).to(tl.int64)
            share = tl.load(alpha + link, mask=is_key, other=0.0)

        block_keys = interpolate_rows(
            keys + head * key_head_stride, key_row_stride, left_rows, right_rows, share, is_key, dims, HEAD_DIM, HOLD
        )
        scores = tl.dot(block_query, tl.trans(block_keys), input_precision=PRECISION) * log2_scaling
        scores = tl.where(is_key[None, :], scores, float("-inf"))

        new_largest = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp2(scores - new_largest[:, None])
        correction = tl.exp2(largest - new_largest)
        largest = new_largest
        total = total * correction + tl.sum(weights, 1)

        block_values = interpolate_rows(
            values + head * value_head_stride,
            value_row_stride,
            left_rows,
            right_rows,
            share,
            is_key,
            dims,
            HEAD_DIM,
            HOLD,
        )
        weighted = weighted * correction[:, None]
        weighted = tl.dot(weights.to(block_values.dtype), block_values, weighted, input_precision=PRECISION)

    result = (weighted / total[:, None]).to(output.dtype.element_ty)
    tl.store(output + head * output_head_stride + rows * output_row_stride + dims[None, :], result, mask=is_row)


def compile_time_settings(query: torch.Tensor, links: FrameLinks) -> dict[str, Any]:
    """What the compiled kernel depends on for rows `(rows, heads, head_dim)` and their links, beside block sizes."""
    head_dim = query.shape[-1]
    return {
        "HEAD_DIM": head_dim,
        "HOLD": links.is_hold,
        # Three products in TF32 make one that is as good as float32, and run on tensor cores.
        "PRECISION": "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3",
        "BLOCK_DIM": max(16, triton.next_power_of_2(head_dim)),
    }


def block_settings(query: torch.Tensor, links: FrameLinks) -> Settings:
    """Block sizes of the kernel: those that were found best on the device, see `tuning`, or the usual ones."""
    if query.device.type != "cuda":
        return usual_settings(query.dtype, query.shape[-1], links.longest)
    case = KernelCase.on(query.device, query.dtype, query.shape[-1], links.is_hold, links.longest)
    return tuned_settings(case, kernels_file())


def triton_interpolated_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, links: FrameLinks, scaling: float
) -> torch.Tensor:
    """`interpolated_attention` in one kernel; see there. Its head dimension must lie side by side in memory."""
    settings = compile_time_settings(query, links) | block_settings(query, links)
    return run_kernel(query, keys, values, links, scaling, settings)


def run_kernel(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    links: FrameLinks,
    scaling: float,
    settings: dict[str, Any],
) -> torch.Tensor:
    """`triton_interpolated_attention` with the given settings, those of `compile_time_settings` and block sizes."""
    query, keys, values = (
        states if states.stride(-1) == 1 else states.contiguous() for states in (query, keys, values)
    )
    rows, heads, head_dim = query.shape
    frames, tokens = links.left.shape
    # Rows of no frame are written by no program.
    output = torch.zeros((rows, heads, head_dim), dtype=query.dtype, device=query.device)
    if not links.longest:
        return output
    blocks = triton.cdiv(links.longest, settings["BLOCK_QUERIES"])
    # Triton launches on the current device, whatever the tensors are on.
    with torch.cuda.device_of(query):
        interpolated_attention_kernel[(frames * blocks, heads)](
            query,
            keys,
            values,
            output,
            links.query_starts,
            links.left,
            links.right,
            links.alpha,
            scaling * LOG2_E,
            tokens,
            blocks,
            *query.stride()[:2],
            *keys.stride()[:2],
            *values.stride()[:2],
            *output.stride()[:2],
            **settings,
        )
    return output
