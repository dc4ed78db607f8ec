"""This machine: what its processor calls itself, and memory that goes back to its system."""

from __future__ import annotations

import ctypes
import platform
import sys
from contextlib import suppress


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
            ctypes.CDLL(None).malloc_trim(0)
