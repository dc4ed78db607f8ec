"""What stands for a device that the host must not wait for: it counts what is read in lists, and refuses the rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def lists_read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """
    From now on the host may read tensors as lists alone, and makes none out of numbers.

    Returns:
        The shapes of those that it reads, one after another.
    """
    read: list[tuple[int, ...]] = []
    to_list = torch.Tensor.tolist

    def counted(tensor: torch.Tensor) -> Any:
        read.append(tuple(tensor.shape))
        return to_list(tensor)

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("the host asked the device, or told it something")

    monkeypatch.setattr(torch.Tensor, "tolist", counted)
    monkeypatch.setattr(torch, "tensor", refused)
    for name in ("item", "__bool__", "__int__", "__float__", "__index__", "nonzero", "cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, refused)
    return read
