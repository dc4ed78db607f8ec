"""Accuracy on labelled clips, dense and with reuse, of heads trained on frozen features."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import hf_ttr
from hf_ttr.evaluation import Protocol, evaluate, open_dataset

from .common import ROOT, real_data
from .runner import Cell, Part
from .table import Block, Table


FRAMES = 16
THRESHOLDS = {"vit": (0.12, 0.446, 1.41), "videomae": (0.205, 0.557, 1.097)}
"""About two, four and eight times fewer multiply-adds."""
MODELS: dict[str, Any] = {
    "vit": hf_ttr.TemporalReuseViTForVideoClassification,
    "videomae": hf_ttr.TemporalReuseVideoMAEForVideoClassification,
}


def cells(quick: bool) -> Iterable[Cell]:
    """Every model at every threshold."""
    return [
        Cell(f"{name}-tiny-tin200 | {threshold:g}", partial(_evaluate, name, threshold))
        for name, thresholds in THRESHOLDS.items()
        for threshold in (thresholds[1:2] if quick else thresholds)
    ]


@lru_cache(maxsize=1)
def _trained(name: str) -> tuple[tempfile.TemporaryDirectory[str], Any, Any]:
    """The model with a new head, made by `examples/train_head.py`, and the folder, which goes when it is let go of."""
    folder = tempfile.TemporaryDirectory()
    out = Path(folder.name) / name
    model, data = real_data() / "models" / f"{name}-tiny-tin200", real_data() / "fight_surv"
    command = [sys.executable, "examples/train_head.py", "--model", str(model), "--dataset", str(data)]
    subprocess.run([*command, "--num-frames", str(FRAMES), "--out", str(out)], cwd=ROOT, check=True)
    return folder, MODELS[name].from_pretrained(out), hf_ttr.TemporalReuseVideoProcessor.from_pretrained(out)


def _evaluate(name: str, threshold: float) -> dict[str, Any]:
    _, model, processor = _trained(name)
    model.config.temporal_reuse.threshold = threshold
    videos = open_dataset(str(real_data() / "fight_surv"), "test")
    with tempfile.TemporaryDirectory() as folder:
        done = evaluate(model, processor, videos, folder, Protocol(num_frames=FRAMES, frame_sampling_rate="spread"))
    assert done is not None
    return {"clips": done.summary["dataset"]["clips"], **done.summary["metrics"]}


def table(result: dict[str, Any]) -> Block:
    """The table of part `heads`."""

    def with_interval(entry: dict[str, float]) -> str:
        return f"{entry['value']:.1%} ({entry['low']:.1%} to {entry['high']:.1%})"

    return [
        "Fights on surveillance clips: heads trained on the frozen features of the train split by "
        f"`examples/train_head.py`, and {result['rows'][0]['clips']} clips of the test split; in brackets 95 % "
        "intervals. The models know neither such cameras nor fights, and so few clips say little about accuracy: what "
        "counts is the difference.",
        Table(
            ("model", "threshold", "multiply-adds", "accuracy", "dense", "difference", "same label"),
            (
                (
                    row["key"][0],
                    row["key"][1],
                    f"{row['multiply_add_ratio']:.2f}x fewer",
                    with_interval(row["accuracy"]),
                    f"{row['dense_accuracy']['value']:.1%}",
                    with_interval(row["accuracy_difference"]),
                    f"{row['top1_agreement']['value']:.1%}",
                )
                for row in result["rows"]
            ),
        ),
    ]


PART = Part("fidelity", "heads", cells, lambda quick: {"model": "vit-tiny-tin200 and videomae-tiny-tin200"})
