"""Settings and fixtures of all tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from transformers import ViTForImageClassification

from hf_ttr import TemporalReuseViTForVideoClassification

from .tiny import make_clip, tiny_parent, tiny_video_classifier


# Tiny models lose time on threads, and pytest-xdist fills the cores.
torch.set_num_threads(1)

# The same examples in every run; HYPOTHESIS_PROFILE=thorough tries twenty times as many, and others every time.
REPRODUCIBLE = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=45,
    stateful_step_count=12,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("reproducible", REPRODUCIBLE)
settings.register_profile(
    "thorough", REPRODUCIBLE, derandomize=False, max_examples=20 * REPRODUCIBLE.max_examples, print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "reproducible"))

# Markers of transformers' own tests, which tests/models/test_model_tester.py runs.
UPSTREAM_MARKERS = (
    "accelerate_tests",
    "flash_attn_test",
    "flash_attn_3_test",
    "flash_attn_4_test",
    "slow",
    "torch_compile_test",
)


def pytest_configure(config: pytest.Config) -> None:
    for marker in UPSTREAM_MARKERS:
        config.addinivalue_line("markers", f"{marker}: a marker of transformers' own tests")


class LogRecords(logging.Handler):
    """Keeps the messages that a logger gets."""

    def __init__(self, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def transformers_log() -> Iterator[list[str]]:
    """The warnings that transformers logs during the test."""
    handler = LogRecords()
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield handler.messages
    logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def no_upstream_deprecations(transformers_log: list[str]) -> Iterator[None]:
    """Fails a test in which transformers calls something deprecated."""
    yield
    deprecations = [message for message in transformers_log if "deprecat" in message.lower()]
    if deprecations:
        pytest.fail(f"transformers warns: {deprecations[0]}")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real weights and videos."""
    folder = Path(os.environ.get("HF_TTR_REAL_DATA", Path(__file__).parents[1] / ".." / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip(f"there are no real weights and videos at {folder}; HF_TTR_REAL_DATA names their folder.")
    return folder


@pytest.fixture
def parent() -> ViTForImageClassification:
    """A tiny image classifier of transformers."""
    return tiny_parent()


@pytest.fixture
def video_classifier() -> TemporalReuseViTForVideoClassification:
    """The same weights as `parent`, causal."""
    return tiny_video_classifier(mode="causal")


@pytest.fixture
def clip() -> torch.Tensor:
    """Two streams of seven frames that change here and there."""
    return make_clip(batch=2, frames=7)


@pytest.fixture
def kernel_device() -> torch.device:
    """A device on which Triton runs, a GPU or its interpreter; the test is skipped where there is none."""
    if find_spec("triton") is None:
        pytest.skip("triton is not installed: `pip install triton` to run the kernel's tests.")
    if os.environ.get("TRITON_INTERPRET") == "1":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device: set TRITON_INTERPRET=1 to run the kernel in Triton's interpreter.")
    return torch.device("cuda")
