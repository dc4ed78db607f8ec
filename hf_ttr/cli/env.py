"""`hf-ttr env`: what a report of a fault should say about the machine."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Annotated

import typer

from .errors import ends_quietly


PACKAGES = (
    "torch",
    "transformers",
    "safetensors",
    "numpy",
    "av",
    "pillow",
    "accelerate",
    "datasets",
    "evaluate",
    "torchvision",
    "torchao",
    "peft",
    "triton",
)
"""What is named with its version, or as missing."""


@ends_quietly
def env(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a list.")] = False,
) -> None:
    """Print versions, processor and GPUs, to be pasted into a report of a fault."""
    found = environment()
    if as_json:
        import json

        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        typer.echo(f"- {name}: {value}")


def environment() -> dict[str, str]:
    """What is installed, and on what machine."""
    import torch

    from .. import __version__

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "hf-ttr": __version__,
        "Python": platform.python_version(),
        "system": platform.platform(),
        **versions,
        "processor": f"{_processor()}, {os.cpu_count()} threads, of which torch uses {torch.get_num_threads()}",
        "GPUs": ", ".join(gpus) or "none that torch can use",
    }


def _processor() -> str:
    """What it calls itself, or its kind."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
