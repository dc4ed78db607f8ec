"""What the suites share: where data lies, what the machine is, how a result file is written."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers

import hf_ttr


ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


def real_data() -> Path:
    """The folder of real weights and videos (environment variable HF_TTR_REAL_DATA).

    Raises:
        FileNotFoundError: if it is not there.
    """
    folder = Path(os.environ.get("HF_TTR_REAL_DATA", ROOT.parent / "shared" / "real"))
    if not (folder / "models").is_dir():
        raise FileNotFoundError(
            f"no real data in {folder}; set HF_TTR_REAL_DATA to a folder with models/ and videos/."
        )
    return folder


def machine() -> dict[str, Any]:
    """Names what the figures were taken on."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "hf_ttr": hf_ttr.__version__,
    }


def save(name: str, result: dict[str, Any], out: Path | None) -> Path:
    """Writes a result, with machine and command, to `out` or `benchmarks/results/NAME.json`; returns the path."""
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"command": command, "machine": machine(), **result}, indent=1) + "\n")
    temporary.replace(path)
    return path


def kl_divergence(dense: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL divergence in nats of the class distributions of two logits, over the last dimension."""
    log_p, log_q = dense.log_softmax(-1), other.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a Markdown table, and an empty one."""
    header = list(header)
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
