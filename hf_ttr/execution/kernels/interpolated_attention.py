"""Attention of packed rows to interpolated keys and values: the reference in torch, and when a kernel replaces it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from ...devices import triton_unavailable_reason
from .frame_links import FrameLinks


MAX_HEAD_DIM = 128
"""The largest head dimension for which the kernel was compiled and tested."""

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
"""Dtypes of the kernel; it accumulates in float32."""


def interpolated_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, links: FrameLinks, scaling: float
) -> torch.Tensor:
    """
    Lets the rows of each frame attend to the interpolated keys and values of that frame.

    Runs in one Triton kernel where it can, and otherwise as `reference_interpolated_attention`.

    Args:
        query (`torch.Tensor` of shape `(rows, heads, head_dim)`): the packed rows.
        keys, values (`torch.Tensor` of shape `(table_rows, heads, head_dim)`): the table.
        links: the rows of each frame, and of what its keys and values are made.
        scaling (`float`): factor of the scores.

    Returns:
        `torch.Tensor` of shape `(rows, heads, head_dim)`, in the dtype of the query; 0 for rows of no frame.
    """
    if kernel_unavailable_reason(query, keys, values) is not None:
        return reference_interpolated_attention(query, keys, values, links, scaling)
    from .interpolated_attention_triton import triton_interpolated_attention

    return triton_interpolated_attention(query, keys, values, links, scaling)


def kernel_unavailable_reason(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> str | None:
    """
    Why the kernel cannot run on these tensors, in a sentence; `None` where it can.

    Args:
        query, keys, values: as in `interpolated_attention`.
    """
    return triton_unavailable_reason(query.device) or unsupported_tensors_reason(query, keys, values)


def unsupported_tensors_reason(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> str | None:
    """The part of `kernel_unavailable_reason` that holds on every device: dtypes, head dimension, autograd."""
    if query.dtype not in DTYPES or not query.dtype == keys.dtype == values.dtype:
        return (
            f"query, keys and values are {query.dtype}, {keys.dtype} and {values.dtype}, and the kernel takes one "
            "dtype for all, of float16, bfloat16 and float32."
        )
    if query.shape[-1] > MAX_HEAD_DIM:
        return f"the head dimension is {query.shape[-1]}, and the kernel takes up to {MAX_HEAD_DIM}."
    if torch.is_grad_enabled() and any(states.requires_grad for states in (query, keys, values)):
        return "gradients are wanted, and the kernel has no backward pass; use torch.inference_mode()."
    return None


def reference_interpolated_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, links: FrameLinks, scaling: float
) -> torch.Tensor:
    """`interpolated_attention` frame by frame in plain torch, on any device and under autograd."""
    output = torch.zeros_like(query)
    for frame, (start, end) in enumerate(pairwise(links.query_starts.tolist())):
        if start == end:
            continue
        own_keys, own_values = (frame_states(table, links, frame).transpose(0, 1) for table in (keys, values))
        attended = nn.functional.scaled_dot_product_attention(
            query[start:end].transpose(0, 1), own_keys, own_values, scale=scaling
        )
        output[start:end] = attended.transpose(0, 1)
    return output


def frame_states(table: torch.Tensor, links: FrameLinks, frame: int) -> torch.Tensor:
    """The keys or values of one frame, `(tokens, heads, head_dim)`, interpolated in float32."""
    left = table.index_select(0, links.left[frame])
    if links.is_hold:
        return left
    right = table.index_select(0, links.right[frame])
    alpha = links.alpha[frame, :, None, None]
    return ((1 - alpha) * left + alpha * right).to(table.dtype)
