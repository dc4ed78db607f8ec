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

# Numbers of each matrix that are compared in each call.
_SAMPLES = 64

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
    as it does not count what goes through `.data` or numpy, from some numbers of each matrix, in rows and columns that
    are spread over it: what is changed like that in a single row, or in a bias alone, may be overlooked.
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
            is_matrix = tensor.dim() > 1 and tensor.dtype in _SAMPLED and tensor.layout == torch.strided
            if is_matrix and not tensor.is_meta and (view := _sample(tensor.detach())) is not None:
                views.setdefault((tensor.dtype, tensor.device), []).append(view)
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
        own = module.__dict__
        for held in (own["_parameters"], own["_buffers"]):
            for tensor in held.values():
                if tensor is None:
                    continue
                kind = type(tensor)
                if kind is nn.Parameter or kind is torch.Tensor:
                    self.tensors.append(tensor)
                else:
                    self.tensors += plain_tensors(tensor)
        if "_packed_params" in own:
            self.quantized.append(module)
        elif isinstance(getattr(type(module), "active_adapters", None), property):  # models have methods of that name
            names = ("active_adapters", "disable_adapters", "merged_adapters", "scaling")
            self.adapters += [repr(getattr(module, name, None)) for name in names]
        for part in own["_modules"].values():
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


def _sample(tensor: torch.Tensor) -> torch.Tensor | None:
    """A view of some numbers of a matrix, from rows and columns spread over it; `None` of scattered memory."""
    tensor = tensor.permute(sorted(range(tensor.dim()), key=tensor.stride, reverse=True)).squeeze()
    if not tensor.is_contiguous():
        return None
    # A little less than whole rows, or all would be of the same columns.
    step = tensor.numel() // _SAMPLES - tensor.shape[-1] // _SAMPLES - 1
    return tensor.view(-1)[:: max(1, step)][: 2 * _SAMPLES]


def _gather(views: Iterable[list[torch.Tensor]]) -> list[torch.Tensor]:
    return [torch.cat(own) for own in views]


__all__ = ["WeightsFingerprint", "plain_tensors", "weights_digest"]
