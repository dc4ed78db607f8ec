"""Reuse and frame skipping at matched multiply-adds, and what each threshold gives, on real video."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from transformers import ViTForImageClassification

import hf_ttr
from hf_ttr.flops import TransformerCost

from .common import kl_divergence, real_data
from .fidelity import STATIC
from .methods.frame_skipping import interpolated
from .runner import Cell, Part
from .table import Block, Table


FRAMES = 49
RATIOS = (3.0, 4.0, 5.3, 8.0)
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
METHODS = {
    "bidirectional": "reuse, bidirectional",
    "causal": "reuse, causal",
    "skip, interpolate": "frame skipping, logits interpolated",
    "skip, hold": "frame skipping, logits held",
}


@dataclass
class Row:
    """
    One method on one clip, against the dense model.

    Attributes:
        video, method, setting: what was run; `setting` is the ratio or the threshold aimed at.
        encoder_ratio, total_ratio: dense multiply-adds over those of the method, in the transformer layers and in all.
        kl, clip_kl: KL divergence from the dense model of the class distribution, mean over frames, and of the clip.
        agreement: share of frames with the same top class.
        seconds, dense_seconds: model time of one run (not a benchmark of speed).
    """

    video: str
    method: str
    setting: float
    encoder_ratio: float
    total_ratio: float
    kl: float
    clip_kl: float
    agreement: float
    seconds: float
    dense_seconds: float


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every video, method and ratio or threshold; `quick` takes one video and one ratio."""
    folder = real_data() / "videos"
    names = (
        list(STATIC[:1]) if quick else [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.*"))]
    )
    jobs = [(method, ratio) for ratio in ((4.0,) if quick else RATIOS) for method in METHODS]
    jobs += [("threshold", threshold) for threshold in (THRESHOLDS[:1] if quick else THRESHOLDS)]

    def cell(video: str, method: str, setting: float) -> Cell:
        return Cell(
            f"{video} | {method} | {setting:g}",
            lambda: asdict(_measure(prepared(video), method, setting)),
            {"frames": FRAMES},
        )

    return [cell(video, *job) for video in names for job in jobs]


@dataclass
class Prepared:
    """A video with its clip, the model with reuse, and what the dense model says; see `Row`."""

    video: str
    clip: torch.Tensor
    model: Any
    expected: torch.Tensor
    dense_seconds: float


@lru_cache(maxsize=1)
@torch.no_grad()
def prepared(video: str) -> Prepared:
    """Loads a video and runs the dense model."""
    folder = real_data()
    processor, dense, model = models(folder / "models" / "vit-tiny-tin200")
    clip = first_frames(processor, folder / "videos" / video, FRAMES)
    start = time.perf_counter()
    expected = dense(clip[0]).logits
    return Prepared(video, clip, model, expected, time.perf_counter() - start)


@lru_cache(maxsize=1)
def models(directory: Path) -> tuple[Any, ViTForImageClassification, Any]:
    """Processor, dense model and model with reuse."""
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory, frame_sampling_rate=1)
    dense = ViTForImageClassification.from_pretrained(directory, dtype=torch.float32).eval()
    return processor, dense, hf_ttr.with_temporal_reuse(dense)


def first_frames(processor: Any, path: Path, frames: int) -> torch.Tensor:
    """The first frames of a video, `(1, frames, channels, height, width)`."""
    clip: torch.Tensor = processor(path, num_frames=frames, return_tensors="pt").pixel_values
    return clip


@torch.no_grad()
def measure_reuse(
    model: Any,
    clip: torch.Tensor,
    expected: torch.Tensor,
    video: str,
    method: str,
    setting: float,
    dense_seconds: float = 0.0,
    **settings: Any,
) -> Row:
    """One run with the given settings of reuse; `expected` is the dense model's logits, `(frames, labels)`."""
    model.config.temporal_reuse = hf_ttr.TemporalReuseConfig(**settings)
    start = time.perf_counter()
    output = model(clip)
    seconds = time.perf_counter() - start
    report = output.reuse
    done, total = report.multiply_adds.item(), report.dense_multiply_adds.item()
    cost = TransformerCost.of_vit(model.config, report.total_tokens.item() // clip.shape[1])
    outside = clip.shape[1] * (cost.patch + model.classifier.weight.numel())
    row = compare(video, method, setting, expected, output.frame_logits[0], total / done, seconds, dense_seconds)
    row.encoder_ratio = (total - outside) / (done - outside)
    return row


def compare(
    video: str,
    method: str,
    setting: float,
    expected: torch.Tensor,
    logits: torch.Tensor,
    ratio: float,
    seconds: float,
    dense_seconds: float,
) -> Row:
    """A row for logits of shape `(frames, labels)`, at `ratio` times fewer multiply-adds."""
    return Row(
        video,
        method,
        setting,
        encoder_ratio=ratio,
        total_ratio=ratio,
        kl=kl_divergence(expected, logits).mean().item(),
        clip_kl=kl_divergence(expected.mean(0), logits.mean(0)).item(),
        agreement=(expected.argmax(-1) == logits.argmax(-1)).float().mean().item(),
        seconds=seconds,
        dense_seconds=dense_seconds,
    )


def _measure(prepared: Prepared, method: str, setting: float) -> Row:
    def reuse(**settings: Any) -> Row:
        found = prepared
        return measure_reuse(
            found.model, found.clip, found.expected, found.video, method, setting, found.dense_seconds, **settings
        )

    if method == "threshold":
        return reuse(threshold=setting)
    if method in ("bidirectional", "causal"):
        return at_ratio(lambda budget: reuse(mode=method, compute_budget=budget), setting)
    frames = len(prepared.expected)
    kept = max(round(frames / setting), 2)
    logits = skip_frames(prepared.expected, kept, interpolate=method == "skip, interpolate")
    seconds, dense_seconds = prepared.dense_seconds * kept / frames, prepared.dense_seconds
    return compare(prepared.video, method, setting, prepared.expected, logits, frames / kept, seconds, dense_seconds)


def at_ratio(measure: Callable[[float], Row], ratio: float) -> Row:
    """The row of the largest budget that still saves `ratio` times the multiply-adds of the encoder."""
    low, high = 0.02, 1.5 / ratio
    best = None
    for _ in range(7):
        budget = (low + high) / 2
        row = measure(budget)
        if row.encoder_ratio >= ratio:
            low, best = budget, row
        else:
            high = budget
    return best if best is not None else measure(low)


def skip_frames(logits: torch.Tensor, kept: int, interpolate: bool) -> torch.Tensor:
    """
    Frame skipping: `kept` evenly spaced frames are computed, the logits of the others held or interpolated in time.

    Args:
        logits (`torch.Tensor` of shape `(frames, labels)`): of the dense model.
        kept (`int`): frames that are computed, the first and (to interpolate) the last among them.
        interpolate (`bool`): interpolate, or hold the last computed logits.

    Returns:
        `torch.Tensor` of shape `(frames, labels)`.
    """
    frames = len(logits)
    end = frames - 1 if interpolate else frames - frames / kept
    chosen = torch.linspace(0, end, kept).round().long()
    if interpolate:
        return interpolated(logits[chosen], chosen, frames)
    return logits[chosen[torch.searchsorted(chosen, torch.arange(frames), right=True) - 1]]


def table(result: dict[str, Any]) -> Block:
    """The tables of a result."""
    rows = result["rows"]
    videos = list(dict.fromkeys(row["video"] for row in rows))
    static = [video for video in videos if video in STATIC]
    ratios = sorted({row["setting"] for row in rows if row["method"] in METHODS})

    def values(method: str, setting: float, key: str, among: list[str]) -> list[float]:
        return [
            row[key] for row in rows if row["method"] == method and row["setting"] == setting and row["video"] in among
        ]

    lines: Block = [
        f"Mean KL to the dense model, first {result['frames']} frames of each video, at the same multiply-adds in the "
        "encoder: per frame, with top-1 agreement of the frames in brackets, and of the clip's mean logits.",
    ]
    for title, among in ((f"the {len(static)} static videos", static), (f"all {len(videos)} videos", videos)):
        for part, key in (("per frame", "kl"), ("per clip", "clip_kl")):
            lines.append(
                Table(
                    (f"{title}, {part}", *(f"{ratio:g}x" for ratio in ratios)),
                    (
                        (
                            name,
                            *(
                                f"{mean(values(method, ratio, key, among)):.4f}"
                                + (f" ({mean(values(method, ratio, 'agreement', among)):.3f})" if key == "kl" else "")
                                for ratio in ratios
                            ),
                        )
                        for method, name in METHODS.items()
                    ),
                )
            )
    lines += ["Each video: KL of reuse / of frame skipping with interpolated logits."]
    lines.append(
        Table(
            ("video", *(f"{ratio:g}x" for ratio in ratios)),
            (
                (
                    video,
                    *(
                        f"{values('bidirectional', ratio, 'kl', [video])[0]:.4f} / "
                        f"{values('skip, interpolate', ratio, 'kl', [video])[0]:.4f}"
                        for ratio in ratios
                    ),
                )
                for video in videos
            ),
        )
    )
    thresholds = sorted({row["setting"] for row in rows if row["method"] == "threshold"})
    lines += ["What a threshold gives: KL, and how many times fewer multiply-adds in all."]
    each = [
        (
            video,
            *(
                f"{values('threshold', threshold, 'kl', [video])[0]:.4f}, "
                f"{values('threshold', threshold, 'total_ratio', [video])[0]:.1f}x"
                for threshold in thresholds
            ),
        )
        for video in videos
    ]
    largest = ("largest KL", *(f"{max(values('threshold', threshold, 'kl', videos)):.4f}" for threshold in thresholds))
    lines.append(Table(("video", *(f"{threshold:g}" for threshold in thresholds)), [*each, largest]))
    return lines


PART = Part("fidelity", "fidelity", cells, lambda quick: {"model": "vit-tiny-tin200", "frames": FRAMES})
