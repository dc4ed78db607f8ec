"""Linear layers: those that use packed copies of their weights for few rows, and what can be known of any."""

from __future__ import annotations

import logging
from functools import cache

import torch
from torch import nn

from .packed_weights import PackedWeights


MIN_WEIGHTS = 2**17
"""Weights of a layer below which the product is too small for the choice of kernel to matter."""

PACKED_ROWS = 256
"""Up to this many rows BLAS spends more on bringing the weights into its own order than it gains from it."""


logger = logging.getLogger(__name__)


def warn_of_slow_dtype(model: nn.Module) -> None:
    """Says, once, that float16 is slow on most CPUs: those without instructions for it, several times slower."""
    weight = next(model.parameters(), None)
    if weight is not None and weight.dtype == torch.float16 and weight.device.type == "cpu":
        _warn_of_float16()


@cache
def _warn_of_float16() -> None:
    logger.warning(
        "The model computes in float16 on the CPU, which on most of them takes several times as long as float32; load "
        "it with dtype=torch.float32, or call model.float()."
    )


class PackedLinear(nn.Linear):
    """
    A linear layer that uses a packed copy of its weight for few rows, and is its parent where that does not fit.

    BLAS brings weights into an order of its own in every call, on which it spends more than it gains at the few dozen
    rows of a frame with reuse. Layers become such by `pack_linear`, in place.

    Attributes:
        packed_weights (`PackedWeights`): the copies, which layers share.
    """

    packed_weights: PackedWeights

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As the parent's."""
        if _has_few_plain_rows(input, self.weight):
            packed = self.packed_weights.of(self.weight)
            if packed is not None:
                return onednn_linear(input, packed, self.bias)
        return super().forward(input)


def pack_linear(layer: nn.Linear, packed_weights: PackedWeights) -> None:
    """Makes a layer of torch one that uses these copies."""
    layer.__class__ = PackedLinear
    layer.packed_weights = packed_weights  # type: ignore[assignment]


def unpack_linear(layer: nn.Module) -> None:
    """Makes it one of torch again, if it is such a layer."""
    if type(layer) is PackedLinear:
        layer.__class__ = nn.Linear  # type: ignore[assignment]
        del layer.packed_weights


def has_onednn() -> bool:
    """Whether torch was built with the products of oneDNN."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


def onednn_linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """A linear layer by oneDNN; the weight may be packed (`PackedWeights`)."""
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product


def is_plain_tensor(weight: torch.Tensor) -> bool:
    """Whether a weight holds its numbers itself: those of quantized types pass for float32, and are not."""
    return type(weight) in (torch.Tensor, nn.Parameter)


def dtype_of_inputs(layer: nn.Module, default: torch.dtype) -> torch.dtype:
    """The dtype that a layer computes in; the default if it does not show, as where weights are stored as bytes."""
    dtype = getattr(getattr(layer, "weight", None), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else default


def _has_few_plain_rows(rows: torch.Tensor, weight: torch.Tensor) -> bool:
    return (
        is_plain_tensor(weight)
        and rows.device.type == "cpu"
        and rows.dtype == weight.dtype == torch.float32
        and 0 < rows.numel() <= PACKED_ROWS * rows.shape[-1]
        and not (torch.is_grad_enabled() and (rows.requires_grad or weight.requires_grad))
        and not torch.compiler.is_compiling()
    )
