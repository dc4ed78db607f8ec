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

from ..answers.promise import OF_OTHERS, Target
from ..answers.scores import ScoreKind, divergence, same_answer, score_kind
from ..answers.statistics import bootstrap_interval, wilson_interval
from ..configuration import as_temporal_reuse_config
from ..video import VideoDecodingError
from .measurements import ByThreshold, Measured, MeasurementFiles
from .metadata import DataError
from .protocol import Protocol


THRESHOLDS = (0.02, 0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4, 0.56, 0.8)
"""Candidates, each 1.4 times as high as the one before."""


@dataclass(frozen=True)
class Point:
    """
    Many clips at one threshold.

    Attributes:
        threshold: of it.
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
        threshold: the cheapest that keeps it; `None` where none does.
        curve: measured on the videos that the threshold was chosen on.
        best: the most that can be promised with these videos: the lowest threshold of the curve.
        growth: about how many times as many videos it takes until that one keeps the promise, if the same is measured
            of them; `None` where no number is enough.
        check: measured on the others, at the chosen threshold; `None` where there are none, or no threshold.
        is_kept: whether the promise was kept on the others; `None` where there is no check.
        videos, held_out: names of the two.
        broken: names of the videos that could not be measured, and why.
    """

    target: Target
    threshold: float | None
    curve: list[Point]
    best: Point
    growth: float | None
    check: Point | None
    is_kept: bool | None
    videos: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether there is a threshold that keeps the promise, also on the others where there are any."""
        return self.threshold is not None and self.is_kept is not False

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


Measurements = dict[str, ByThreshold]
"""By video and threshold, its clips."""


def measure_videos(
    model: Any,
    processor: Any,
    videos: Sequence[str | os.PathLike[str]],
    protocol: Protocol,
    thresholds: Sequence[float] = THRESHOLDS,
    progress: Callable[[int], None] = lambda done: None,
    target: Target | None = None,
    files: MeasurementFiles | None = None,
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
        files (`MeasurementFiles`, *optional*): what was measured before is taken from there, and what is measured is
            kept there, video by video.

    Returns:
        What was measured; and, by video, why the others were not: they cannot be read, or the dense model has no
        scores for them.

    Raises:
        DataError: if none can be read, labels are promised of a model of numbers, or the files cannot be written; one
            sentence.
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
        path = None if files is None else files.path(video)
        if files is not None and (known := files.read(path)) is not None:
            found[os.fspath(video)] = known
            progress(number + 1)
            continue
        own: ByThreshold = {threshold: [] for threshold in thresholds}
        try:
            # One clip at a time, so that none is planned among others.
            for clip in protocol.pixel_values(processor, video).to(model.device).split(1):
                for threshold, measured in _measure(model, clip, settings, thresholds, kind):
                    own[threshold].append(measured)
            found[os.fspath(video)] = own
            if files is not None:
                files.write(path, video, own)
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


def choose(measurements: Measurements, target: Target) -> tuple[float | None, list[Point]]:
    """
    The highest threshold up to which all keep the promise, by their confidence bounds.

    Returns:
        The threshold, `None` if there is none; and the curve.
    """
    thresholds = sorted(next(iter(measurements.values())))
    curve = [point_of(measurements, threshold, target.confidence) for threshold in thresholds]
    chosen = None
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
    count = videos_to_choose_on(len(names), held_out)
    order = [names[number] for number in np.random.default_rng(seed).permutation(len(names))]
    kept, others = sorted(order[:count]), sorted(order[count:])
    threshold, curve = choose({name: measurements[name] for name in kept}, target)
    check = is_kept = None
    if others and threshold is not None:
        check = point_of({name: measurements[name] for name in others}, threshold, target.confidence)
        is_kept = target.is_met(check, by_bound=False)
    return Calibration(target, threshold, curve, curve[0], target.growth(curve[0]), check, is_kept, kept, others)


def videos_to_choose_on(videos: int, held_out: float) -> int:
    """
    On how many of the videos the threshold is chosen; the others are for the check.

    Raises:
        DataError: if there are too few videos; one sentence.
    """
    if videos < (4 if held_out else 2):
        raise DataError(
            f"there {'is' if videos == 1 else 'are'} {videos} video{'' if videos == 1 else 's'}, too few to say "
            "something about others; give at least 4, ten times as many are better."
        )
    return max(2, round(videos * (1 - held_out)))


def draw_curve(calibration: Calibration, path: str) -> None:
    """
    Draws agreement and divergence over the savings, with bounds, target and choice, to a PNG.

    Raises:
        DataError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("the curve is drawn with matplotlib; pip install matplotlib.") from error
    from ..storage.files import replacing

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
