"""The suites and their parts, in the order in which they run."""

from __future__ import annotations

from . import (
    ablation,
    calibration,
    clips,
    fidelity,
    gaps,
    heads,
    image_merging,
    linear_kernels,
    look_ahead,
    memory,
    motion,
    overhead,
    packing,
    rates,
    replay,
    scaling,
    speed,
    speed_methods,
    speed_reduction,
    speed_videomae,
    streams,
    trained,
    trained_windows,
    windows,
)
from .runner import Part


SUITES = ("fidelity", "speed", "memory", "scaling", "streams")
PARTS: tuple[Part, ...] = (
    *fidelity.PARTS,
    ablation.PART,
    gaps.PART,
    look_ahead.PART,
    rates.PART,
    clips.PART,
    motion.PART,
    image_merging.PART,
    calibration.PART,
    heads.PART,
    windows.PART,
    trained.PART,
    trained_windows.PART,
    speed.PART,
    speed_videomae.PART,
    speed_reduction.PART,
    linear_kernels.PART,
    overhead.PART,
    packing.PART,
    speed_methods.METHOD_PART,
    speed_methods.LATENCY_PART,
    replay.PART,
    memory.PEAK_PART,
    memory.STREAM_PART,
    *scaling.PARTS,
    streams.LONG_PART,
    streams.MANY_PART,
    streams.GUARD_PART,
)
