"""Tells the weights of one model from those of another, and a model from what it was before its weights changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


# Numbers of 8 bytes in a row of those that are summed.
_WIDTH = 512

# Tensors of up to so many numbers are looked at whole.
_SMALL = 2**12

_SAMPLED = {torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int32}


def weights_digest(module: nn.Module) -> str:
    """
    A digest of all that a module computes with: the numbers of its parameters and buffers, its adapters' settings.

    It is the same in every process, on every device and in every copy. It looks at sums along rows and columns, which
    change with whatever is changed or moved, and is no defence against weights that are made to have the same.

    Args:
        module (`nn.Module`): a model or a part of one, plain or quantized.

    Returns:
        `str`: 16 hexadecimal digits.
    """
    parts = _Parts()
    parts.add(module)
    digest = hashlib.sha256(repr(parts.adapters).encode())
    unpacked = [
        tensor.dequantize() for layer in parts.quantized for tensor in layer._weight_bias() if tensor is not None
    ]
    for tensor in parts.tensors + unpacked:
        digest.update(repr((str(tensor.dtype), tuple(tensor.shape))).encode())
        for sums in _sums(tensor):
            digest.update(sums.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


class WeightsFingerprint:
    """
    The digest of a module that is called again and again, taken anew only when its weights changed.

    Whether they did is seen from the tensors that are there, from how often torch counts that each was changed, and,
    as it does not count what goes through `.data` or numpy, from some numbers of every row and every column.
    """

    def __init__(self) -> None:
        self._known: _Known | None = None

    def of(self, module: nn.Module) -> str:
        """
        The digest of a module as it is now, see `weights_digest`.

        Args:
            module (`nn.Module`): always the same one.
        """
        parts = _Parts()
        parts.add(module)
        state = parts.state()
        known = self._known  # read once: another thread may be here with the same model
        if known is not None and known.state == state and all(map(torch.equal, known.samples, _gather(known.views))):
            return known.digest
        views: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
        for tensor in parts.tensors:
            if tensor.dtype in _SAMPLED and tensor.layout == torch.strided and not tensor.is_meta:
                views.setdefault((tensor.dtype, tensor.device), []).extend(_sample(tensor.detach()))
        packed = [layer._packed_params for layer in parts.quantized]
        self._known = _Known(state, packed, list(views.values()), _gather(views.values()), weights_digest(module))
        return self._known.digest

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy of a model has weights of its own.
        return type(self), ()


@dataclass(frozen=True)
class _Known:
    """What a module was when its digest was taken; `views` and `packed` keep their memory from being used anew."""

    state: Any
    packed: list[Any]
    views: list[list[torch.Tensor]]
    samples: list[torch.Tensor]
    digest: str


def plain_tensors(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors that hold the numbers of a tensor: itself, or what one of a quantized type is made of."""
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    return [part for name in tensor.__tensor_flatten__()[0] for part in plain_tensors(getattr(tensor, name))]


class _Parts:
    """
    What a module computes with.

    Attributes:
        tensors: plain tensors of parameters and buffers.
        quantized: layers whose weights are in no tensor, but in what torch packs, replaces and never changes.
        adapters: which adapters a layer computes with, and how much of each.
    """

    def __init__(self) -> None:
        self.tensors: list[torch.Tensor] = []
        self.quantized: list[Any] = []
        self.adapters: list[str] = []

    def add(self, module: nn.Module) -> None:
        """Takes a module with all within; this is done in every call, and in a third of the time of `modules()`."""
        for held in (module._parameters, module._buffers):
            for tensor in held.values():
                if type(tensor) in (nn.Parameter, torch.Tensor):
                    self.tensors.append(tensor)  # type: ignore[arg-type]
                elif tensor is not None:
                    self.tensors += plain_tensors(tensor)
        kind = type(module)
        if "_packed_params" in vars(module):
            self.quantized.append(module)
        elif isinstance(getattr(kind, "active_adapters", None), property):  # models have methods of that name
            names = ("active_adapters", "disable_adapters", "merged_adapters", "scaling")
            self.adapters += [repr(getattr(module, name, None)) for name in names]
        for part in module._modules.values():
            if part is not None:
                self.add(part)

    def state(self) -> Any:
        """What tells at once that something is another or was changed."""
        return (
            [tensor.data_ptr() for tensor in self.tensors],
            [None if tensor.is_inference() else tensor._version for tensor in self.tensors],
            [id(layer._packed_params) for layer in self.quantized],
            self.adapters,
        )


def _sums(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Whole numbers that change with the bytes of a tensor."""
    if tensor.is_meta:  # its weights are elsewhere until it is called
        return
    values = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    whole = values.numel() // (8 * _WIDTH) * 8 * _WIDTH
    if values.storage_offset() % 8:
        values = values.clone()
    if whole:
        rows = values[:whole].view(torch.int64).view(-1, _WIDTH)
        yield rows.sum(0)
        yield rows.sum(1)
    yield values[whole:]


def _sample(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Views of a tensor in one dimension that together touch every row and every column."""
    tensor = tensor.permute(sorted(range(tensor.dim()), key=tensor.stride, reverse=True)).squeeze()
    if tensor.is_contiguous():
        tensor = tensor.flatten(1) if tensor.numel() > _SMALL and tensor.dim() > 1 else tensor.view(-1)
    elif tensor.dim() != 2:
        return
    if tensor.dim() == 1:
        yield tensor
        return
    if tensor.shape[0] < tensor.shape[1]:
        tensor = tensor.t()
    for block in tensor.split(tensor.shape[1]):
        yield block.diagonal()


def _gather(views: Iterable[list[torch.Tensor]]) -> list[torch.Tensor]:
    return [torch.cat(own) for own in views]


__all__ = ["WeightsFingerprint", "plain_tensors", "weights_digest"]
