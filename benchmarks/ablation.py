"""What each part of the planner is worth: the same budget of multiply-adds, one thing changed at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import mean
from typing import Any
from unittest.mock import patch

import torch
from transformers import ViTForImageClassification

import hf_ttr
from hf_ttr.configuration import TemporalReuseConfig
from hf_ttr.flops import TransformerCost
from hf_ttr.planning import bidirectional, planner

from .common import kl_divergence, real_data
from .fidelity import OTHERS, STATIC
from .runner import Cell, Part
from .table import Block, Table


FRAMES = 49
RATIOS = (4.0, 8.0)
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
    **{f"and ToMe, r = {r} in each layer": {"reduction": {"method": "tome", "r": r}} for r in (1, 2, 4, 8)},
    "and ToMe, r = 8 in the last half": {"reduction": {"method": "tome", "r": [0] * 6 + [8] * 6}},
    "and VidToMe, 10 % within chunks": {"reduction": {"method": "vidtome", "local_ratio": 0.1, "global_ratio": 0.0}},
    "and pruning, 95 % kept": {"reduction": {"method": "pruning", "keep": 0.95}},
}


WHOLE_FRAMES = {f"whole frames only, every {step}": step for step in (4, 8, 16)}
GREEDY = "corners by Douglas-Peucker"


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every video, planner and ratio; `quick` takes one video, one ratio and a few planners."""
    real_data()
    names = ("default", GREEDY) if quick else (*SETTINGS, GREEDY)
    jobs = [(name, ratio) for ratio in (RATIOS[:1] if quick else RATIOS) for name in names]
    jobs += [(name, 0.0) for name in WHOLE_FRAMES]

    def cell(video: str, name: str, ratio: float) -> Cell:
        return Cell(f"{video} | {name} | {ratio:g}", lambda: asdict(_measure(video, name, ratio)), {"frames": FRAMES})

    return [cell(video, *job) for video in (STATIC[:1] if quick else STATIC + OTHERS) for job in jobs]


@dataclass
class Row:
    """
    One planner on one clip, against the dense model.

    Attributes:
        video, method, setting: what was run; `setting` is the ratio aimed at.
        encoder_ratio: dense multiply-adds over those of the method, in the transformer layers.
        kl: KL divergence from the dense model of the class distribution, mean over frames.
        agreement: share of frames with the same top class.
    """

    video: str
    method: str
    setting: float
    encoder_ratio: float
    kl: float
    agreement: float


@lru_cache(maxsize=1)
@torch.no_grad()
def prepared(video: str) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The model with reuse, the first frames of a video, `(1, frames, ...)`, and the dense model's logits of them."""
    folder = real_data()
    directory = folder / "models" / "vit-tiny-tin200"
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory, frame_sampling_rate=1)
    dense = ViTForImageClassification.from_pretrained(directory, dtype=torch.float32).eval()
    clip = processor(folder / "videos" / video, num_frames=FRAMES, return_tensors="pt").pixel_values
    return hf_ttr.with_temporal_reuse(dense), clip, dense(clip[0]).logits


@torch.no_grad()
def _measure(video: str, name: str, ratio: float) -> Row:
    model, clip, expected = prepared(video)

    def reuse(**settings: Any) -> Row:
        model.config.temporal_reuse = TemporalReuseConfig(**settings)
        output = model(clip)
        report, logits = output.reuse, output.frame_logits[0]
        done, total = report.multiply_adds.item(), report.dense_multiply_adds.item()
        cost = TransformerCost.of_vit(model.config, report.total_tokens.item() // clip.shape[1])
        outside = clip.shape[1] * (cost.patch + model.classifier.weight.numel())
        divergence = kl_divergence(expected, logits).mean().item()
        agreement = (expected.argmax(-1) == logits.argmax(-1)).float().mean().item()
        return Row(video, name, ratio, (total - outside) / (done - outside), divergence, agreement)

    if name in WHOLE_FRAMES:
        with patch.object(planner, "choose_corners", whole_frames(WHOLE_FRAMES[name])):
            return reuse()

    def at_budget(budget: float) -> Row:
        return reuse(compute_budget=budget, **SETTINGS.get(name, {}))

    if name == GREEDY:
        with patch.object(planner, "choose_corners", greedy_corners):
            return at_ratio(at_budget, ratio)
    return at_ratio(at_budget, ratio)


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


def table(result: dict[str, Any]) -> Block:
    """The table of a result."""
    rows = result["rows"]
    ratios = sorted({row["setting"] for row in rows if row["setting"]})
    groups = (
        [row for row in rows if row["video"] in STATIC],
        [row for row in rows if row["video"] not in STATIC],
    )

    def cell(group: list[dict[str, Any]], method: str, ratio: float) -> str:
        chosen = [row for row in group if row["method"] == method and row["setting"] in (ratio, 0.0)]
        if not chosen:
            return ""
        text = f"{mean(row['kl'] for row in chosen):.4f}"
        # A planner without a budget saves what it saves.
        return text if chosen[0]["setting"] else f"{text} at {mean(row['encoder_ratio'] for row in chosen):.1f}x"

    static = len({row["video"] for row in groups[0]})
    others = len({row["video"] for row in groups[1]})
    header = [f"{count} videos, {ratio:g}x" for count in (static, others) if count for ratio in ratios]
    return [
        "Mean KL to the dense model per frame, the four static videos and the others.",
        Table(
            ("planner", *header),
            (
                (method, *(cell(group, method, ratio) for group in groups if group for ratio in ratios))
                for method in dict.fromkeys(row["method"] for row in rows)
            ),
        ),
    ]


PART = Part("fidelity", "ablation", cells, lambda quick: {"model": "vit-tiny-tin200", "frames": FRAMES})
