"""Where the kernels run in tests: on a GPU, or in Triton's interpreter."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
import torch


@pytest.fixture
def kernel_device() -> torch.device:
    """A device on which Triton runs; the test is skipped where there is none."""
    if find_spec("triton") is None:
        pytest.skip("triton is not installed: `pip install triton` to run the kernel's tests.")
    if os.environ.get("TRITON_INTERPRET") == "1":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device: set TRITON_INTERPRET=1 to run the kernel in Triton's interpreter.")
    return torch.device("cuda")
