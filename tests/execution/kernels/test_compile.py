"""The kernel compiles for GPUs that are not there: what Triton's interpreter lets pass is found here."""

from __future__ import annotations

import pytest
import torch

from .compiling import compiled_kernel, needs_compiler
from .frames import random_links, random_states


pytest.importorskip("triton", reason="triton is not installed: `pip install triton` to compile the kernel.")

POINTERS = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}


@needs_compiler
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
    from hf_ttr.execution.kernels.interpolated_attention_triton import interpolated_attention_kernel, kernel_settings

    query, _, _ = random_states(longest, 1, 2, head_dim, dtype)
    settings = kernel_settings(query, random_links([longest], 197, 200, alpha))
    types = dict.fromkeys(("query", "keys", "values", "output"), POINTERS[dtype])
    types |= dict.fromkeys(("query_starts", "left", "right"), "*i32") | {"alpha": "*fp32", "log2_scaling": "fp32"}
    compiled = compiled_kernel(interpolated_attention_kernel, types, settings, capability)
    # The products run on tensor cores.
    assert "mma" in compiled.asm["ptx"]
