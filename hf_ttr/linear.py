"""Linear layers on the CPU: the product that is fastest for the number of rows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from .packed_weights import PACKED_ROWS, PackedWeights


MIN_WEIGHTS = 2**17
"""Weights of a layer below which the product is too small for the choice of kernel to matter."""

FEW_ROWS = 256
"""Up to this many rows BLAS spends more on bringing the weights into its own order than it gains from it."""

COLUMNS = 16
"""The transposed product is at its best with a multiple of this many rows."""

MAX_PADDING = 0.07
"""Share of the columns that may be padding."""


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


class FewRowsLinear(TorchFunctionMode):
    """
    Inside this context, linear layers of plain float32 weights on the CPU use what is fastest for few rows.

    torch hands them to BLAS as it finds them, which is at its best with hundreds of rows. At the few dozen rows of a
    frame with reuse the transposed product (weights first) is up to a third faster where the rows fill its columns,
    and oneDNN a tenth where they do not, with the same weights and no packed copy of them. What is not such a layer
    (quantized, adapted, on another device, under autograd) runs as ever. The context holds for one thread.

    Args:
        packed_weights (`PackedWeights`, *optional*): with them, oneDNN serves up to `PACKED_ROWS` rows.
    """

    def __init__(self, packed_weights: PackedWeights | None = None) -> None:
        super().__init__()
        self.packed_weights = packed_weights

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict | None = None
    ) -> Any:
        """Replaces `linear` where it can; hands everything else on."""
        if func is nn.functional.linear and not kwargs and len(args) == 3 and _is_plain(*args):
            rows = args[0].numel() // args[0].shape[-1]
            if self.packed_weights is not None and rows <= PACKED_ROWS:
                packed = self.packed_weights.of(args[1])
                if packed is not None:
                    return onednn_linear(args[0], packed, args[2])
            padding = -rows % COLUMNS
            if padding <= MAX_PADDING * rows:
                return transposed_linear(*args, padding)
            if has_onednn():
                return onednn_linear(*args)
        return func(*args, **(kwargs or {}))


@contextmanager
def paused(linear: AbstractContextManager[object]) -> Iterator[None]:
    """
    Leaves the context that `few_rows_linear` gave, where that is the innermost one, and enters it again.

    It looks at every operation of torch, which is felt where there are many small ones and no linear layer.
    """
    if not isinstance(linear, FewRowsLinear) or _get_current_function_mode() is not linear:
        yield
        return
    linear.__exit__(None, None, None)
    try:
        yield
    finally:
        linear.__enter__()


def few_rows_linear(
    layers: Iterable[nn.Module], packed_weights: PackedWeights | None
) -> AbstractContextManager[object]:
    """The context in which to run layers: compiled ones bring products of their own, which it must not step into."""
    if any(layer._compiled_call_impl is not None for layer in layers):
        return nullcontext()
    return FewRowsLinear(packed_weights)


def has_onednn() -> bool:
    """Whether torch was built with the products of oneDNN."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise")


def onednn_linear(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """A linear layer by oneDNN; the weight may be packed (`PackedWeights`)."""
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product


def transposed_linear(
    rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, padding: int
) -> torch.Tensor:
    """
    A linear layer as weights times columns, with so many columns of padding.

    Args:
        rows (`torch.Tensor` of shape `(..., inputs)`), weight (`torch.Tensor` of shape `(outputs, inputs)`),
        bias (`torch.Tensor` of shape `(outputs,)`, *optional*): as in `torch.nn.functional.linear`.
        padding (`int`): number of rows to add for the product.

    Returns:
        `torch.Tensor` of shape `(..., outputs)`; its rows lie side by side in memory.
    """
    flat = rows.reshape(-1, rows.shape[-1])
    if padding:
        flat = nn.functional.pad(flat, (0, 0, 0, padding))
    columns = weight @ flat.t() if bias is None else torch.addmm(bias[:, None], weight, flat.t())
    return columns.t()[: len(flat) - padding].reshape(*rows.shape[:-1], -1)


def is_plain_tensor(weight: torch.Tensor) -> bool:
    """Whether a weight holds its numbers itself: those of quantized types pass for float32, and are not."""
    return type(weight) in (torch.Tensor, nn.Parameter)


def dtype_of_inputs(layer: nn.Module, default: torch.dtype) -> torch.dtype:
    """The dtype that a layer computes in; the default if it does not show, as where weights are stored as bytes."""
    dtype = getattr(getattr(layer, "weight", None), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else default


def _is_plain(rows: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    return (
        is_plain_tensor(weight)
        and rows.device.type == "cpu"
        and rows.dtype == weight.dtype == torch.float32
        and weight.numel() >= MIN_WEIGHTS
        and 0 < rows.numel() <= FEW_ROWS * rows.shape[-1]
        and not (torch.is_grad_enabled() and (rows.requires_grad or weight.requires_grad))
        and not torch.compiler.is_compiling()
    )
