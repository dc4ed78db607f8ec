"""What each part of the planner is worth: the same budget of multiply-adds, one thing changed at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import lru_cache
from statistics import geometric_mean, mean
from typing import Any
from unittest.mock import patch

import torch
from transformers import ViTForImageClassification

import hf_ttr
from hf_ttr.configuration import TemporalReuseConfig
from hf_ttr.models.vit.modeling_temporal_reuse_vit import ViTParts
from hf_ttr.planning import bidirectional, planner

from . import corners
from .common import first_frames, kl_divergence, real_data
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
CHOOSERS: dict[str, corners.Chooser] = {
    GREEDY: corners.greedy_corners,
    "random times, as many at each position as by default": corners.random_times,
    "random times, as many at every position": corners.random_corners,
}
SHARES: dict[str, dict[str, Any]] = {
    "linear in time": {"content_alpha": corners.linear_shares},
    "held": {"content_alpha": corners.no_shares},
    "held, corners chosen for holding": {
        "content_alpha": corners.no_shares,
        "polyline_errors": corners.hold_errors,
    },
}
PIXELS = {"pixels of a patch": 16, "pixels, means of 4 x 4": 4, "mean colour of a patch": 1}
"""Signals made of pixels: how many of a side are left."""
NORMED = "embeddings after the first LayerNorm"
TABLES: dict[str, tuple[str, ...]] = {
    "Settings of the planner": tuple(name for name in SETTINGS if not name.startswith("and ")),
    "Reduction beside reuse": ("default", *(name for name in SETTINGS if name.startswith("and "))),
    "What corners are chosen by, instead of the embeddings": ("default", NORMED, *PIXELS),
    "How corners are chosen": ("default", *CHOOSERS, *WHOLE_FRAMES),
    "What reused tokens are made of, instead of shares by content": ("default", *SHARES),
}


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every video, planner and ratio; `quick` takes one video, one ratio and a few planners."""
    real_data()
    names = ("default", GREEDY) if quick else (*SETTINGS, *CHOOSERS, NORMED, *PIXELS, *SHARES)
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
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory)
    dense = ViTForImageClassification.from_pretrained(directory, dtype=torch.float32).eval()
    clip = first_frames(processor, folder / "videos" / video, FRAMES)
    return hf_ttr.with_temporal_reuse(dense), clip, dense(clip[0]).logits


@torch.no_grad()
def compared(video: str, name: str, setting: float, pieces: int | None = None, **settings: Any) -> Row:
    """
    A clip with reuse against the dense model.

    Args:
        video, name, setting: for the row.
        pieces (`int`, *optional*): frames that are handed over at a time, after the first one; by default all at once.
        settings: of reuse.
    """
    model, clip, expected = prepared(video)
    model.config.temporal_reuse = TemporalReuseConfig(**settings)
    calls = [clip] if pieces is None else [clip[:, :1], *clip[:, 1:].split(pieces, dim=1)]
    cache, outputs = None, []
    for frames in calls:
        outputs.append(model(frames, past_key_values=cache))
        cache = outputs[-1].past_key_values
    logits = torch.cat([output.frame_logits[0] for output in outputs])
    done, total, tokens = (
        sum(getattr(output.reuse, count).item() for output in outputs)
        for count in ("multiply_adds", "dense_multiply_adds", "total_tokens")
    )
    cost = ViTParts().cost(model.vit, tokens // clip.shape[1] - 1)
    outside = clip.shape[1] * (cost.patch + model.classifier.weight.numel())
    divergence = kl_divergence(expected, logits).mean().item()
    agreement = (expected.argmax(-1) == logits.argmax(-1)).float().mean().item()
    return Row(video, name, setting, (total - outside) / (done - outside), divergence, agreement)


@torch.no_grad()
def signal(video: str, name: str) -> torch.Tensor:
    """What corners are chosen by, `(1, frames, patches, dim)`."""
    model, clip, _ = prepared(video)
    if name in PIXELS:
        return corners.patch_pixels(clip[0], model.config.patch_size, PIXELS[name])[None]
    return model.vit.layers[0].layernorm_before(model.vit.embeddings(clip[0]))[None, :, 1:]


def _measure(video: str, name: str, ratio: float) -> Row:
    if name in WHOLE_FRAMES:
        with patch.object(planner, "choose_corners", corners.whole_frames(WHOLE_FRAMES[name])):
            return compared(video, name, ratio)

    def at_budget(budget: float) -> Row:
        return compared(video, name, ratio, compute_budget=budget, frame_skipping=False, **SETTINGS.get(name, {}))

    with ExitStack() as stack:
        if name in SHARES:
            for function, stand_in in SHARES[name].items():
                # Each is replaced where it is called.
                module = planner if function == "content_alpha" else bidirectional
                stack.enter_context(patch.object(module, function, stand_in))
        elif name not in SETTINGS:
            chooser = CHOOSERS[name] if name in CHOOSERS else corners.by_signal(signal(video, name))
            stack.enter_context(patch.object(planner, "choose_corners", chooser))
        return at_ratio(at_budget, ratio, 0.02, 1.5 / ratio)


def at_ratio(measure: Callable[[float], Row], ratio: float, low: float, high: float, steps: int = 7) -> Row:
    """
    The row of the largest setting that still saves `ratio` times the multiply-adds of the encoder.

    Args:
        measure: gives the row of a setting; a larger one costs more.
        ratio (`float`): what is to be saved.
        low, high (`float`): between which settings is searched; the lowest is taken if all cost too much.
        steps (`int`): how often the interval is halved.
    """
    best = None
    for _ in range(steps):
        setting = (low + high) / 2
        row = measure(setting)
        if row.encoder_ratio >= ratio:
            low, best = setting, row
        else:
            high = setting
    return best if best is not None else measure(low)


def mean_of(rows: list[dict[str, Any]], ratio: float, figure: str, form: str) -> str:
    """The mean of a figure over rows; where one of them saves less than `ratio`, with what they save."""
    text = format(mean(row[figure] for row in rows), form)
    if all(row["encoder_ratio"] >= ratio and row["setting"] for row in rows):
        return text
    return f"{text} at {mean(row['encoder_ratio'] for row in rows):.1f}x"


def by_videos(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of the static videos and those of the others, by what stands above them in a table."""
    static = [row for row in rows if row["video"] in STATIC]
    others = [row for row in rows if row["video"] not in STATIC]
    return {
        f"{len({row['video'] for row in group})} {name}": group
        for name, group in (("static", static), ("others", others))
        if group
    }


def relative_to_default(rows: list[dict[str, Any]]) -> dict[str, tuple[float, int, int]]:
    """
    How the KL of each planner compares with that of the default.

    Returns:
        By planner the geometric mean of the quotients over the pairs of a video and a ratio that both reach, in how
        many of these it is lower than the default, and how many there are.
    """
    reached = [row for row in rows if row["encoder_ratio"] >= row["setting"] > 0]
    kl = {(row["method"], row["video"], row["setting"]): row["kl"] for row in reached}
    defaults = {key[1:]: value for key, value in kl.items() if key[0] == "default"}
    found = {}
    for method in dict.fromkeys(row["method"] for row in reached):
        quotients = [kl[(method, *pair)] / value for pair, value in defaults.items() if (method, *pair) in kl]
        if method != "default" and quotients:
            found[method] = (geometric_mean(quotients), sum(quotient < 1 for quotient in quotients), len(quotients))
    return found


def table(result: dict[str, Any]) -> Block:
    """The tables of a result: what is compared with the default, by kind."""
    rows = result["rows"]
    ratios = sorted({row["setting"] for row in rows if row["setting"]})
    groups = by_videos(rows)

    def cell(group: list[dict[str, Any]], method: str, ratio: float) -> str:
        chosen = [row for row in group if row["method"] == method and row["setting"] in (ratio, 0.0)]
        # A planner without a budget saves what it saves.
        return mean_of(chosen, ratio, "kl", ".4f") if chosen else ""

    relative = relative_to_default(rows)

    def against_default(method: str) -> str:
        if method not in relative:
            return ""
        quotient, lower, pairs = relative[method]
        return f"{quotient:.2f} ({lower} of {pairs} lower)"

    header = [*(f"{videos}, {ratio:g}x" for videos in groups for ratio in ratios), "relative to the default"]
    found = {row["method"] for row in rows}
    block: Block = [
        "Mean KL to the dense model per frame, the four static videos and the others. The last column is the quotient "
        "to the KL of the default, geometric mean over the pairs of a video and a ratio that are reached, and in how "
        "many of these it is lower."
    ]
    for title, methods in TABLES.items():
        lines = [
            (
                method,
                *(cell(group, method, ratio) for group in groups.values() for ratio in ratios),
                against_default(method),
            )
            for method in methods
            if method in found
        ]
        block += [f"{title}:", Table(("planner", *header), lines)]
    return block


PART = Part("fidelity", "ablation", cells, lambda quick: {"model": "vit-tiny-tin200", "frames": FRAMES})
