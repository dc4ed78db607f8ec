"""Compiles kernels for GPUs that are not there: what Triton's interpreter lets pass is found so."""

from __future__ import annotations

import os
from typing import Any

import pytest


SHARED_MEMORY = {80: 163 * 1024, 86: 99 * 1024, 90: 227 * 1024}
"""Bytes of shared memory that a block may use, by compute capability (CUDA programming guide)."""

needs_compiler = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="TRITON_INTERPRET=1 is set, and Triton then compiles nothing."
)


def compiled_kernel(kernel: Any, types: dict[str, str], settings: dict[str, Any], capability: int) -> Any:
    """
    The compiled kernel, whose code is of the compute capability and fits into its shared memory.

    Args:
        kernel: a function under `triton.jit`.
        types (`dict[str, str]`): Triton's names of the types of arguments that are not 32-bit integers.
        settings (`dict[str, Any]`): the compile-time settings.
        capability (`int`): such as 90.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = dict(settings)
    options = {name: constants.pop(name) for name in ("num_warps", "num_stages") if name in constants}
    types = dict.fromkeys(kernel.arg_names, "i32") | types | dict.fromkeys(constants, "constexpr")
    # Pointers of tensors, and strides of whole heads, are multiples of 16.
    aligned = [name for name, kind in types.items() if kind.startswith("*") or name.endswith("_stride")]
    places = {(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(kernel, types, constants, places)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert f".target sm_{capability}" in compiled.asm["ptx"]
    assert "cubin" in compiled.asm
    assert compiled.metadata.shared <= SHARED_MEMORY[capability]
    return compiled
