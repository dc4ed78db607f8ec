"""What the processor of this machine calls itself."""

from __future__ import annotations

import platform


def processor_name() -> str:
    """Its name, or its kind where it has none."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
