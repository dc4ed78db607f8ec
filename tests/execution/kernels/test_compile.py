"""The kernel compiles for GPUs that are not there: what Triton's interpreter lets pass is found here."""

from __future__ import annotations

import pytest
import torch

from hf_ttr.execution.kernels.frame_links import FrameLinks
from hf_ttr.execution.kernels.tuning import Settings, candidates

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
    from hf_ttr.execution.kernels.interpolated_attention_triton import block_settings

    query, _, _ = random_states(longest, 1, 2, head_dim, dtype)
    links = random_links([longest], 197, 200, alpha)
    check_compiles(capability, query, links, block_settings(query, links))


@needs_compiler
@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("head_dim", [64, 80, 128])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_all_settings_that_are_tried_compile(capability: int, dtype: torch.dtype, head_dim: int) -> None:
    query, _, _ = random_states(197, 1, 2, head_dim, dtype)
    links = random_links([197], 197, 200, None)
    for settings in candidates(dtype, head_dim, links.longest):
        check_compiles(capability, query, links, settings)


def check_compiles(capability: int, query: torch.Tensor, links: FrameLinks, settings: Settings) -> None:
    from hf_ttr.execution.kernels.interpolated_attention_triton import (
        compile_time_settings,
        interpolated_attention_kernel,
    )

    types = dict.fromkeys(("query", "keys", "values", "output"), POINTERS[query.dtype])
    types |= dict.fromkeys(("query_starts", "left", "right"), "*i32") | {"alpha": "*fp32", "log2_scaling": "fp32"}
    constants = compile_time_settings(query, links) | settings
    compiled = compiled_kernel(interpolated_attention_kernel, types, constants, capability)
    # The products run on tensor cores.
    assert "mma" in compiled.asm["ptx"]
