"""
How many cameras a core holds: streams of 1280 x 720 in H.264, from the packet to the label.

Cameras are real static scenes, played to and fro, or one picture of them with the noise of a sensor, encoded as
cameras do. Models of the size of ViT-B and VideoMAE-B have random weights: nothing is said of their answers. How much
they may reuse is decided by a trained model of their kind, a ViT-Tiny or a VideoMAE-Tiny: see `camera_settings`.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

import hf_ttr
from hf_ttr.streaming import StreamEngine, StreamOptions, VideoStreams, open_source
from hf_ttr.video import read_frames

from .camera_settings import LARGEST_KL, SKIPS, choose
from .common import random_vit, real_data
from .plots import COLOURS
from .runner import Cell, Part
from .table import Block, Table


RATES = (2, 5, 10)
"""Frames a second that are looked at."""
NOISE = 2.0
"""Grey levels by which the pixels of an empty scene differ from frame to frame."""
SOURCE_FPS, SIZE = 25, (1280, 720)
SCENES = {
    "empty": ("bottle-detection.mp4", "demo_skeleton.mp4", "video.avi"),
    "still": ("bottle-detection.mp4", "demo_skeleton.mp4", "video.avi"),
    "busy": ("car-detection.mp4", "vehicle_survaillance.mp4", "webcam_fall_02.mp4"),
}
FRAMES = {2: 32, 5: 48, 10: 64}
"""That are looked at of each camera, by rate: whole windows of 16."""
SHOWN = {"ViT-B": FRAMES, "VideoMAE-B": dict.fromkeys(RATES, 128)}
"""The same for what decides how much is reused: of windows there would be too few."""
MODELS = {"ViT-B": "vit", "VideoMAE-B": "videomae"}
CODECS = {
    "every frame is needed by the next": "bframes=0:keyint=50:scenecut=0",
    "two of three frames are needed by none": "bframes=2:b-adapt=0:b-pyramid=0:keyint=48:scenecut=0",
}
"""What x264 is told: as most cameras have it, and as some recorders do."""
USUAL = next(iter(CODECS))


def cells(quick: bool) -> Iterable[Cell]:
    """What decoding costs, which thresholds there are, and what each way costs with each model."""
    real_data()
    rates = RATES[1:2] if quick else RATES
    for codec, rate in itertools.product(CODECS, (None, *rates)):
        name = "every frame" if rate is None else f"{rate} fps"
        yield Cell(f"decoding | {codec} | {name}", partial(_decoding_of, codec, rate))
    for model, scene, rate in itertools.product(MODELS, SCENES, rates):
        settings: dict[str, Any] = {"kl": LARGEST_KL, "frames": SHOWN[model][rate]}
        yield Cell(f"settings | {model} | {scene} | {rate} fps", partial(_chosen, model, scene, rate), settings)
    size = "tiny" if quick else "base"
    for model, rate in itertools.product(MODELS, rates):
        settings = {"kl": LARGEST_KL, "size": size}
        yield Cell(
            f"{model} | dense | still | {rate} fps", partial(_cost, model, size, "still", rate, "dense"), settings
        )
        for way, scene in itertools.product(("skipping", "reuse"), SCENES):
            if way == "skipping" and not SKIPS[MODELS[model]]:
                continue
            key = f"{model} | {way} | {scene} | {rate} fps"
            yield Cell(key, partial(_cost, model, size, scene, rate, way), settings)


@lru_cache(maxsize=1)
def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="hf-ttr-cameras-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@lru_cache
def _cameras(scene: str, codec: str, seconds: float) -> tuple[str, ...]:
    """Files as cameras send them, each of so many seconds."""
    return tuple(_encoded(name, codec, seconds, is_empty=scene == "empty") for name in SCENES[scene])


def _encoded(name: str, codec: str, seconds: float, is_empty: bool) -> str:
    kind = f"{list(CODECS).index(codec)} {seconds:g}{' empty' if is_empty else ''}"
    path = Path(_folder(), f"{Path(name).stem} {kind}.mp4")
    if path.exists():
        return str(path)
    frames, info = read_frames(real_data() / "videos" / name, lambda total: range(min(total, 400)))
    noise = np.random.default_rng(0)
    to_and_fro = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "x264-params": CODECS[codec]}
        stream = container.add_stream("libx264", rate=SOURCE_FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.bit_rate = 4_000_000
        for number in range(round(seconds * SOURCE_FPS)):
            # The scene has the speed that it had.
            index = int(number / SOURCE_FPS * (info.fps or SOURCE_FPS)) % len(to_and_fro)
            picture = np.ascontiguousarray(frames[0 if is_empty else to_and_fro[index]])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(*SIZE, format="rgb24")
            if is_empty:
                noisy = frame.to_ndarray() + noise.normal(0, NOISE, (*SIZE[::-1], 1)).astype(np.float32)
                frame = av.VideoFrame.from_ndarray(noisy.clip(0, 255).astype(np.uint8), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, SOURCE_FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return str(path)


def _alone(work: Any, *arguments: Any) -> dict[str, Any]:
    """What a function gives in a process that has one core, and is done with it."""
    with ProcessPoolExecutor(1, get_context("spawn"), _on_one_core) as pool:
        found: dict[str, Any] = pool.submit(work, *arguments).result()
        return found


def _on_one_core() -> None:
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    torch.set_num_threads(1)


def _decoding_of(codec: str, rate: int | None, seconds: float = 20.0) -> dict[str, Any]:
    return _alone(_decode, _cameras("busy", codec, seconds), rate, seconds)


def _decode(paths: Sequence[str], rate: int | None, seconds: float) -> dict[str, Any]:
    """Decoding, and conversion of the frames that are looked at, without a model."""
    began, decoded, given = time.process_time(), 0, 0
    for path in paths:
        with open_source(path, max_fps=rate) as source:
            for frame in source.frames():
                given += frame.pixels is not None
            decoded += source.decoded
    spent = time.process_time() - began
    return {"seconds": seconds * len(paths), "spent": spent, "decoded": decoded, "given": given}


@lru_cache
def _chosen(model: str, scene: str, rate: int) -> dict[str, Any]:
    """What a trained model of the kind allows, on as many frames as say so."""
    return choose(MODELS[model], _cameras(scene, USUAL, SHOWN[model][rate] / rate), rate)


def _cost(model: str, size: str, scene: str, rate: int, way: str) -> dict[str, Any]:
    chosen = _chosen(model, scene, rate)
    if way == "skipping" and chosen["skip"] == 1:
        # It is the dense model.
        return {"skip": 1}
    paths = _cameras(scene, USUAL, FRAMES[rate] / rate)
    return _alone(_watch, MODELS[model], size, paths, rate, way, chosen["threshold"], chosen["skip"])


def _watch(
    kind: str, size: str, paths: Sequence[str], rate: int, way: str, threshold: float, skip: int
) -> dict[str, Any]:
    """All cameras at once on one core, as fast as it can; counted from where all of them had a result."""
    reuse = {"mode": "causal", "threshold": threshold} if way == "reuse" and threshold else {"mode": "off"}
    model = hf_ttr.with_temporal_reuse(_model(kind, size), reuse).eval()
    processor = hf_ttr.TemporalReuseVideoProcessor(size={"height": 224, "width": 224})
    skip = skip if way == "skipping" else 1
    engine = StreamEngine(model, processor, StreamOptions(top_k=1))
    sources = {f"camera {number}": open_source(path, max_fps=rate / skip) for number, path in enumerate(paths)}
    seen: dict[str, int] = {}
    began, first, ended, results = 0.0, 0.0, 0.0, []
    # What is read ahead before the clock starts would cost nothing.
    with VideoStreams(engine, sources, capacity=1) as streams:
        for result in streams:
            seen.setdefault(result.stream, result.last_frame)
            if not began:
                if len(seen) == len(paths):
                    began, first = time.process_time(), result.end
                continue
            results.append(result)
            ended = time.process_time()
    last = max(result.end for result in results)
    return {
        "seconds": (last - first) * len(paths),
        "spent": ended - began,
        "results": len(results),
        "computed_share": sum(result.computed_share for result in results) / len(results),
        "multiply_adds": sum(result.multiply_adds for result in results),
        "dense_multiply_adds": sum(result.dense_multiply_adds for result in results),
        "threshold": threshold if way == "reuse" else None,
        "skip": skip,
    }


def _model(kind: str, size: str) -> Any:
    if kind == "vit":
        return random_vit(size)
    torch.manual_seed(0)
    config: Any = VideoMAEConfig
    own = {"num_hidden_layers": 2} if size == "tiny" else {}
    return VideoMAEForVideoClassification(config(num_labels=400, **own)).eval()


def cameras_of(row: dict[str, Any]) -> float:
    """How many cameras a core holds."""
    return float(row["seconds"] / row["spent"])


def table(result: dict[str, Any]) -> Block:
    """How many cameras a core holds, by model, rate and scene."""
    found = {tuple(row["key"]): row for row in result["rows"]}
    rows = []
    for model, rate in itertools.product(MODELS, RATES):
        dense = found[model, "dense", "still", f"{rate} fps"]
        for scene in SCENES:
            held, reuse = (found.get((model, way, scene, f"{rate} fps")) for way in ("skipping", "reuse"))
            settings = found["settings", model, scene, f"{rate} fps"]
            assert reuse is not None
            rows.append(
                (
                    model,
                    str(rate),
                    scene,
                    f"{cameras_of(dense):.2f}",
                    f"{cameras_of(held):.2f}" if held is not None and settings["skip"] > 1 else "-",
                    f"**{cameras_of(reuse):.2f}**",
                    f"{cameras_of(reuse) / cameras_of(dense):.1f}x",
                    f"{settings['threshold']:g}",
                    f"{reuse['multiply_adds'] / reuse['dense_multiply_adds']:.0%}",
                    f"{_decoding(found, rate) * cameras_of(reuse):.0%}",
                )
            )
    header = (
        *("model", "frames a second", "scenes", "dense", "frame skipping", "reuse", "against dense", "threshold"),
        *("multiply-adds", "of the core decodes"),
    )
    return [
        f"Cameras of {SIZE[0]} x {SIZE[1]} pixels, {SOURCE_FPS} frames a second, H.264 as most cameras have it, that "
        "one core keeps up with: seconds of video over seconds of the core, decoding, conversion and preparation "
        "included, behind the first result of each camera. Models have random weights. Threshold and skipping are the "
        f"largest at which the answers of a trained ViT-Tiny, or VideoMAE-Tiny, for the same cameras have a KL of at "
        f"most {LARGEST_KL:g} from the dense ones (mean over frames or windows); a dash: skipping any frame has more, "
        "or the model looks at windows. The last column is what decoding takes of the core at that number of cameras.",
        Table(header, rows),
    ]


def _decoding(found: dict[tuple[str, ...], dict[str, Any]], rate: int) -> float:
    """Seconds of a core that decoding takes for a second of a camera."""
    row = found["decoding", USUAL, f"{rate} fps"]
    return float(row["spent"] / row["seconds"])


def decoding_table(result: dict[str, Any]) -> Block:
    """What decoding costs, by codec and rate."""
    rows = []
    for row in result["rows"]:
        if row["key"][0] == "decoding":
            share = row["decoded"] / (row["seconds"] * SOURCE_FPS)
            rows.append(
                (*row["key"][1:], f"{share:.0%}", f"{row['spent'] / row['seconds']:.1%}", f"{cameras_of(row):.0f}")
            )
    header = ("H.264 in which", "looked at", "frames decoded", "of a core for a camera", "cameras on a core")
    return [
        f"Decoding alone, {SIZE[0]} x {SIZE[1]} pixels and {SOURCE_FPS} frames a second, with the conversion of the "
        "frames that are looked at:",
        Table(header, rows),
    ]


def plot(result: dict[str, Any], path: Path) -> None:
    """Draws the cameras on a core over the rate, for each model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = {tuple(row["key"]): row for row in result["rows"]}
    figure, axes = pyplot.subplots(1, len(MODELS), figsize=(8.5, 3.4))
    ways = (
        ("dense", "still", "dense", COLOURS["dense"], "-"),
        ("reuse", "empty", "reuse, empty scenes", COLOURS["bidirectional"], "-"),
        ("reuse", "still", "reuse, still scenes", COLOURS["causal"], "-"),
        ("reuse", "busy", "reuse, busy scenes", COLOURS["causal"], "--"),
    )
    for axis, model in zip(axes, MODELS):
        for way, scene, title, colour, style in ways:
            counts = [cameras_of(found[model, way, scene, f"{rate} fps"]) for rate in RATES]
            axis.plot(RATES, counts, style, marker="o", color=colour, markersize=4, label=title)
        axis.axhline(1, color="#999999", linewidth=0.8)
        axis.set_title(f"{model} on one core", loc="left", fontsize=10)
        axis.set_xlabel("frames a second that are looked at")
        axis.set_xticks(RATES)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("cameras, 1280 x 720, H.264")
    axes[0].legend(fontsize=8, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


PART = Part(
    "cameras",
    "cameras",
    cells,
    lambda quick: {
        "model": "ViT-B/16 and VideoMAE-B, random weights; vit-tiny-tin200 and videomae-tiny-tin200 say how much"
    },
)
