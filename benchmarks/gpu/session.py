"""What is measured on a GPU that is there for minutes: the dearest questions first, each answer saved at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from rich.console import Console

from ..common import RESULTS
from ..curves import cost_at_kl
from ..runner import Cell, Outcome, Part, run_parts
from ..store import ResultError, Results
from .correctness import check_family, check_kernel, families
from .waiting import check_waiting
from .ways import clip, profile, streams, windows


SUITE = "gpu"
TITLES = {
    "gpu_correctness": "what must hold",
    "gpu_streams": "live streams, a frame of each at a time",
    "gpu_clips": "clips in one call",
    "gpu_windows": "sliding windows",
    "gpu_profile": "where the time goes",
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHARES = (0.25, 0.1, 0.5)
STREAMS = (8, 1, 32, 64)
CLIP_SHARES, CLIP_FRAMES = (0.1, 0.25), (64, 16)
STRIDE = 4
FALLBACK_SHARE = 0.15
"""Of the multiply-adds of a clip, where the results of the trained model are not at hand."""


@dataclass(frozen=True)
class Plan:
    """
    On what is measured, and how thoroughly.

    Attributes:
        device: the GPU, or the CPU for a rehearsal.
        dtype (`str`): of the timings, one of `DTYPES`.
        quick (`bool`): whether tiny models and a run of each will do.
    """

    device: torch.device
    dtype: str = "bfloat16"
    quick: bool = False

    @property
    def rounds(self) -> int:
        """How often each way is timed."""
        return 1 if self.quick else 20

    def jobs(self) -> Iterator[tuple[str, Cell]]:
        """The name of a part, and a cell of it, from the most to the least valuable."""
        yield from self._correctness("vit", ("bfloat16", "float32", "float16"))
        yield from self._kernel()
        for family in ("vit", "videomae"):
            yield self._waiting(family)
        yield self._streams("siglip", 1, 0.25)
        yield self._streams("vit-b", 8, 0.1)
        yield self._streams("siglip", 32, 0.25)
        yield self._clip("vit-b", 64, share_of_trained_model())
        yield self._windows("videomae-b", 1, 0.0)
        yield self._profile("vit-b", 8, 0.25, "reuse")
        yield self._profile("vit-b", 8, 0.25, "reuse, captured")
        yield self._profile("siglip", 1, 0.25, "reuse, captured")
        # The curve over the number of streams: throughput at 64 against 8.
        for count in STREAMS:
            for share in SHARES:
                yield self._streams("vit-b", count, share)
        for frames in CLIP_FRAMES:
            for share in CLIP_SHARES:
                yield self._clip("vit-b", frames, share)
        # Where reuse loses: one stream of few tokens, and everything changes.
        yield self._streams("vit-b", 1, 1.0)
        for name in ("vit-l", "vit-b-384", "dinov2-l"):
            for count in (1, 8):
                yield self._streams(name, count, 0.25)
        yield self._windows("videomae-b", 8, 0.0)
        yield self._windows("videomae-b", 1, 0.05)
        for family in families():
            yield from self._correctness(family, DTYPES)
        for count in STREAMS:
            for share in SHARES:
                yield self._streams("siglip", count, share)

    @property
    def settings(self) -> dict[str, Any]:
        """What the results depend on beside their keys."""
        return {"quick": True} if self.quick else {}

    def _correctness(self, family: str, dtypes: Any) -> Iterator[tuple[str, Cell]]:
        name = key_of(family)
        for dtype in dtypes:
            key = f"{name} | {dtype}"
            yield "gpu_correctness", Cell(key, partial(check_family, name, self.device, DTYPES[dtype]), self.settings)

    def _kernel(self) -> Iterator[tuple[str, Cell]]:
        for name, dtype in DTYPES.items():
            run = partial(check_kernel, self.device, dtype, self.quick)
            yield "gpu_correctness", Cell(f"kernel | {name}", run, self.settings)

    def _waiting(self, family: str) -> tuple[str, Cell]:
        run = partial(check_waiting, key_of(family), self.device, DTYPES[self.dtype])
        return "gpu_correctness", Cell(f"{key_of(family)}, waiting | {self.dtype}", run, self.settings)

    def _timed(self, part: str, key: str, run: Any) -> tuple[str, Cell]:
        return part, Cell(f"{key} | {self.dtype}", run, self.settings)

    def _streams(self, name: str, count: int, share: float) -> tuple[str, Cell]:
        run = partial(streams, name, count, share, self.device, DTYPES[self.dtype], self.rounds, self.quick)
        return self._timed("gpu_streams", f"{name} | {count} | {share:g}", run)

    def _clip(self, name: str, frames: int, share: float) -> tuple[str, Cell]:
        run = partial(clip, name, frames, share, self.device, DTYPES[self.dtype], self.rounds, self.quick)
        return self._timed("gpu_clips", f"{name} | {frames} | {share:.3g}", run)

    def _windows(self, name: str, count: int, share: float) -> tuple[str, Cell]:
        run = partial(windows, name, count, STRIDE, share, self.device, DTYPES[self.dtype], self.rounds, self.quick)
        return self._timed("gpu_windows", f"{name} | {count} | {share:g}", run)

    def _profile(self, name: str, count: int, share: float, way: str) -> tuple[str, Cell]:
        run = partial(profile, name, count, share, way, self.device, DTYPES[self.dtype], self.quick)
        return self._timed("gpu_profile", f"{name} | {count} | {share:g} | {way}", run)


def key_of(family: str) -> str:
    """The type of the models of a family, whether it is named in full or not."""
    return next(key for key in families() if key in (family, f"temporal_reuse_{family}"))


def share_of_trained_model() -> float:
    """The share of the multiply-adds at a KL of .02 of the trained ViT-Tiny on real videos, as it was measured."""
    from ..aggregate import curves_of, points

    found = Results(RESULTS).part("vit") if RESULTS.exists() else None
    if found is None:
        return FALLBACK_SHARE
    cost = cost_at_kl(points(curves_of(found, "real").get("bidirectional", ())), 0.02)
    return FALLBACK_SHARE if cost is None else cost.share


def run_session(plan: Plan, results: Results, console: Console, minutes: float) -> Outcome:
    """
    Measures what is missing, job after job, until the time is up.

    Args:
        plan: what to measure.
        results: where every cell is saved as it ends; what is there with the same settings is left.
        console: says what goes on.
        minutes (`float`): after which no further job starts.
    """
    end = time.monotonic() + 60 * minutes
    outcome, seen = Outcome(), set[tuple[str, str]]()
    for part, cell in plan.jobs():
        if (part, cell.key) in seen:
            continue
        seen.add((part, cell.key))
        if time.monotonic() > end:
            outcome.missing.append(f"{part}: {cell.key}")
            continue
        start = time.monotonic()
        done = run_parts(
            [Part(SUITE, part, lambda quick: [cell], lambda quick: about(plan))],  # noqa: B023
            results,
            console,
            quick=False,
            fresh=False,
        )
        outcome.measured += done.measured
        outcome.skipped += done.skipped
        outcome.failed += done.failed
        if done.missing:
            raise ResultError(done.missing[0])
        console.print(f"{part}: {cell.key}, {time.monotonic() - start:.1f} s", highlight=False)
        if plan.device.type == "cuda":
            torch.cuda.empty_cache()
    return outcome


def find_device(name: str) -> torch.device:
    """
    Raises:
        ValueError: if there is no such device; one sentence.
    """
    if name not in ("cuda", "cpu"):
        raise ValueError(f"there is no device {name!r} to measure on; it is cuda, or cpu for a rehearsal.")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch finds no CUDA device here; pass --device cpu --quick to rehearse.")
    return torch.device(name)


def known_dtype(name: str) -> str:
    """
    Raises:
        ValueError: if it is none of `DTYPES`; one sentence.
    """
    if name not in DTYPES:
        raise ValueError(f"the dtype is {name!r}, but it must be {', '.join(DTYPES)}.")
    return name


def about(plan: Plan) -> dict[str, Any]:
    """What stands above the cells: the device."""
    return {"device": device_name(plan.device)}


def device_name(device: torch.device) -> str:
    """The name of a GPU, or that it was a rehearsal."""
    if device.type != "cuda":
        return "cpu"
    found: str = torch.cuda.get_device_name(device)
    return found
