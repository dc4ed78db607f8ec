"""The kernel compiles for GPUs that are not there: what Triton's interpreter lets pass is found here."""

from __future__ import annotations

import os

import pytest
import torch

from .frames import random_links, random_states


pytest.importorskip("triton", reason="triton is not installed: `pip install triton` to compile the kernel.")

SHARED_MEMORY = {80: 163 * 1024, 86: 99 * 1024, 90: 227 * 1024}
"""Bytes of shared memory that a block may use, by compute capability (CUDA programming guide)."""

POINTERS = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}


@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="TRITON_INTERPRET=1 is set, and Triton then compiles nothing."
)
@pytest.mark.parametrize(
    ("capability", "dtype", "head_dim", "longest", "alpha"),
    [
        (80, torch.bfloat16, 64, 197, None),
        (90, torch.bfloat16, 64, 197, None),
        (80, torch.bfloat16, 64, 20, 0.0),
        (90, torch.float16, 32, 1, None),
        (86, torch.bfloat16, 80, 64, None),
        (86, torch.bfloat16, 128, 64, None),
        (86, torch.float32, 64, 64, None),
        (86, torch.float32, 128, 64, None),
    ],
    ids=str,
)
def test_kernel_compiles(
    capability: int, dtype: torch.dtype, head_dim: int, longest: int, alpha: float | None
) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from hf_ttr.execution.kernels.interpolated_attention_triton import interpolated_attention_kernel, kernel_settings

    query, _, _ = random_states(longest, 1, 2, head_dim, dtype)
    settings = kernel_settings(query, random_links([longest], 197, 200, alpha))
    options = {name: settings.pop(name) for name in ("num_warps", "num_stages")}
    types = dict.fromkeys(interpolated_attention_kernel.arg_names, "i32")
    types |= dict.fromkeys(("query", "keys", "values", "output"), POINTERS[dtype])
    types |= dict.fromkeys(("query_starts", "left", "right"), "*i32")
    types |= {"alpha": "*fp32", "log2_scaling": "fp32"} | dict.fromkeys(settings, "constexpr")
    # Pointers of tensors, and strides of whole heads, are multiples of 16.
    aligned = [name for name, kind in types.items() if kind.startswith("*") or name.endswith("_stride")]
    places = {(interpolated_attention_kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in aligned}
    source = ASTSource(interpolated_attention_kernel, types, settings, places)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert f".target sm_{capability}" in compiled.asm["ptx"]
    assert "cubin" in compiled.asm
    assert compiled.metadata.shared <= SHARED_MEMORY[capability]
    # The products run on tensor cores.
    assert "mma" in compiled.asm["ptx"]
