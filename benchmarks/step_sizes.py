"""
What steps of fixed shapes compute beyond their plan, on the plans of real videos.

Steps have a few sizes, and what is planned is rounded up to the next one: a step of live streams is filled up with
tokens, a piece of a clip with padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

import torch

import hf_ttr
from hf_ttr.configuration import DEFAULT_THRESHOLD
from hf_ttr.execution.kernels.row_buckets import RowBuckets
from hf_ttr.models.captured_steps import sizes_of_steps

from .common import real_data
from .fidelity import videos
from .long_streams import loaded, pixels_of
from .runner import Cell, Part
from .table import Block, Table


STREAMS = (1, 8, 32)
CLIPS = (16, 64)
OFFSET = 37
"""Frames by which the next stream of the same video is ahead."""
QUICK_FRAMES = 24
ROUNDED = ("computed", "in_buckets")


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for each number of streams, and each length of clips."""
    folder = real_data() / "videos"
    names = tuple(name for found in videos(folder).values() for name in found)[: 2 if quick else None]
    most = QUICK_FRAMES if quick else None
    for count in STREAMS:
        yield Cell(f"streams | {count}", partial(_streams, names, count, most))
    for frames in CLIPS:
        yield Cell(f"clips | {frames}", partial(_clips, names, min(frames, most or frames), most))


def _model(mode: str) -> Any:
    return hf_ttr.with_temporal_reuse(loaded()[1](), {"threshold": DEFAULT_THRESHOLD, "mode": mode})


@cache
@torch.inference_mode()
def _counts(name: str, most: int | None) -> list[int]:
    """Tokens that are planned in each frame of a video behind the first, as one live stream."""
    model, past, counts = _model("causal"), None, list[int]()
    for call in pixels_of(name, most).split(16):
        output = model(call[None], past_key_values=past, output_reuse_plan=True)
        past = output.past_key_values
        counts += output.reuse.plan[0].sum(-1).tolist()
    return counts[1:]


def _streams(names: Sequence[str], count: int, most: int | None) -> dict[str, Any]:
    """As many steps as the longest video has frames; streams begin anew where their video ends."""
    found = [_counts(name, most) for name in names]
    tokens = _tokens()
    totals = []
    for first in range(0, len(found), count) if count < len(found) else [0]:
        own = [found[(first + number) % len(found)] for number in range(count)]
        shifts = [OFFSET * ((first + number) // len(found)) for number in range(count)]
        totals += [
            sum(counts[(time + shift) % len(counts)] for counts, shift in zip(own, shifts))
            for time in range(max(map(len, own)))
        ]
    return _rounded(totals, tokens, 1, count)


@torch.inference_mode()
def _clips(names: Sequence[str], frames: int, most: int | None) -> dict[str, Any]:
    """Clips side by side out of all videos; of each what is planned behind the first frame."""
    model, totals = _model("bidirectional"), []
    for name in names:
        pixels = pixels_of(name, most)
        for start in range(0, len(pixels) - frames + 1, frames):
            clip = pixels[start : start + frames]
            plan = model(clip[None], output_reuse_plan=True, use_cache=False).reuse.plan
            totals.append(int(plan[:, 1:].sum()))
    return _rounded(totals, _tokens(), 1, frames - 1)


def _tokens() -> int:
    config = loaded()[1]().config
    return 1 + (config.image_size // config.patch_size) ** 2


def _rounded(totals: Sequence[int], tokens: int, prefix: int, frames: int) -> dict[str, Any]:
    """What becomes of planned numbers of tokens, of so many frames at a time."""
    sizes, buckets = sizes_of_steps(tokens, prefix, frames), RowBuckets()
    steps = [total for total in totals if sizes and total <= sizes[-1]]
    rounded = [next(size for size in sizes if size >= total) for total in steps]
    return {
        "steps": len(totals),
        "usual": len(totals) - len(steps),
        "planned": sum(steps),
        "computed": sum(rounded),
        "in_buckets": sum(map(buckets.size, steps)),
        "sizes": len(set(rounded)),
    }


def table(result: dict[str, Any]) -> Block:
    """How much more is computed than planned."""
    rows = []
    for row in result["rows"]:
        kind, count = row["key"]
        what = f"{count} live {'stream' if count == '1' else 'streams'}" if kind == "streams" else f"clips of {count}"
        rows.append(
            (
                what,
                f"{row['steps']:,}",
                f"{row['usual'] / row['steps']:.1%}",
                f"{row['planned'] / max(row['steps'] - row['usual'], 1):,.0f}",
                *(f"{row[name] / row['planned'] - 1:.1%}" if row["planned"] else "" for name in ROUNDED),
                str(row["sizes"]),
            )
        )
    return [
        f"{result['model']}, threshold {DEFAULT_THRESHOLD:g}, plans of all frames of the real videos: live streams "
        "side by side, each at a video of its own as far as there are any, and clips. Steps in which more than three "
        "quarters of all tokens are planned go the usual way. In buckets: the same plans padded as `RowBuckets` does.",
        Table(
            (
                "what",
                "steps",
                "the usual way",
                "tokens planned in a step",
                "more computed",
                "more in buckets",
                "sizes in use",
            ),
            rows,
        ),
    ]


PART = Part("streams", "step_sizes", cells, lambda quick: {"model": "vit-tiny-tin200"})
