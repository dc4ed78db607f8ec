"""A process among many that says who it is and sleeps; told a rank, the one of that rank fails."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any


def processes() -> Any:
    """The module `hf_ttr.cli.processes`, without the package around it, which takes seconds."""
    path = Path(__file__).resolve().parents[2] / "hf_ttr" / "cli" / "processes.py"
    spec = importlib.util.spec_from_file_location("processes", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    processes().end_with_parent()
    folder, failing, stubborn = sys.argv[1:]
    rank = os.environ["RANK"]
    if stubborn == "stubborn":
        import signal

        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(folder, f"{rank}.new").write_text(str(os.getpid()))
    Path(folder, f"{rank}.new").rename(Path(folder, f"{rank}.pid"))
    if rank == failing:
        sys.exit(3)
    time.sleep(120)
