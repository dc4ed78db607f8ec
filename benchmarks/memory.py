"""
Peak memory of every method against the dense batch, each in a process of its own. Random weights.

`python -m benchmarks.memory METHOD SETTING FRAMES SIZE` measures one and prints JSON.
"""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import hf_ttr

from .common import ROOT, VIT_SIZES, demo_clip, random_vit
from .fidelity import described, vit_methods
from .runner import Cell, Part
from .speed_methods import emphasised, matched_setting
from .table import Block, Table


FRAMES = (16, 64)
QUICK_FRAMES = (8,)
MIB = 2**20


def peak_cells(quick: bool) -> Iterable[Cell]:
    """A cell for every method and number of frames; `quick` takes three methods."""
    size = "tiny" if quick else "base"
    return [
        Cell(f"{frames} frames | {key}", partial(_in_subprocess, key, frames, size), {"size": size})
        for frames in (QUICK_FRAMES if quick else FRAMES)
        for key in list(vit_methods())[: 3 if quick else None]
    ]


def _in_subprocess(key: str, frames: int, size: str) -> dict[str, Any]:
    methods = vit_methods()
    setting = matched_setting(methods[key], methods["dense"], size)
    command = [sys.executable, "-m", "benchmarks.memory", key, str(setting), str(frames), size]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(f"`{' '.join(command[1:])}` ended with: {lines[-1]}")
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return values


@torch.no_grad()
def peak(key: str, setting: float, frames: int, size: str) -> dict[str, Any]:
    """Memory that a method needs at its peak beyond model and input, in MiB, in this process."""
    method = vit_methods()[key](random_vit(size), setting)
    pixels = demo_clip(frames)
    gc.collect()
    before = reset_peak()
    method.clip(pixels)
    return {"setting": setting, "mib": (peak_bytes() - before) / MIB, "model_and_input_mib": before / MIB}


def reset_peak() -> int:
    """Makes the peak start from what the process holds now, where the system can; returns the peak so far in bytes."""
    # Without it the peak stays that of building the model, and what fits under it is not seen.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def peak_bytes() -> int:
    """The largest resident memory of this process since the start or `reset_peak`."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def stream_cells(quick: bool) -> Iterable[Cell]:
    """What the cache of one stream holds, for every size of model."""
    sizes = ["tiny"] if quick else list(VIT_SIZES)
    return [Cell(f"ViT-{size} | causal", partial(_stream, size)) for size in sizes]


@torch.no_grad()
def _stream(size: str) -> dict[str, Any]:
    model: Any = hf_ttr.with_temporal_reuse(random_vit(size), hf_ttr.TemporalReuseConfig(mode="causal"))
    cache, held = None, []
    for frame in demo_clip(3)[None].split(1, dim=1):
        cache = model(frame, past_key_values=cache).past_key_values
        held.append(cache.memory_bytes / MIB)
    return {"mib": held[-1], "mib_after_each_frame": held}


def peak_table(result: dict[str, Any]) -> Block:
    """The table of part `peak`."""
    rows, methods = result["rows"], result["methods"]
    counts = list(dict.fromkeys(row["key"][0] for row in rows))
    found = {(row["key"][0], row["key"][1]): row for row in rows}

    def cell(count: str, key: str) -> str:
        row, dense = found.get((count, key)), found.get((count, "dense"))
        if row is None:
            return ""
        beside = f" ({row['mib'] / dense['mib']:.2f})" if dense and dense["mib"] > 0 else ""
        return f"{row['mib']:.0f} MiB{beside}"

    keys = dict.fromkeys(row["key"][1] for row in rows)
    return [
        f"{result['model']}: resident memory at its peak, beyond the model and the frames, each in a process of its "
        "own; in brackets over that of the dense batch.",
        Table(
            ("method", *counts),
            ((emphasised(methods, key), *(cell(count, key) for count in counts)) for key in keys),
        ),
    ]


def stream_table(result: dict[str, Any]) -> Block:
    """The table of part `streams`."""
    return [
        "What the cache holds for each stream, for ever (224 x 224 pixels, float32):",
        Table(("model", "MiB per stream"), ((row["key"][0], f"{row['mib']:.1f}") for row in result["rows"])),
    ]


def _about(quick: bool) -> dict[str, Any]:
    name = "ViT-Tiny" if quick else "ViT-B/16"
    return {"model": f"{name}, random weights, float32", "methods": described(vit_methods())}


PEAK_PART = Part("memory", "peak", peak_cells, _about)
STREAM_PART = Part("memory", "stream_state", stream_cells)


if __name__ == "__main__":
    name, setting, frames, size = sys.argv[1:]
    print(json.dumps(peak(name, float(setting), int(frames), size)))
