"""
Streams for a long time, and many at once.

`python -m benchmarks.streams NUMBER FRAMES` classifies one of the streams in a process of its own and prints JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import hf_ttr
from hf_ttr.streaming import Frame, ResultFile, StreamEngine, StreamOptions, StreamResult, VideoStreams, open_source
from hf_ttr.streaming.control import percentile
from hf_ttr.video import read_frames

from .common import ROOT, MissingData, kl_divergence, random_vit, real_data
from .runner import Cell, Part
from .table import Block, Table
from .timing import compare_times


ASSETS = ROOT / "hf_ttr" / "assets"
PERIOD = 1000
"""Frames after which a long stream repeats itself, so that what is measured in each period can be compared."""
SAMPLES = 20
"""Frames of each period on which the dense model runs as well."""
STREAMS = 16
MIB = 2**20


def long_cells(quick: bool) -> Iterable[Cell]:
    """One run of 100,000 frames (`quick`: of 3,000)."""
    periods = 3 if quick else 100
    return [Cell(f"{periods * PERIOD} frames", partial(_long_run, periods), {"period": PERIOD})]


def many_cells(quick: bool) -> Iterable[Cell]:
    """Sixteen streams in one process, against dense ones and against a process for each."""
    frames, rounds = (8, 1) if quick else (64, 3)
    return [
        Cell("vit-demo | throughput", partial(_throughput, "demo", frames, rounds), {"frames": frames}),
        Cell("ViT-B/16, random weights | throughput", partial(_throughput, "base", 4 if quick else 12, rounds)),
        Cell("vit-demo | the same as alone", partial(_same_as_alone, frames), {"frames": frames}),
    ]


@lru_cache(maxsize=1)
def _clips() -> list[list[np.ndarray]]:
    """Up to 60 frames of each video, short edge 256."""
    clips = []
    for path in sorted(path for path in (real_data() / "videos").iterdir() if path.is_file()):
        frames, _ = read_frames(path, lambda total: range(min(total, 60)), partial(_resized, scale=1.0))
        clips.append(frames)
    return clips


def _resized(frame: np.ndarray, scale: float) -> np.ndarray:
    height, width = frame.shape[:2]
    scale *= 256 / min(height, width)
    return np.asarray(Image.fromarray(frame).resize((round(width * scale), round(height * scale))))


def _period() -> Iterator[np.ndarray]:
    """The frames of one period, always the same: clips that play to and fro, with cuts, noise and other sizes."""
    random, clips, left = np.random.default_rng(0), _clips(), PERIOD
    while left:
        clip = clips[random.integers(len(clips))]
        length = min(int(random.integers(20, 150)), left)
        sigma, scale = random.choice([0, 0, 2, 6]), random.choice([1.0, 1.0, 0.6, 1.3])
        start = int(random.integers(len(clip)))
        for number in range(start, start + length):
            place = number % (2 * len(clip) - 2)
            frame = clip[min(place, 2 * len(clip) - 2 - place)]
            if scale != 1.0:
                frame = _resized(frame, scale)
            if sigma:
                noise = random.normal(0, sigma, frame.shape)
                frame = (frame + noise).round().clip(0, 255).astype(np.uint8)
            yield frame
        left -= length


@torch.inference_mode()
def _long_run(periods: int) -> dict[str, Any]:
    """A stream through reader, engine, result file and snapshots: what it takes, and how far it drifts."""
    model: Any = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(ASSETS / "vit-demo")
    processor: Any = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(ASSETS / "vit-demo")
    sampled = set(range(PERIOD // SAMPLES - 1, PERIOD, PERIOD // SAMPLES))
    dense: dict[int, torch.Tensor] = {}

    def frames() -> Iterator[Frame]:
        for period in range(periods):
            for place, frame in enumerate(_period()):
                if period == 0 and place in sampled:
                    pixels = processor([frame], do_sample_frames=False, return_tensors="pt").pixel_values
                    dense[place] = model(pixels, temporal_reuse={"mode": "off"}).logits[0]
                yield Frame(frame, (period * PERIOD + place) / 25, period * PERIOD + place)

    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    engine = StreamEngine(model, processor, StreamOptions(top_k=len(names)))
    rows: list[dict[str, float]] = []
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, ResultFile(Path(folder) / "results.jsonl") as file:
        streams = VideoStreams(
            engine, {"camera": open_source(frames(), name="camera")}, snapshots=folder, snapshot_every=30.0
        )
        divergences: list[float] = []
        shares: list[float] = []
        latencies: list[float] = []
        for result in streams:
            file.write(result)
            place = result.number % PERIOD
            shares.append(result.computed_share)
            latencies.append(result.latency_ms)
            if place in dense:
                divergences.append(kl_divergence(dense[place], _logits(result, names)).item())
            if place == PERIOD - 1:
                rows.append(
                    {
                        "frames": result.number + 1,
                        "seconds": time.perf_counter() - begin,
                        "resident_mib": resident_bytes() / MIB,
                        "files": len(os.listdir("/proc/self/fd")),
                        "kl": sum(divergences) / len(divergences),
                        "largest_kl": max(divergences),
                        "computed_share": sum(shares) / len(shares),
                        "p95_ms": percentile(latencies, 95),
                        "cache_mib": engine.memory_bytes / MIB,
                    }
                )
                divergences, shares, latencies = [], [], []
    return {"periods": rows}


def _logits(result: StreamResult, names: list[str]) -> torch.Tensor:
    scores = {entry["label"]: entry["score"] for entry in result.labels}
    return torch.tensor([scores[name] for name in names]).clamp(min=1e-30).log()


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _stream_frames(number: int, frames: int) -> list[np.ndarray]:
    """The frames of one of the streams, 224 x 224: a video each, those after the last from another frame on."""
    clips = _clips()
    clip = clips[number % len(clips)][10 * (number // len(clips)) :]
    size = (224, 224)
    return [np.asarray(Image.fromarray(clip[place % len(clip)]).resize(size)) for place in range(frames)]


def _model(name: str, mode: str | None) -> Any:
    settings: dict[str, Any] = {} if mode is None else {"temporal_reuse": {"mode": mode}}
    if name == "demo":
        return hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(ASSETS / "vit-demo", **settings)
    return hf_ttr.with_temporal_reuse(random_vit(name), settings.get("temporal_reuse"))


def _run(model: Any, frames: dict[str, list[np.ndarray]]) -> list[StreamResult]:
    """All streams in lockstep, as cameras of the same rate."""
    processor: Any = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(ASSETS / "vit-demo")
    engine = StreamEngine(model, processor, StreamOptions(top_k=8, batch_size=STREAMS))
    for name in frames:
        engine.add(name)
    results = []
    for number in range(len(next(iter(frames.values())))):
        for name, own in frames.items():
            engine.push(name, own[number], index=number, time=number / 25)
        results += engine.step()
    return results


def _throughput(name: str, frames: int, rounds: int) -> dict[str, Any]:
    """Sixteen streams with reuse against sixteen dense ones, in turn; preprocessing included."""
    streams = {f"camera {number}": _stream_frames(number, frames) for number in range(STREAMS)}
    reuse, dense = _model(name, None), _model(name, "off")
    results = _run(reuse, streams)
    times = compare_times(lambda: _run(dense, streams), lambda: _run(reuse, streams), rounds)
    spent, without = (sum(getattr(one, f"{kind}multiply_adds") for one in results) for kind in ("", "dense_"))
    total = frames * STREAMS
    return {
        "streams": STREAMS,
        "frames": frames,
        "dense_frames_per_second": total / times["dense_seconds"],
        "reuse_frames_per_second": total / times["reuse_seconds"],
        "wall_clock_ratio": times["wall_clock_ratio"],
        "multiply_add_ratio": without / spent,
        "computed_share": sum(one.computed_share for one in results) / len(results),
    }


def _same_as_alone(frames: int) -> dict[str, Any]:
    """Sixteen streams in this process against each in a process of its own."""
    streams = {str(number): _stream_frames(number, frames) for number in range(STREAMS)}
    together: dict[str, list[dict[str, Any]]] = {name: [] for name in streams}
    for result in _run(_model("demo", None), streams):
        together[result.stream].append(result.to_dict())
    different_labels = different_shares = 0
    largest = 0.0
    for name in streams:
        command = [sys.executable, "-m", "benchmarks.streams", name, str(frames)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"`{' '.join(command[1:])}` ended with: {done.stderr.strip().splitlines()[-1]}")
        for one, other in zip(together[name], json.loads(done.stdout.splitlines()[-1]), strict=True):
            different_labels += one["labels"][0]["label"] != other["labels"][0]["label"]
            different_shares += one["computed_share"] != other["computed_share"]
            scores = [{entry["label"]: entry["score"] for entry in each["labels"]} for each in (one, other)]
            largest = max(largest, *(abs(scores[0][label] - scores[1][label]) for label in scores[0]))
    return {
        "results": sum(map(len, together.values())),
        "different_labels": different_labels,
        "different_computed_shares": different_shares,
        "largest_difference_of_scores": largest,
    }


GUARD_THRESHOLD, VERIFY_EVERY, BOUNDS = 0.3, 25, (None, 0.1, 0.03, 0.01)
"""A threshold that is too high for many videos, frames between dense checks, and what the user accepts."""


def guard_cells(quick: bool) -> Iterable[Cell]:
    """How well streams hold to the divergence that is asked for."""
    settings = {"threshold": GUARD_THRESHOLD, "verify_every": VERIFY_EVERY}
    videos = _videos()[: 2 if quick else None]
    return [
        Cell(f"{path.name} | {bound or 'none'}", partial(_guarded, path, bound, 60 if quick else 300), settings)
        for path in videos
        for bound in BOUNDS
    ]


def _videos() -> list[Path]:
    try:
        return sorted(path for path in (real_data() / "videos").iterdir() if path.is_file())
    except MissingData:
        # The cells say so, when they are measured.
        return [Path("missing")]


@lru_cache(maxsize=1)
def _real_model() -> tuple[Any, Any]:
    folder = real_data() / "models" / "vit-tiny-tin200"
    model: Any = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(
        folder, temporal_reuse={"threshold": GUARD_THRESHOLD}
    )
    processor: Any = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(folder)
    return model, processor


@lru_cache(maxsize=1)
@torch.inference_mode()
def _dense(path: Path, most: int) -> tuple[list[np.ndarray], torch.Tensor]:
    """Frames of a video, and the dense logits of each."""
    model, processor = _real_model()
    frames, _ = read_frames(path, lambda total: range(min(total, most)), partial(_resized, scale=1.0))
    logits = []
    for frame in frames:
        pixels = processor([frame], do_sample_frames=False, return_tensors="pt").pixel_values
        logits.append(model(pixels, temporal_reuse={"mode": "off"}).logits[0])
    return frames, torch.stack(logits)


def _guarded(path: Path, bound: float | None, most: int) -> dict[str, Any]:
    """A stream that is held to a bound, and how far from the dense model each of its frames is."""
    model, processor = _real_model()
    frames, dense = _dense(path, most)
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    checks: dict[str, Any] = {} if bound is None else {"verify_every": VERIFY_EVERY, "max_divergence": bound}
    engine = StreamEngine(model, processor, StreamOptions(top_k=len(names), **checks))
    engine.add("camera")
    results = []
    for number, frame in enumerate(frames):
        engine.push("camera", frame, index=number, time=number / 25)
        results += engine.step()
    divergences = [kl_divergence(own, _logits(one, names)).item() for own, one in zip(dense, results)]
    return {
        "frames": len(frames),
        "mean_kl": sum(divergences) / len(divergences),
        "within": None if bound is None else sum(kl <= bound for kl in divergences) / len(divergences),
        "multiply_add_ratio": sum(one.dense_multiply_adds for one in results)
        / sum(one.multiply_adds for one in results),
        "last_threshold": results[-1].threshold,
    }


def guard_table(result: dict[str, Any]) -> Block:
    """The table of part `guard`."""
    bounds = list(dict.fromkeys(row["key"][1] for row in result["rows"]))
    rows = []
    for bound in bounds:
        own = [row for row in result["rows"] if row["key"][1] == bound]
        kls, thresholds = [row["mean_kl"] for row in own], [row["last_threshold"] for row in own]
        met = "" if bound == "none" else f"{sum(row['mean_kl'] <= float(bound) for row in own)} of {len(own)}"
        within = "" if bound == "none" else f"{sum(row['within'] for row in own) / len(own):.1%}"
        ratio = len(own) / sum(1 / row["multiply_add_ratio"] for row in own)
        cells = (
            f"{max(kls):.3f}",
            met,
            within,
            f"{min(thresholds):.3f} to {max(thresholds):.3f}",
            f"{ratio:.2f}x fewer",
        )
        rows.append((bound, f"{sum(kls) / len(kls):.4f}", *cells))
    header = ("bound", "KL, mean", "worst video", "videos within it", "frames within it", "threshold at the end")
    return [
        f"{result['model']}: {len(result['rows']) // len(bounds)} real videos of up to 300 frames, each a stream with "
        f"the threshold {GUARD_THRESHOLD}, which is too high for many, and a dense check every {VERIFY_EVERY} frames, "
        "whose cost is counted. KL to the dense model of every frame.",
        Table((*header, "multiply-adds"), rows),
    ]


def memory_growth(periods: list[dict[str, float]]) -> tuple[float, float]:
    """
    Resident memory of a long stream.

    Returns:
        MiB after the first period, by when model and caches are in memory, and the largest after it.
    """
    first, *others = (period["resident_mib"] for period in periods)
    return first, max(others)


def long_table(result: dict[str, Any]) -> Block:
    """The table of part `long_run`."""
    (run,) = result["rows"]
    rows = run["periods"]
    memory, largest = memory_growth(rows)
    chosen = [rows[0], *(rows[len(rows) * part // 4 - 1] for part in (1, 2, 3, 4))]
    return [
        f"{result['model']}: one stream of {rows[-1]['frames']:,} frames in {rows[-1]['seconds'] / 60:.0f} minutes. "
        f"Clips with cuts, noise and changes of resolution repeat every {PERIOD} frames, so that each period is like "
        f"the first; on {SAMPLES} frames of it the dense model runs as well. Resident memory after the first {PERIOD} "
        f"frames: {memory:.0f} MiB; after that {largest:.0f} MiB at most ({100 * (largest / memory - 1):+.1f} %). "
        f"Open files: {min(row['files'] for row in rows):.0f} to {max(row['files'] for row in rows):.0f}. Frames are "
        "handed over as fast as they are taken, so that most of the latency is waiting for their turn.",
        Table(
            (
                "frames",
                "KL to dense, mean",
                "largest",
                "tokens computed",
                "p95 latency, waiting included",
                "resident",
                "open files",
            ),
            (
                (
                    f"{row['frames']:,}",
                    f"{row['kl']:.5f}",
                    f"{row['largest_kl']:.4f}",
                    f"{row['computed_share']:.1%}",
                    f"{row['p95_ms']:.0f} ms",
                    f"{row['resident_mib']:.0f} MiB",
                    f"{row['files']:.0f}",
                )
                for row in chosen
            ),
        ),
    ]


def many_table(result: dict[str, Any]) -> Block:
    """The table of part `many_streams`."""
    found = {row["key"][1]: row for row in result["rows"]}
    block: Block = [
        f"{STREAMS} streams of real videos in one process, frame by frame, with reuse and dense in turn, medians; "
        "preprocessing included, decoding not.",
        Table(
            ("model", "dense", "reuse", "wall-clock", "multiply-adds", "tokens computed"),
            (
                (
                    row["key"][0],
                    f"{row['dense_frames_per_second']:.1f} frames/s",
                    f"{row['reuse_frames_per_second']:.1f} frames/s",
                    f"{row['wall_clock_ratio']:.2f}x faster",
                    f"{row['multiply_add_ratio']:.2f}x fewer",
                    f"{row['computed_share']:.1%}",
                )
                for row in result["rows"]
                if row["key"][1] == "throughput"
            ),
        ),
    ]
    if "the same as alone" in found:
        row = found["the same as alone"]
        block.append(
            f"The same {STREAMS} streams, each in a process of its own: of {row['results']} results "
            f"{row['different_labels']} have another label and {row['different_computed_shares']} another share of "
            f"computed tokens; scores differ by {row['largest_difference_of_scores']:.1e} at most."
        )
    return block


def plot(result: dict[str, Any], path: Path) -> None:
    """Memory, open files and divergence over the frames."""
    from matplotlib import pyplot

    (run,) = result["rows"]
    rows = run["periods"]
    frames = [row["frames"] / 1000 for row in rows]
    pyplot.switch_backend("agg")
    figure, axes = pyplot.subplots(3, 1, figsize=(7.4, 6), sharex=True)
    for axis, name, label in zip(
        axes, ("resident_mib", "files", "kl"), ("resident memory, MiB", "open files", "KL to dense, mean")
    ):
        axis.plot(frames, [row[name] for row in rows], color="#08306b")
        axis.set_ylim(0, 1.2 * max(row[name] for row in rows))
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("thousand frames")
    figure.suptitle(f"{result['model']}: one stream")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _about_long(quick: bool) -> dict[str, Any]:
    return {"model": "vit-demo"}


LONG_PART = Part("streams", "long_run", long_cells, _about_long)
GUARD_PART = Part("streams", "guard", guard_cells, lambda quick: {"model": "vit-tiny-tin200"})
MANY_PART = Part("streams", "many_streams", many_cells)


if __name__ == "__main__":
    number, count = sys.argv[1:]
    own = {number: _stream_frames(int(number), int(count))}
    print(json.dumps([result.to_dict() for result in _run(_model("demo", None), own)]))
