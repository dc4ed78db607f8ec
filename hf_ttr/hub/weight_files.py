"""Files of weights: in which dtypes they are, and how they become files of another."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterable

import torch

from ..storage.files import replacing


DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""Dtypes that weights can be written in, and what safetensors call them."""

_CODES = {**DTYPES, "float64": "F64"}


def dtypes_of(paths: Iterable[str]) -> set[str]:
    """The dtypes in files of safetensors, such as `"float16"`, of those that can be cast."""
    from safetensors import safe_open

    names = {code: name for name, code in _CODES.items()}
    found = set()
    for path in paths:
        with safe_open(path, framework="pt") as weights:
            found |= {weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
    return {names[code] for code in found if code in names}


def write_weights(path: str, folder: str, dtype: str | None) -> None:
    """
    Writes a file of weights, or the index of several, to a folder.

    Args:
        path: of the file.
        folder: for the new one, of the same name.
        dtype: of `DTYPES`, for all weights of floating numbers that are not quantized; `None` copies the file.

    Raises:
        ValueError: if a weight is too large for the dtype.
        OSError: if something cannot be read or written.
    """
    target = os.path.join(folder, os.path.basename(path))
    if dtype is None or not path.endswith(".safetensors"):
        shutil.copyfile(path, target)
        return
    from safetensors import safe_open
    from safetensors.torch import save_file

    weights = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            weights[name] = _cast(name, file.get_tensor(name), dtype)
        metadata = file.metadata() or {"format": "pt"}
    with replacing(target) as temporary:
        # safetensors makes files that others may not read.
        mode = stat.S_IMODE(os.stat(temporary).st_mode)
        save_file(weights, temporary, metadata=metadata)
        os.chmod(temporary, mode)


def write_size(index: str, weights: Iterable[str]) -> None:
    """Puts the size of the weights into the index of several files."""
    with open(index, encoding="utf-8") as file:
        content = json.load(file)
    metadata = content.get("metadata")
    if not isinstance(metadata, dict) or "total_size" not in metadata:
        return
    from safetensors import safe_open

    total = 0
    for path in weights:
        with safe_open(path, framework="pt") as file:
            tensors = (file.get_tensor(name) for name in file.keys())  # noqa: SIM118
            total += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    metadata["total_size"] = total
    with replacing(index) as temporary, open(temporary, "w", encoding="utf-8") as out:
        json.dump(content, out, indent=2, sort_keys=True)
        out.write("\n")


def _cast(name: str, weight: torch.Tensor, dtype: str) -> torch.Tensor:
    if str(weight.dtype).removeprefix("torch.") not in _CODES:
        return weight
    cast = weight.to(getattr(torch, dtype))
    if bool((cast.isinf() & weight.isfinite()).any()):
        raise ValueError(f"its weight '{name}' is too large for {dtype}")
    return cast.contiguous()


__all__ = ["DTYPES", "dtypes_of", "write_size", "write_weights"]
