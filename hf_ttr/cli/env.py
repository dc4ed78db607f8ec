"""`hf-ttr env`: what a report of a fault should say about the machine."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Annotated

import typer

from ..machine import processor_name
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
        "processor": f"{processor_name()}, {os.cpu_count()} threads, of which torch uses {torch.get_num_threads()}",
        "GPUs": ", ".join(gpus) or "none that torch can use",
    }
