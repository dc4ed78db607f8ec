"""Fidelity against multiply-adds on real video: reuse and frame skipping, measured against the dense model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from transformers import ViTForImageClassification

import hf_ttr
from hf_ttr.flops import TransformerCost

from .common import kl_divergence, real_data


FRAMES = 49
RATIOS = (3.0, 4.0, 5.3, 8.0)
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
STATIC = ("car-detection.mp4", "bottle-detection.mp4", "asl/book.mkv", "vehicle_survaillance.mp4")


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


def run(frames: int = FRAMES, quick: bool = False) -> dict[str, Any]:
    """Runs the suite; `quick` takes the four static clips and two ratios."""
    torch.manual_seed(0)
    data = real_data()
    directory = data / "models" / "vit-tiny-tin200"
    videos = (
        STATIC
        if quick
        else [str(path.relative_to(data / "videos")) for path in sorted((data / "videos").rglob("*.*"))]
    )
    ratios = (4.0, 8.0) if quick else RATIOS
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory, frame_sampling_rate=1)
    dense = ViTForImageClassification.from_pretrained(directory, dtype=torch.float32).eval()
    model = hf_ttr.with_temporal_reuse(dense)
    rows: list[Row] = []
    for video in track(videos, description="fidelity"):
        clip = first_frames(processor, data / "videos" / video, frames)
        rows += _measure(video, clip, dense, model, ratios)
    return {"suite": "fidelity", "frames": frames, "model": directory.name, "rows": [asdict(row) for row in rows]}


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


@torch.no_grad()
def _measure(
    video: str, clip: torch.Tensor, dense: ViTForImageClassification, model: Any, ratios: tuple[float, ...]
) -> list[Row]:
    start = time.perf_counter()
    expected = dense(clip[0]).logits
    dense_seconds = time.perf_counter() - start
    frames = clip.shape[1]

    def reuse(method: str, setting: float, **settings: Any) -> Row:
        return measure_reuse(model, clip, expected, video, method, setting, dense_seconds, **settings)

    rows = []
    for ratio in ratios:
        for mode in ("bidirectional", "causal"):
            rows.append(at_ratio(lambda budget, m=mode, r=ratio: reuse(m, r, mode=m, compute_budget=budget), ratio))
        for method, interpolate in (("skip, hold", False), ("skip, interpolate", True)):
            kept = max(round(frames / ratio), 2)
            logits = skip_frames(expected, kept, interpolate)
            seconds = dense_seconds * kept / frames
            rows.append(compare(video, method, ratio, expected, logits, frames / kept, seconds, dense_seconds))
    rows += [reuse("threshold", threshold, threshold=threshold) for threshold in THRESHOLDS]
    return rows


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
    time_ = torch.arange(frames)
    right = torch.searchsorted(chosen, time_).clamp(max=kept - 1)
    left = torch.where(chosen[right] > time_, right - 1, right)
    if not interpolate:
        return logits[chosen[left]]
    gap = (chosen[right] - chosen[left]).clamp(min=1)
    alpha = ((time_ - chosen[left]) / gap)[:, None]
    return torch.lerp(logits[chosen[left]], logits[chosen[right]], alpha)
