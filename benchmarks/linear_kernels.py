"""How fast the products of a ViT-B's linear layers run, by kernel and number of rows: what `PackedLinear` goes by."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

from hf_ttr.execution.linear import has_onednn, onednn_linear
from hf_ttr.execution.packed_weights import PackedWeights

from .runner import Cell, Part
from .table import Block, Table
from .timing import seconds


SHAPES = ((768, 768), (768, 3072), (3072, 768))
ROWS = (16, 32, 48, 49, 64, 79, 96, 112, 117, 160, 197, 394, 788, 3152)
LAYERS = 12
"""Different weights, one after another, so that they come from memory as they do in a model."""


def kernels() -> dict[str, Callable[..., torch.Tensor]]:
    """Functions of rows, weight and bias."""
    found: dict[str, Callable[..., torch.Tensor]] = {"BLAS": nn.functional.linear}
    if has_onednn():
        packed: Any = PackedWeights()
        found["oneDNN"] = onednn_linear
        found["oneDNN, packed"] = lambda rows, weight, bias: onednn_linear(rows, packed.of(weight), bias)
    return found


@torch.no_grad()
def _measure(rows: int, rounds: int) -> dict[str, Any]:
    """Billions of floating-point operations per second of each kernel, over the layers of a ViT-B."""
    weights = {
        shape: [(torch.randn(shape[1], shape[0]), torch.randn(shape[1])) for _ in range(LAYERS)] for shape in SHAPES
    }
    states = {shape: torch.randn(rows, shape[0]) for shape in SHAPES}
    functions = kernels()

    def run(function: Callable[..., torch.Tensor]) -> None:
        for shape, layers in weights.items():
            for weight, bias in layers:
                function(states[shape], weight, bias)

    times: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            spent = seconds(partial(run, function))
            if number:
                times[name].append(spent)
    operations = 2 * rows * LAYERS * sum(inputs * outputs for inputs, outputs in SHAPES)
    return {"rows": rows, **{name: operations / statistics.median(spent) / 1e9 for name, spent in times.items()}}


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every number of rows."""
    chosen, rounds = ((16, 48), 1) if quick else (ROWS, 7)
    return [Cell(f"{rows} rows", partial(_measure, rows, rounds), {"rounds": rounds}) for rows in chosen]


def table(result: dict[str, Any]) -> Block:
    """GFLOP/s by rows and kernel."""
    names = [name for name in kernels() if name in result["rows"][0]]
    return [
        Table(
            ("rows", *(f"{name}, GFLOP/s" for name in names)),
            ((f"{row['rows']}", *(f"{row[name]:.0f}" for name in names)) for row in result["rows"]),
        )
    ]


PART = Part("speed", "linear_kernels", cells, lambda quick: {"model": "linear layers of the size of a ViT-B's"})
