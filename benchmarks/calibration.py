"""Whether a calibrated threshold keeps its promise on videos that it was not chosen on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import hf_ttr
from hf_ttr.evaluation import Protocol
from hf_ttr.evaluation.calibration import THRESHOLDS, Calibration, Measured, Target, calibrate, measure_videos

from .common import real_data
from .runner import Cell, Part
from .table import Block, Table


HALVES = 20
TARGETS = (
    Target(agreement=0.95),
    Target(agreement=0.97),
    Target(agreement=0.98),
    Target(kl=0.02),
    Target(kl=0.05),
    Target(agreement=0.95, kl=0.02),
)
PROTOCOL = Protocol(num_clips=2, num_frames=16, frame_sampling_rate=1)
EVERY_FIGHT = 4
"""Of the many surveillance clips, that much is enough."""


def cells(quick: bool) -> Iterable[Cell]:
    """Clips of every video at every threshold."""
    folder = real_data()
    found = sorted(path for path in (folder / "videos").rglob("*.*") if path.is_file())
    found += sorted((folder / "fight_surv").rglob("*.mp4"))[::EVERY_FIGHT]
    return [
        Cell(path.relative_to(folder).as_posix(), partial(_measure, path), {"thresholds": list(THRESHOLDS)})
        for path in (found[:6] if quick else found)
    ]


@lru_cache(maxsize=1)
def _model() -> tuple[Any, Any]:
    folder = real_data() / "models" / "vit-tiny-tin200"
    return (
        hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(folder),
        hf_ttr.TemporalReuseVideoProcessor.from_pretrained(folder),
    )


def _measure(path: Path) -> dict[str, Any]:
    measured, _ = measure_videos(*_model(), [path], PROTOCOL)
    (by_threshold,) = measured.values()
    return {"clips": {f"{threshold:g}": [asdict(one) for one in clips] for threshold, clips in by_threshold.items()}}


def half_by_half(result: dict[str, Any]) -> dict[str, list[Calibration]]:
    """By target, in words, what is chosen on each random half of the videos, and found on the other."""
    measured = {
        row["key"][0]: {float(key): [Measured(**one) for one in clips] for key, clips in row["clips"].items()}
        for row in result["rows"]
    }
    found = {}
    for target in TARGETS:
        wanted = [] if target.agreement is None else [f"agreement {target.agreement:g}"]
        wanted += [] if target.kl is None else [f"KL {target.kl:g}"]
        found[" and ".join(wanted)] = [calibrate(measured, target, held_out=0.5, seed=seed) for seed in range(HALVES)]
    return found


def kept(halves: list[Calibration]) -> tuple[int, int]:
    """On how many of the other halves the promise holds, and of how many: those for which there is a threshold."""
    found = [half for half in halves if half.threshold]
    return sum(bool(half.is_kept) for half in found), len(found)


def table(result: dict[str, Any]) -> Block:
    """The table of part `calibration`."""
    rows = []
    for target, halves in half_by_half(result).items():
        thresholds = [half.threshold for half in halves if half.threshold]
        savings = [1.0 if half.check is None else half.check.saving for half in halves]
        rows.append(
            (
                target,
                "{} of {}".format(*kept(halves)),
                f"{min(thresholds):g} to {max(thresholds):g}" if thresholds else "",
                f"{HALVES - len(thresholds)}",
                f"{HALVES / sum(1 / saving for saving in savings):.2f}x fewer",
            )
        )
    header = ("target", "kept on the others", "thresholds", "halves without one", "multiply-adds of the others")
    return [
        f"{result['model']}: {len(result['rows'])} real videos, two clips of {PROTOCOL.num_frames} frames of each. "
        f"For each target the threshold is chosen on {HALVES} random halves of the videos, with a confidence of 95 %, "
        "and the promise is looked at on the other half. Where no threshold can promise it, everything is computed, "
        "which is not counted as kept.",
        Table(header, rows),
    ]


PART = Part("fidelity", "calibration", cells, lambda quick: {"model": "vit-tiny-tin200"})
