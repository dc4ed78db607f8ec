"""What a process keeps of its machine for nothing, and what not."""

import gc
import os
import subprocess
import sys

import pytest
import torch

from hf_ttr.machine import (
    KERNEL_CACHE,
    KERNELS,
    few_kernels,
    give_back_memory,
    loaded_for_good,
    processor_name,
)


ONCE = """
import torch
from hf_ttr.machine import few_kernels

def work(rows):
    torch.nn.functional.gelu(torch.zeros(rows, 64))

with few_kernels():
    for rows in (100, 100, *range(101, 101 + {others}), 100):
        work(rows)
"""
"""One shape twice in a row, others, and the first one once more."""


def test_the_setting_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KERNEL_CACHE, raising=False)
    with pytest.raises(OSError), few_kernels():
        assert os.environ[KERNEL_CACHE] == str(KERNELS)
        raise OSError
    assert KERNEL_CACHE not in os.environ


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNEL_CACHE, "3")
    with few_kernels():
        assert os.environ[KERNEL_CACHE] == "3"
    assert os.environ[KERNEL_CACHE] == "3"


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
@pytest.mark.parametrize(("others", "is_kept"), [(2, True), (KERNELS + 2, False)])
def test_few_kernels_are_kept(others: int, is_kept: bool) -> None:
    script = ONCE.format(others=others)
    told = {"ONEDNN_VERBOSE": "profile_create", "OMP_NUM_THREADS": "1"}
    environment = {name: value for name, value in os.environ.items() if name != KERNEL_CACHE} | told
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    of_first = [line for line in done.stdout.splitlines() if "create" in line and "100x64" in line]
    assert ["cache_hit" in line for line in of_first] == [False, True, is_kept], done.stdout


def test_memory_is_given_back_and_the_processor_has_a_name() -> None:
    give_back_memory()
    assert processor_name()


def test_the_collector_leaves_alone_what_is_loaded() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(OSError), loaded_for_good():
        assert gc.get_freeze_count() > 1000 and not any(one is circle for one in gc.get_objects())
        raise OSError
    assert any(one is circle for one in gc.get_objects())
