"""Linear layers on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


MIN_WEIGHTS = 2**17
"""Weights of a layer below which the product is too small for the choice of kernel to matter."""


class OneDNNLinear(TorchFunctionMode):
    """
    Inside this context, linear layers of plain float32 weights on the CPU run in oneDNN.

    torch uses BLAS for them, which is at its best with many rows; at the few dozen rows of a frame with reuse oneDNN
    is a quarter faster, with the same weights and no packed copy of them. What is not such a layer
    (quantized, adapted, on another device, under autograd) runs as ever. The context holds for one thread.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict | None = None
    ) -> Any:
        """Replaces `linear` where it can; hands everything else on."""
        if func is nn.functional.linear and not kwargs and len(args) == 3 and _is_plain(*args):
            return torch.ops.mkldnn._linear_pointwise(*args, "none", [], "")
        return func(*args, **(kwargs or {}))


def _is_plain(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    return (
        rows.device.type == "cpu"
        and rows.dtype == weight.dtype == torch.float32
        and weight.numel() >= MIN_WEIGHTS
        and not (torch.is_grad_enabled() and (rows.requires_grad or weight.requires_grad))
        and not torch.compiler.is_compiling()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
