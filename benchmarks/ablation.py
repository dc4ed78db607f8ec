"""What each part of the planner is worth: the same budget of multiply-adds, one thing changed at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from rich.progress import track
from transformers import ViTForImageClassification

import hf_ttr
from hf_ttr.configuration import TemporalReuseConfig
from hf_ttr.planning import bidirectional, planner

from .common import real_data
from .fidelity import FRAMES, STATIC, Row, at_ratio, first_frames, measure_reuse


RATIOS = (4.0, 8.0)
# Static cameras beyond the four: an easy street, signers, noisy sensors, a large actor.
OTHERS = (
    "video.avi",
    "yoga.mp4",
    "demo_skeleton.mp4",
    "asl/again.mkv",
    "asl/bird.mkv",
    "webcam_fall_02.mp4",
    "webcam_fall_19.mp4",
    "webcam_fall_20.mp4",
)
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "max_age 8": {"max_age": 8},
    "max_age 16": {"max_age": 16},
    "max_age 48": {"max_age": 48},
    "no max_age": {"max_age": None},
    "no saliency": {"saliency_weight": 0.0},
    "saliency, power 1": {"saliency_weight": 1.0},
    "no context": {"context_weight": 0.0},
    "context 1": {"context_weight": 1.0},
    "context 9": {"context_weight": 9.0},
    "context of 3 x 3": {"context_size": 3},
}


def run(quick: bool = False) -> dict[str, Any]:
    """Runs the suite; `quick` takes two clips."""
    data = real_data()
    directory = data / "models" / "vit-tiny-tin200"
    videos = STATIC[:2] if quick else STATIC + OTHERS
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory, frame_sampling_rate=1)
    dense = ViTForImageClassification.from_pretrained(directory, dtype=torch.float32).eval()
    model = hf_ttr.with_temporal_reuse(dense)
    rows: list[Row] = []
    for video in track(videos, description="ablation"):
        clip = first_frames(processor, data / "videos" / video, FRAMES)
        with torch.no_grad():
            expected = dense(clip[0]).logits
        rows += _measure(video, partial(measure_reuse, model, clip, expected, video))
    return {
        "suite": "ablation",
        "frames": FRAMES,
        "model": directory.name,
        "static": list(STATIC),
        "rows": [asdict(row) for row in rows],
    }


def _measure(video: str, reuse: Callable[..., Row]) -> list[Row]:
    rows = []

    def within(ratio: float, name: str, **settings: Any) -> Row:
        return at_ratio(lambda budget: reuse(name, ratio, compute_budget=budget, **settings), ratio)

    for ratio in RATIOS:
        rows += [within(ratio, name, **settings) for name, settings in SETTINGS.items()]
        with patch.object(planner, "choose_corners", greedy_corners):
            rows.append(within(ratio, "corners by Douglas-Peucker"))
    for step in (4, 8, 16):
        with patch.object(planner, "choose_corners", whole_frames(step)):
            rows.append(reuse(f"whole frames only, every {step}", 0.0))
    return rows


def whole_frames(step: int) -> Callable[..., torch.Tensor]:
    """A planner that computes every `step`-th frame, and interpolates all tokens of the others."""

    def choose(features: torch.Tensor, *unused: Any) -> torch.Tensor:
        computed = torch.zeros(features.shape[:3], dtype=torch.bool)
        computed[:, step - 1 :: step] = True
        computed[:, -1] = True
        return computed

    return choose


def greedy_corners(
    features: torch.Tensor,
    reference: torch.Tensor,
    age: torch.Tensor,
    weights: torch.Tensor,
    grid: tuple[int, int],
    config: TemporalReuseConfig,
    budget: float,
) -> torch.Tensor:
    """
    Douglas-Peucker on every position: split where the error is largest, until the budget is spent.

    The order in which one position is split does not depend on the budget, so it is found once; the errors of all
    positions then compete for the budget. Same arguments and result as `hf_ttr.planning.bidirectional.choose_corners`.
    """
    points = torch.cat([reference[:, None], features], dim=1)[0].transpose(0, 1)
    points = points - points[:, :1]
    gram = bidirectional.spread_over_neighbours(
        (points @ points.transpose(1, 2))[None], grid, config.context_weight, config.context_size
    )[0]
    gram = (gram * weights[0].square()[:, None, None]).movedim(0, -1)
    count, _, positions = gram.shape
    index = torch.arange(count)[:, None].expand(-1, positions)
    position = torch.arange(positions).expand(count, -1)
    norm = gram.diagonal().T
    corner = torch.zeros(count, positions, dtype=torch.bool)
    corner[0] = corner[-1] = True
    priority = torch.zeros(count, positions)
    priority[0] = torch.inf
    priority[-1] = (norm + norm[:1] - 2 * gram[:, 0]).amax(0)
    while True:
        left = torch.where(corner, index, -1).cummax(0).values
        right = torch.where(corner, index, count).flip(0).cummin(0).values.flip(0)
        alpha = (index - left) / (right - left).clamp(min=1)
        error = (
            norm
            + (1 - alpha).square() * norm.gather(0, left)
            + alpha.square() * norm.gather(0, right)
            - 2 * (1 - alpha) * gram[index, left, position]
            - 2 * alpha * gram[index, right, position]
            + 2 * alpha * (1 - alpha) * gram[left, right, position]
        ).clamp(min=0)
        error = torch.where(corner, 0.0, error)
        largest = torch.zeros_like(error).scatter_reduce(0, left, error, "amax").gather(0, left)
        split = (error == largest) & (error > 1e-9)
        if not split.any():
            break
        bound = torch.minimum(priority.gather(0, left), priority.gather(0, right))
        priority = torch.where(split, torch.minimum(error, bound), priority)
        corner |= split
    priority = priority[1:]
    kept = int(budget * priority.numel())
    limit = priority.flatten().sort(descending=True).values[kept]
    return (priority > limit)[None]
