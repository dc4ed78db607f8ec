"""Devices: where models run, on which of them Triton's kernels do, and how numbers of the host get to them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch

from .checks import first_line


MIN_CAPABILITY = (8, 0)
"""The oldest compute capability for which Triton compiles matrix products of all dtypes of the kernels."""


def triton_unavailable_reason(device: torch.device) -> str | None:
    """Why kernels cannot run on a device, in a sentence; `None` where they can."""
    if device.type != "cuda":
        return f"the tensors are on the device {device}, and the kernel needs a CUDA device."
    if find_spec("triton") is None:
        return "triton is not installed; it comes with the CUDA builds of torch, or with `pip install triton`."
    capability = torch.cuda.get_device_capability(device)
    if capability < MIN_CAPABILITY:
        return (
            f"the GPU has compute capability {capability[0]}.{capability[1]}, and the kernel needs "
            f"{MIN_CAPABILITY[0]}.{MIN_CAPABILITY[1]} or later."
        )
    return None


def on_device(numbers: Sequence[int], device: torch.device) -> torch.Tensor:
    """Numbers that the host knows, a `torch.LongTensor` on a device; the host does not wait until they are there."""
    own = torch.tensor(numbers, dtype=torch.long, device="cpu")
    return own.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else own.to(device)


def check_device(device: str | None) -> None:
    """
    Looks whether there is such a device.

    Args:
        device (`str`, *optional*): its name; without one, all is well.

    Raises:
        ValueError: if it cannot be used; one sentence.
    """
    if device is None:
        return
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"The device '{device}' cannot be used here ({first_line(error)}); pass 'cpu', or leave it out."
        ) from error


def place_model(model: Any, device: str | torch.device | None = None, dtype: str | None = None) -> bool:
    """
    Puts a model where it is to run.

    Args:
        model: changed in place.
        device (`str`, *optional*): by default the GPU if there is one.
        dtype (`str`, *optional*): of the weights; by default as they are, on a CPU float32 for float16, with which
            most CPUs are several times slower.

    Returns:
        `bool`: whether that was done to float16 weights.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    widens = dtype is None and place.type == "cpu" and model.dtype == torch.float16
    model.to(place)
    if widens or dtype is not None:
        model.to(torch.float32 if dtype is None else getattr(torch, dtype))
    return widens
