"""
Tiny V-JEPA 2 and DINOv2, trained on generated clips: reuse and frame skipping at the same multiply-adds.

The weights are made by `scripts/train_benchmark_models.py`. Of each model there are clips in which something moves,
and clips in which nothing does but for noise, light and compression. Methods with a threshold get one for all clips of
a kind, the lowest that meets the multiply-adds; frame skipping takes as many frames as it may.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from transformers import Dinov2ForImageClassification, VJEPA2ForVideoClassification

import hf_ttr

from .clips import by_ratio
from .common import ROOT, MissingData, kl_divergence
from .fidelity import scripts
from .measures import Clip, Reference
from .methods.base import Method
from .methods.clip_dropping import DenseClip, FewerFrames
from .methods.dense import Dense
from .methods.frame_skipping import HeldFrames, InterpolatedFrames
from .methods.reuse import Bidirectional, CausalClip, CausalClipReuse, ClipReuse
from .overview import picture
from .runner import Cell, Part
from .table import Block, Table


FOLDER = ROOT / "build" / "trained"
SCRIPT = "train_benchmark_models"
RATIOS = (2.0, 4.0, 8.0)
SEED = 1
"""Not the seed of the clips that the models were accepted on."""
KINDS = ("moving", "still")
CLASSES: dict[str, Any] = {"vjepa2": VJEPA2ForVideoClassification, "dinov2": Dinov2ForImageClassification}
DENSE: dict[str, type[Method]] = {"vjepa2": DenseClip, "dinov2": Dense}
METHODS: dict[str, tuple[type[Method], ...]] = {
    "vjepa2": (ClipReuse, CausalClipReuse, FewerFrames),
    "dinov2": (Bidirectional, CausalClip, InterpolatedFrames, HeldFrames),
}
COUNTS = {"vjepa2": {"moving": 72, "still": 24}, "dinov2": {"moving": 16, "still": 16}}
"""Clips of each kind."""
THRESHOLDS = tuple(math.exp(step / 40) for step in range(-240, 121))


@dataclass
class Outcome:
    """
    What a method made of all clips.

    Attributes:
        setting: of the method.
        outputs: of each clip, as the method returns them.
        ratio: how many times fewer the multiply-adds were, everything counted.
    """

    setting: float
    outputs: list[torch.Tensor]
    ratio: float


class Search:
    """
    Finds the settings of a method at which all clips together cost so many times less; each setting is run once.

    Args:
        method: the class.
        model: the dense model.
        reference: the clips, and what the dense model costs on them.
        steps (`int`): frames, or tubelets, of a clip, of which frame skipping leaves some out.
    """

    def __init__(self, method: type[Method], model: Any, reference: Reference, steps: int) -> None:
        self.method, self.model, self.reference = method, model, reference
        skipping = [count / steps for count in range(steps, 0, -1)]
        self.settings = THRESHOLDS if method.knob == "threshold" else skipping
        self.found: dict[float, Outcome] = {}

    @torch.no_grad()
    def at(self, setting: float) -> Outcome:
        """The method with a setting."""
        if setting not in self.found:
            method, outputs, spent = self.method(self.model, setting), [], 0
            for clip in self.reference.clips:
                outputs.append(method.clip(clip.pixels))
                spent += method.multiply_adds
            self.found[setting] = Outcome(setting, outputs, sum(self.reference.multiply_adds) / spent)
        return self.found[setting]

    def meeting(self, ratio: float) -> Outcome:
        """The setting that changes least of those that are cheap enough; the cheapest if none is."""
        low, high = 0, len(self.settings) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.at(self.settings[middle]).ratio >= ratio else (middle + 1, high)
        return self.at(self.settings[low])


def with_features(model: Any) -> Any:
    """
    The model with a wider classifier: behind the logits of its labels comes what it reads, as it is.

    All methods then hand out features in the way in which they hand out logits. Dense or not, a frame costs a little
    more: a product with as many outputs as the classifier has inputs.
    """
    config = copy.deepcopy(model.config)
    labels, size = model.classifier.weight.shape
    config.num_labels = labels + size
    wider = type(model)(config)
    state = dict(model.state_dict())
    state["classifier.weight"] = torch.cat([state["classifier.weight"], torch.eye(size)])
    state["classifier.bias"] = torch.cat([state["classifier.bias"], torch.zeros(size)])
    wider.load_state_dict(state)
    return wider.eval()


def fidelity(
    expected: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor], truth: Sequence[torch.Tensor], labels: int
) -> dict[str, Any]:
    """
    How far results are from the dense ones; means over frames of models of frames, over clips or windows of others.

    Args:
        expected, outputs: of each clip, dense and not: logits, and behind them features, `(frames, labels + size)`.
        truth: of each clip the class of each frame, `(frames,)`; -1 where there is none to tell.
        labels (`int`): how many classes there are.
    """
    dense, other, true = torch.cat(list(expected)), torch.cat(list(outputs)), torch.cat(list(truth))
    divergence = kl_divergence(dense[:, :labels], other[:, :labels])
    features = dense[:, labels:]
    distance = (other[:, labels:] - features).norm(dim=-1) / features.norm(dim=-1)
    top, dense_top = (part[:, :labels].argmax(-1) for part in (other, dense))
    known = true >= 0
    result: dict[str, Any] = {
        "frames": len(dense),
        "kl": divergence.mean().item(),
        "worst_kl": divergence.max().item(),
        "agreement": (top == dense_top).double().mean().item(),
        "feature_distance": distance.mean().item(),
        "judged": int(known.sum()),
    }
    for name, found in (("accuracy", top), ("dense_accuracy", dense_top)):
        result[name] = (found == true)[known].double().mean().item()
    return result


def trained(name: str) -> tuple[Any, dict[str, Any], str]:
    """
    A trained model, the figures of its training, and what tells its weights from others.

    Raises:
        MissingData: if it was not trained yet.
    """
    directory = FOLDER / name
    if not (directory / "training.json").is_file():
        raise MissingData(
            f"there is no trained model in {directory}; make it with `python scripts/{SCRIPT}.py --out {FOLDER}`."
        )
    digest = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()[:16]
    model = CLASSES[name].from_pretrained(directory, dtype=torch.float32).eval()
    return model, json.loads((directory / "training.json").read_text()), digest


def tubelet_of(model: Any) -> int:
    """How many frames become one token."""
    return int(getattr(model.config, "tubelet_size", 1))


def generated_clips(name: str, kind: str, count: int) -> list[Clip]:
    """Clips that a model has not seen, in which something moves, or nothing does, with their labels."""
    script = scripts(SCRIPT)
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(FOLDER / name)
    found: list[Clip] = []
    with tempfile.TemporaryDirectory() as folder:
        make = script.held_out_clips(name, SEED, Path(folder), kind == "still")
        numbers: Iterable[int] = itertools.count()
        if name == "vjepa2":
            # There one of the classes stands still.
            rest, labels = script.motions.STILL, len(script.motions.LABELS)
            numbers = (number for number in numbers if (number % labels == rest) == (kind == "still"))
        for number in itertools.islice(numbers, count):
            frames, label = make(number)
            pixels = processor(frames, do_sample_frames=False, return_tensors="pt").pixel_values[0]
            found.append(Clip(str(number), pixels, label))
    return found


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every model, kind of clips, method and ratio; `quick`: few clips and one ratio."""

    @lru_cache(maxsize=1)
    def arena(name: str, kind: str) -> tuple[Any, Reference, list[Search]]:
        model = with_features(trained(name)[0])
        clips = generated_clips(name, kind, 2 if quick else COUNTS[name][kind])
        reference, steps = Reference.of(DENSE[name](model), clips), len(clips[0].pixels) // tubelet_of(model)
        return model, reference, [Search(method, model, reference, steps) for method in METHODS[name]]

    def measure(name: str, kind: str, number: int, ratio: float) -> dict[str, Any]:
        model, reference, searches = arena(name, kind)
        found = searches[number].meeting(ratio)
        labels = model.config.num_labels - model.classifier.in_features
        truth = [
            torch.full((len(logits),), -1 if clip.label is None else clip.label)
            for clip, logits in zip(reference.clips, reference.logits)
        ]
        return {
            "model": name,
            "kind": kind,
            "method": METHODS[name][number].title,
            "setting": ratio,
            "threshold": found.setting if METHODS[name][number].knob == "threshold" else None,
            "ratio": found.ratio,
            "clips": len(reference.clips),
            **fidelity(reference.logits, found.outputs, truth, labels),
        }

    return [
        Cell(
            f"{name} {kind} | {METHODS[name][number].title} | {ratio:g}",
            partial(measure, name, kind, number, ratio),
            {"weights": digest},
        )
        for name, digest in ((name, trained(name)[2]) for name in CLASSES)
        for kind in KINDS
        for number in range(len(METHODS[name]))
        for ratio in (RATIOS[:1] if quick else RATIOS)
    ]


NAMES = {"vjepa2": "V-JEPA 2, whole clips", "dinov2": "DINOv2, frame by frame"}
WHAT = {"moving": "something moves", "still": "nothing moves but noise and light"}


def table(result: dict[str, Any]) -> Block:
    """The tables of a result."""
    lines: Block = [
        "KL to the dense model (top-1 agreement; accuracy; relative distance of the features that the classifier "
        "reads). Multiply-adds of everything, patch embedding and head included."
    ]
    for name in CLASSES:
        training = result["training"][name]
        lines.append(
            f"{NAMES[name]}: {training['held_out_accuracy']:.1%} of {training['held_out_clips']} held-out clips are "
            f"right, after {training['steps']} steps ({training['training_seconds'] / 60:.0f} minutes)."
        )
        for kind in KINDS:
            rows = [row for row in result["rows"] if row["model"] == name and row["kind"] == kind]
            judged = f"{rows[0]['clips']} clips" + (f", {rows[0]['frames']} frames" if name == "dinov2" else "")
            lines.append(f"{judged} in which {WHAT[kind]}; dense accuracy {rows[0]['dense_accuracy']:.1%}.")
            lines.append(by_ratio(rows, cell_text, "multiply-adds saved"))
    return lines


def at_a_glance(result: dict[str, Any]) -> Block:
    """The divergences of a result, in short."""

    def cell(name: str, kind: str, method: str, ratio: float) -> str:
        row = next(
            row
            for row in result["rows"]
            if (row["model"], row["kind"], row["method"], row["setting"]) == (name, kind, method, ratio)
        )
        return f"{max(row['kl'], 0):.4f}" + (
            f" at {row['ratio']:.1f}x" if abs(row["ratio"] / ratio - 1) > 0.02 else ""
        )

    places = [(kind, ratio) for kind in KINDS for ratio in RATIOS]
    return [
        picture("KL to the dense model over multiply-adds saved", "trained"),
        "KL to the dense model by how many times fewer the multiply-adds are, on clips in which something moves, and "
        "in which nothing does but noise and light.",
        Table(
            ("model, method", *(f"{kind}, {ratio:g}x" for kind, ratio in places)),
            (
                (
                    f"{NAMES[name]}: {method.title}",
                    *(cell(name, kind, method.title, ratio) for kind, ratio in places),
                )
                for name in CLASSES
                for method in METHODS[name]
            ),
        ),
    ]


def plot(result: dict[str, Any], path: Path) -> None:
    """Draws the divergences where something moves, each at the multiply-adds that were met."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colours = ("#08306b", "#00b3a4", "#e6550d", "#fdae6b")
    figure, axes = pyplot.subplots(1, len(CLASSES), figsize=(8, 3.2), sharey=True)
    for axis, name in zip(axes, CLASSES):
        for colour, method in zip(colours, METHODS[name]):
            found = [row for row in result["rows"] if (row["model"], row["kind"]) == (name, KINDS[0])]
            rows = [row for row in found if row["method"] == method.title]
            axis.plot(
                [row["ratio"] for row in rows], [row["kl"] for row in rows], "o-", color=colour, label=method.title
            )
        axis.set_title(f"{NAMES[name]}, something moves", loc="left", fontsize=10)
        axis.set_xlabel("times fewer multiply-adds")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xticks(RATIOS, [f"{ratio:g}" for ratio in RATIOS])
        axis.minorticks_off()
        axis.legend(fontsize=7, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("KL to dense")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def cell_text(row: dict[str, Any]) -> str:
    """The four figures of a row."""
    return f"{max(row['kl'], 0):.4f} ({row['agreement']:.1%}; {row['accuracy']:.1%}; {row['feature_distance']:.2f})"


def about(quick: bool) -> dict[str, Any]:
    """What the models are, and the figures of their training."""
    return {"model": "tiny trained V-JEPA 2 and DINOv2", "training": {name: trained(name)[1] for name in CLASSES}}


PART = Part("fidelity", "trained", cells, about)
