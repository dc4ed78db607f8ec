"""Token merging on labelled images: accuracy and images per second, as its paper shows them."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from transformers import ViTForImageClassification

import hf_ttr

from .common import MissingData, real_data
from .runner import Cell, Part
from .table import Block, Table
from .timing import seconds


MERGES = (0, 4, 8, 11, 13, 16)
BATCH = 50
MODEL = "vit-tiny-tin200"


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every number of rows merged in each layer; `quick` looks at two, on few images."""
    folder = real_data()
    number = 100 if quick else None

    @lru_cache(maxsize=1)
    def images() -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(batches(folder, number))

    return [
        Cell(f"r = {r}", partial(_measure, r, folder / "models" / MODEL, images), {"images": number or "all"})
        for r in (MERGES[::4] if quick else MERGES)
    ]


def batches(folder: Path, number: int | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """
    Pixels and labels of the images, in batches of `BATCH`.

    Raises:
        MissingData: if they are not there.
    """
    from PIL import Image

    table = folder / "tiny_imagenet_val" / "labels.csv"
    if not table.exists():
        raise MissingData(f"there is no {table}; put the labelled images there.")
    with table.open() as file:
        rows = list(csv.DictReader(file))[:number]
    processor = hf_ttr.TemporalReuseImageProcessor.from_pretrained(folder / "models" / MODEL)
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        images = [Image.open(table.parent / "images" / row["file"]).convert("RGB") for row in part]
        yield processor(images, return_tensors="pt").pixel_values, torch.tensor([int(row["label"]) for row in part])


@torch.no_grad()
def _measure(r: int, directory: Path, images: Any) -> dict[str, Any]:
    """Dense model and merging in turn, batch by batch."""
    dense = ViTForImageClassification.from_pretrained(directory, dtype=torch.float32).eval()
    settings = {"mode": "off", "reduction": {"method": "tome", "r": r}}
    merging = hf_ttr.with_temporal_reuse(dense, settings, hf_ttr.TemporalReuseViTForImageClassification)
    report = merging(images()[0][0]).reuse
    dense(images()[0][0])
    hits: list[list[float]] = [[], []]
    times: list[list[float]] = [[], []]
    outputs: dict[str, torch.Tensor] = {}

    def run(model: Any, pixels: torch.Tensor) -> None:
        outputs["logits"] = model(pixels).logits

    for pixels, labels in images():
        for side, model in enumerate((dense, merging)):
            times[side].append(seconds(partial(run, model, pixels)) / len(pixels))
            hits[side].append((outputs["logits"].argmax(-1) == labels).double().mean().item())
    done = 1.0
    if report is not None:
        done = (report.multiply_adds.sum() / report.dense_multiply_adds.sum()).item()
    return {
        "r": r,
        "images": sum(len(labels) for _, labels in images()),
        "accuracy": statistics.mean(hits[1]),
        "dense_accuracy": statistics.mean(hits[0]),
        "images_per_second": 1 / statistics.median(times[1]),
        "dense_images_per_second": 1 / statistics.median(times[0]),
        "wall_clock_ratio": statistics.median(slow / fast for slow, fast in zip(*times)),
        "multiply_add_ratio": 1 / done,
    }


def table(result: dict[str, Any]) -> Block:
    """The table of the part."""
    rows = result["rows"]
    if not rows:
        return []
    return [
        f"{result['model']}, {rows[0]['images']} labelled images in batches of {BATCH}; dense model and merging in "
        "turn, medians.",
        Table(
            ("r", "top-1", "dense", "images/s", "dense", "wall-clock", "multiply-adds"),
            (
                (
                    str(row["r"]),
                    f"{row['accuracy']:.2%}",
                    f"{row['dense_accuracy']:.2%}",
                    f"{row['images_per_second']:.1f}",
                    f"{row['dense_images_per_second']:.1f}",
                    f"{row['wall_clock_ratio']:.2f}x faster",
                    f"{row['multiply_add_ratio']:.2f}x fewer",
                )
                for row in rows
            ),
        ),
    ]


PART = Part("fidelity", "image_merging", cells, lambda quick: {"model": MODEL})
