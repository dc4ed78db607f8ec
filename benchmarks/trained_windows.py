"""
The tiny trained V-JEPA 2 on the sliding windows of streams: multiply-adds and fidelity to the dense model on the same
window, with slots that stay where they are, with the stride told, and with windows left out.

Its positions are relative. Told the stride, what is known of a frame goes along with it, and only the frames that come
in are new; else a slot holds what was at its place in the window before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch

import hf_ttr
from hf_ttr.configuration import DEFAULT_WINDOW_THRESHOLD

from .fidelity import scripts
from .runner import Cell, Part
from .table import Block, Table
from .trained import FOLDER, KINDS, SCRIPT, SEED, fidelity, trained, with_features


STRIDES = (2, 4, 8, 16)
STREAMS, RUNS = 4, 12
"""Streams of each kind, and runs of as many frames as a window has in which an object does one thing."""
EXACT = {"threshold": 1e-6, "window_weight": 0.0}
"""Whatever is the same as in the window before is kept, and nothing else, though the window around it is another."""
WORKING: dict[str, dict[str, Any]] = {
    **{
        f"threshold {value:g}": {"threshold": value}
        for value in (DEFAULT_WINDOW_THRESHOLD / 2, DEFAULT_WINDOW_THRESHOLD)
    },
    f"threshold {DEFAULT_WINDOW_THRESHOLD:g}, window_weight 0": {"window_weight": 0.0},
}
WAYS = {"slots fixed": False, "stride told": True}
SKIPS = (2, 4, 8)


@dataclass
class Streams:
    """
    Some streams, side by side.

    Attributes:
        pixels (`torch.Tensor` of shape `(streams, frames, channels, height, width)`): their frames.
        labels (`torch.LongTensor` of shape `(streams, runs)`): what happens in each run of as many frames as a window.
        window (`int`): frames of a window.
        dense: of windows that begin at a frame, what the dense model said, `(streams, outputs)`.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    window: int
    dense: dict[int, torch.Tensor] = field(default_factory=dict)

    def starts(self, stride: int) -> range:
        """First frames of the windows."""
        return range(0, self.pixels.shape[1] - self.window + 1, stride)

    def at(self, start: int) -> torch.Tensor:
        """The windows that begin at a frame, `(streams, window, channels, height, width)`."""
        return self.pixels[:, start : start + self.window]

    def truth(self, start: int) -> torch.Tensor:
        """The classes of these windows, `(streams,)`; -1 where they show parts of two motions."""
        run, rest = divmod(start, self.window)
        return torch.full_like(self.labels[:, 0], -1) if rest else self.labels[:, run]

    def expected(self, model: Any, start: int) -> torch.Tensor:
        """What the dense model says of these windows; each is run once."""
        if start not in self.dense:
            self.dense[start] = model(self.at(start)).logits
        return self.dense[start]


def generated_streams(kind: str, count: int, runs: int, window: int) -> Streams:
    """Streams that the model has not seen, in which something always moves, or seldom."""
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(FOLDER / "vjepa2")
    pixels, labels = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            frames, found = scripts(SCRIPT).motion_stream(SEED, number, runs, Path(folder), kind == "still")
            pixels.append(processor(frames, do_sample_frames=False, return_tensors="pt").pixel_values[0])
            labels.append(torch.tensor(found))
    return Streams(torch.stack(pixels), torch.stack(labels), window)


@torch.no_grad()
def with_reuse(model: Any, streams: Streams, stride: int, told: bool, settings: dict[str, Any]) -> dict[str, Any]:
    """
    Windows with reuse, each with the cache of the one before.

    Args:
        model: the dense model; see `with_features`.
        streams: what it sees.
        stride (`int`): frames from one window to the next.
        told (`bool`): whether the model is told, and slides what it keeps.
        settings: those of `TemporalReuseConfig`.

    Returns:
        As `compared`.
    """
    reuse: Any = hf_ttr.with_temporal_reuse(model, {**settings, "sliding": told})
    cache, outputs, spent, dense = None, [], 0, 0
    for start in streams.starts(stride):
        output = reuse(streams.at(start), past_key_values=cache, stride=stride if told else None)
        cache = output.past_key_values
        outputs.append(output.logits)
        if start:
            spent += int(output.reuse.multiply_adds.sum())
            dense += int(output.reuse.dense_multiply_adds.sum())
    return compared(model, streams, stride, outputs, dense / spent)


@torch.no_grad()
def with_skipping(model: Any, streams: Streams, stride: int, every: int) -> dict[str, Any]:
    """
    Every so many windows the dense model, whose results are held between; see `with_reuse`.

    The first window is computed, and then any of the next ones may be: the mean is taken over all of these ways, as
    those windows that have a class are evenly spaced, too.
    """
    starts, found = streams.starts(stride), []
    for phase in range(every):
        outputs, held = [], starts[0]
        for number, start in enumerate(starts):
            held = start if number % every == phase else held
            outputs.append(streams.expected(model, held))
        found.append(compared(model, streams, stride, outputs, float(every)))
    worst = max(one["worst_kl"] for one in found)
    return {**{name: mean(one[name] for one in found) for name in found[0]}, "worst_kl": worst}


def compared(model: Any, streams: Streams, stride: int, outputs: list[torch.Tensor], ratio: float) -> dict[str, Any]:
    """How far windows are from the dense ones, see `fidelity`, and `ratio_after_first` of the multiply-adds."""
    starts = streams.starts(stride)
    labels = model.config.num_labels - model.classifier.in_features
    expected = [streams.expected(model, start) for start in starts]
    truth = [streams.truth(start) for start in starts]
    found = fidelity(expected, outputs, truth, labels)
    shape = {"streams": len(streams.labels), "runs": streams.labels.shape[1], "windows": found.pop("frames")}
    return {"stride": stride, "ratio_after_first": ratio, **shape, **found}


def methods() -> dict[str, Any]:
    """By name, what takes a model, streams and a stride."""
    found: dict[str, Any] = {}
    for way, told in WAYS.items():
        found[f"{way}, what is the same"] = partial(with_reuse, told=told, settings=EXACT)
        for name, settings in WORKING.items():
            found[f"{way}, {name}"] = partial(with_reuse, told=told, settings=settings)
    for every in SKIPS:
        found[f"one window of {every}"] = partial(with_skipping, every=every)
    return found


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every kind of streams, stride and method; `quick`: one short stream and one stride."""
    _, _, digest = trained("vjepa2")

    @lru_cache(maxsize=1)
    def arena(kind: str) -> tuple[Any, Streams]:
        model = with_features(trained("vjepa2")[0])
        count, runs = (1, 2) if quick else (STREAMS, RUNS)
        return model, generated_streams(kind, count, runs, model.config.frames_per_clip)

    def measure(kind: str, stride: int, name: str) -> dict[str, Any]:
        return {"kind": kind, "name": name, **methods()[name](*arena(kind), stride)}

    return [
        Cell(f"{kind} | stride {stride} | {name}", partial(measure, kind, stride, name), {"weights": digest})
        for kind in KINDS
        for stride in (STRIDES[1:2] if quick else STRIDES)
        for name in methods()
    ]


WHAT = {"moving": "something moves in every run", "still": "something moves in one run of four"}


def table(result: dict[str, Any]) -> Block:
    """The tables of a result."""
    first = result["rows"][0]
    lines: Block = [
        "How many times fewer multiply-adds all windows but the first took, everything counted; KL to the dense model "
        "on the same window (top-1 agreement with it; accuracy in those windows that show one run). "
        f"{first['streams']} streams of {first['runs']} runs of 16 frames. What is the same: only what did not change "
        "since the window before is kept, so that all error is of the window around it.",
    ]
    for kind in KINDS:
        rows = [row for row in result["rows"] if row["kind"] == kind]
        found = {(row["name"], row["stride"]): row for row in rows}
        strides = sorted({row["stride"] for row in rows})
        lines.append(f"Streams in which {WHAT[kind]}; dense accuracy {rows[0]['dense_accuracy']:.1%}.")
        lines.append(
            Table(
                ("", *(f"stride {stride}" for stride in strides)),
                (
                    (name, *(cell_text(found[name, stride]) for stride in strides))
                    for name in dict.fromkeys(row["name"] for row in rows)
                ),
            )
        )
    return lines


def cell_text(row: dict[str, Any]) -> str:
    """The figures of a row."""
    return f"{row['ratio_after_first']:.2f}x: {max(row['kl'], 0):.4f} ({row['agreement']:.1%}; {row['accuracy']:.1%})"


def about(quick: bool) -> dict[str, Any]:
    """What the model is, and the figures of its training."""
    return {"model": "tiny trained V-JEPA 2", "training": {"vjepa2": trained("vjepa2")[1]}}


PART = Part("fidelity", "trained_windows", cells, about)
