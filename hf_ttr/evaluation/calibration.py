"""The threshold that keeps a promise: measured on some videos, checked on others."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from ..configuration import as_temporal_reuse_config
from ..scores import ScoreKind, divergence, same_answer, score_kind
from ..statistics import bootstrap_interval, wilson_interval
from ..video import VideoDecodingError
from .metadata import DataError
from .protocol import Protocol


THRESHOLDS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.56, 0.8)
"""Candidates, each 1.4 times as high as the one before."""

OF_OTHERS = 2**0.5
"""The mean over as many other videos scatters as much as the one that was measured: their difference, by this more."""


@dataclass(frozen=True)
class Target:
    """
    What is promised.

    Args:
        agreement (`float`, *optional*): least share of the frames (of a VideoMAE: clips) with the dense model's label;
            of labels each by itself, with the same labels above one half.
        kl (`float`, *optional*): largest mean divergence from the dense scores, in nats.
        confidence (`float`): with which both are promised, above 0.5 and below 1.

    Raises:
        ValueError: if one is out of range, or nothing is promised; one sentence.
    """

    agreement: float | None = None
    kl: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.agreement is None and self.kl is None:
            raise ValueError("a target is an agreement, a kl, or both; give one.")
        if self.agreement is not None and not 0 < self.agreement <= 1:
            raise ValueError(f"agreement is {self.agreement}, but must be a share above 0 and at most 1.")
        if self.kl is not None and not self.kl > 0:
            raise ValueError(f"kl is {self.kl}, but must be above 0.")
        if not 0.5 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}, but must be above 0.5 and below 1.")

    def is_met(self, point: Point, by_bound: bool) -> bool:
        """Whether a point of the curve keeps the promise: by its confidence bounds, or by what was measured."""
        agreement = point.agreement_bound if by_bound else point.agreement
        kl = point.kl_bound if by_bound else point.kl
        return (self.agreement is None or agreement >= self.agreement) and (self.kl is None or kl <= self.kl)


@dataclass(frozen=True)
class Measured:
    """
    One clip at one threshold.

    Attributes:
        frames: number of them; 1 of a model that gives labels to clips alone.
        agreement: share of its frames with the dense model's label.
        kl: mean divergence of its frames from the dense scores.
        multiply_adds, dense_multiply_adds: of it.
    """

    frames: int
    agreement: float
    kl: float
    multiply_adds: int
    dense_multiply_adds: int


@dataclass(frozen=True)
class Point:
    """
    Many clips at one threshold.

    Attributes:
        threshold: of it; 0 is the dense model.
        agreement, kl: means over the clips.
        agreement_bound, kl_bound: what the mean over as many other videos keeps to with the confidence asked for: by
            bootstrap over videos, and for agreement not above what Wilson's interval says of independent frames.
        saving: how many times fewer multiply-adds.
    """

    threshold: float
    agreement: float
    agreement_bound: float
    kl: float
    kl_bound: float
    saving: float


@dataclass
class Calibration:
    """
    What came of a calibration.

    Attributes:
        target: what was promised.
        threshold: the cheapest that keeps it; 0, which computes everything, where none does.
        curve: measured on the videos that the threshold was chosen on.
        check: measured on the others, at the chosen threshold; `None` where all videos were needed.
        is_kept: whether the promise was kept on the others.
        videos, held_out: names of the two.
        broken: names of the videos that could not be measured, and why.
    """

    target: Target
    threshold: float
    curve: list[Point]
    check: Point | None
    is_kept: bool | None
    videos: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it: what is no number is `None`."""
        found: dict[str, Any] = _without_nan(asdict(self))
        return found


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


Measurements = dict[str, dict[float, list[Measured]]]
"""By video and threshold, its clips."""


def measure_videos(
    model: Any,
    processor: Any,
    videos: Sequence[str | os.PathLike[str]],
    protocol: Protocol,
    thresholds: Sequence[float] = THRESHOLDS,
    progress: Callable[[int], None] = lambda done: None,
    target: Target | None = None,
) -> tuple[Measurements, dict[str, str]]:
    """
    Runs clips of videos dense and at each threshold.

    Args:
        model, processor: as in `evaluate`.
        videos: paths.
        protocol: `num_clips` clips of each, in one view.
        thresholds: candidates.
        progress: told how many videos are done.
        target (`Target`, *optional*): looked at before anything is run, whether the model can keep it.

    Returns:
        What was measured; and, by video, why the others were not: they cannot be read, or the dense model has no
        scores for them.

    Raises:
        DataError: if none can be read, or labels are promised of a model of numbers; one sentence.
    """
    settings = as_temporal_reuse_config(model.config.temporal_reuse)
    if settings.mode == "off":
        raise ValueError('a threshold has no meaning in mode "off"; set the mode in which the model is to be used.')
    kind = score_kind(model.config.problem_type)
    if kind == "none" and target is not None and target.agreement is not None:
        raise DataError(
            "the model gives numbers and no labels (its problem_type is 'regression'), so that an agreement of labels "
            "has no meaning; give a kl."
        )
    found: Measurements = {}
    broken: dict[str, str] = {}
    for number, video in enumerate(videos):
        own: dict[float, list[Measured]] = {threshold: [] for threshold in thresholds}
        try:
            # One clip at a time, so that none is planned among others.
            for clip in protocol.pixel_values(processor, video).to(model.device).split(1):
                for threshold, measured in _measure(model, clip, settings, thresholds, kind):
                    own[threshold].append(measured)
            found[os.fspath(video)] = own
        except (VideoDecodingError, _NoScores) as error:
            broken[os.fspath(video)] = str(error)
        progress(number + 1)
    if broken and not found:
        raise DataError(f"none of the {len(broken)} videos can be used; the first: {next(iter(broken.values()))}")
    return found, broken


class _NoScores(ValueError):
    """The dense model's scores of a video are no numbers."""


@torch.inference_mode()
def _measure(model: Any, clip: torch.Tensor, settings: Any, thresholds: Sequence[float], kind: ScoreKind) -> Any:
    dense = _frame_logits(model(clip, temporal_reuse={"mode": "off", "reduction": []}))
    if not dense.isfinite().all():
        raise _NoScores("The dense model's scores are NaN or infinite; check its weights and its dtype.")
    for threshold in thresholds:
        own = copy.copy(settings)
        own.threshold, own.compute_budget = threshold, None
        out = model(clip, temporal_reuse=own, use_cache=False)
        logits = _frame_logits(out)
        yield (
            threshold,
            Measured(
                len(dense),
                float(same_answer(dense, logits, kind).double().mean()),
                float(divergence(dense, logits, kind).mean()),
                int(out.reuse.multiply_adds.sum()),
                int(out.reuse.dense_multiply_adds.sum()),
            ),
        )


def _frame_logits(out: Any) -> torch.Tensor:
    frames = getattr(out, "frame_logits", None)
    logits: torch.Tensor = (out.logits if frames is None else frames[0]).double().cpu()
    return logits


def point_of(measurements: Measurements, threshold: float, confidence: float) -> Point:
    """What the clips of some videos add up to at one threshold."""
    clips = [measured[threshold] for measured in measurements.values()]
    every = [one for own in clips for one in own]
    # Clips of a video are alike: what is drawn anew is videos. A two-sided interval has a one-sided bound at each end.
    level = 2 * confidence - 1
    agreements = [float(np.mean([one.agreement for one in own])) for own in clips]
    kls = [float(np.mean([one.kl for one in own])) for own in clips]
    frames = sum(one.frames for one in every)
    agreeing = sum(round(one.frames * one.agreement) for one in every)
    # Where all videos agree, drawing from them tells nothing of those that would not.
    lowest = min(bootstrap_interval(agreements, level).low, wilson_interval(agreeing, frames, level).low)
    agreement, kl = float(np.mean(agreements)), float(np.mean(kls))
    # Scores that are NaN keep no promise.
    highest = bootstrap_interval(kls, level).high if math.isfinite(kl) else math.nan
    return Point(
        threshold,
        agreement,
        agreement - OF_OTHERS * (agreement - lowest),
        kl,
        kl + OF_OTHERS * (highest - kl),
        sum(one.dense_multiply_adds for one in every) / sum(one.multiply_adds for one in every),
    )


def choose(measurements: Measurements, target: Target) -> tuple[float, list[Point]]:
    """
    The highest threshold up to which all keep the promise, by their confidence bounds.

    Returns:
        The threshold, 0 if there is none; and the curve.
    """
    thresholds = sorted(next(iter(measurements.values())))
    curve = [point_of(measurements, threshold, target.confidence) for threshold in thresholds]
    chosen = 0.0
    for point in curve:
        if not target.is_met(point, by_bound=True):
            break
        chosen = point.threshold
    return chosen, curve


def calibrate(measurements: Measurements, target: Target, held_out: float = 0.5, seed: int = 0) -> Calibration:
    """
    Chooses a threshold on some of the videos, and looks on the others whether the promise is kept.

    Args:
        measurements: of all videos.
        target: what is promised.
        held_out (`float`): share of the videos for the check; 0 for none.
        seed (`int`): of the draw.

    Raises:
        DataError: if there are too few videos; one sentence.
    """
    names = sorted(measurements)
    if len(names) < (4 if held_out else 2):
        raise DataError(
            f"there are {len(names)} videos, too few to say something about others; give at least 4, ten times as "
            "many are better."
        )
    order = [names[number] for number in np.random.default_rng(seed).permutation(len(names))]
    kept = sorted(order[: max(2, round(len(order) * (1 - held_out)))])
    others = [name for name in names if name not in kept]
    threshold, curve = choose({name: measurements[name] for name in kept}, target)
    check = is_kept = None
    if others and threshold:
        check = point_of({name: measurements[name] for name in others}, threshold, target.confidence)
        is_kept = target.is_met(check, by_bound=False)
    elif others:
        # The dense model agrees with itself.
        is_kept = True
    return Calibration(target, threshold, curve, check, is_kept, kept, others)


def draw_curve(calibration: Calibration, path: str) -> None:
    """
    Draws agreement and divergence over the savings, with bounds, target and choice, to a PNG.

    Raises:
        DataError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("the curve is drawn with matplotlib; pip install 'hf-ttr[evaluation]'.") from error
    from ..files import replacing

    curve, target = calibration.curve, calibration.target
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axis, name, wanted, label in zip(
        figure.subplots(1, 2),
        ("agreement", "kl"),
        (target.agreement, target.kl),
        ("same label as the dense model", "KL to the dense model, nats"),
    ):
        savings = [point.saving for point in curve]
        axis.plot(savings, [getattr(point, name) for point in curve], marker="o", color="#08306b", label="measured")
        bounds = [getattr(point, f"{name}_bound") for point in curve]
        axis.plot(savings, bounds, color="#08306b", linestyle=":", label=f"bound, {target.confidence:.0%}")
        if wanted is not None:
            axis.axhline(wanted, color="#e6550d", label="target")
        for point in curve:
            if point.threshold == calibration.threshold:
                axis.axvline(point.saving, color="#00b3a4", label=f"threshold {point.threshold:g}")
        if calibration.check is not None:
            check = calibration.check
            axis.plot(check.saving, getattr(check, name), "D", color="#00b3a4", label="other videos")
        axis.set_xlabel("times fewer multiply-adds")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
