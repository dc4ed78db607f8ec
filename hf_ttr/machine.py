"""This machine: what its processor calls itself, and memory that is not kept for nothing."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any


KERNELS = 8
"""Kernels that a service keeps: those of a few layers of one call."""
KERNEL_CACHE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def processor_name() -> str:
    """Its name, or its kind where it has none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def give_back_memory() -> None:
    """Gives what is free to the system: of tensors of many sizes an allocator keeps ever more, which no one uses."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another library of C
            _library_of_c().malloc_trim(0)


@lru_cache(maxsize=1)
def _library_of_c() -> Any:
    # Each one that is made is a circle.
    return ctypes.CDLL(None)


@contextmanager
def loaded_for_good() -> Iterator[None]:
    """
    Lets Python's collector leave alone what is there by now, while a process with all that it needs is at work.

    Else it looks at everything only once a quarter as much has come to it: beside a library and a model, circles of a
    service lie about for hours.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def few_kernels() -> Iterator[None]:
    """
    Lets oneDNN keep few of the kernels that it makes for each shape; else it keeps a thousand.

    With reuse, calls differ in their number of rows. Kernels of the past then lie between tensors that come and go,
    and what is free between them cannot be given back. It holds if nothing was computed in this process before; what
    the user has set stays.
    """
    is_set = KERNEL_CACHE in os.environ
    os.environ.setdefault(KERNEL_CACHE, str(KERNELS))
    try:
        yield
    finally:
        if not is_set:
            del os.environ[KERNEL_CACHE]
