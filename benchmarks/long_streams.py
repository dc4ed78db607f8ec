"""
Long live streams: whole videos, cuts from one to the next, changing light, and loops.

Streams run causally. A call takes 16 frames with the cache of those before: the plan of each frame knows the past
alone, as if the frames came one by one, and costs less time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from transformers import ViTForImageClassification

import hf_ttr
from hf_ttr.configuration import DEFAULT_THRESHOLD
from hf_ttr.video import read_frames

from .common import kl_divergence, real_data
from .fidelity import loaders, videos
from .measures import compared
from .methods.dense import Dense
from .methods.reuse import LookAhead
from .runner import Cell, Part
from .streams import MIB, memory_growth, resident_bytes
from .table import Block, Table


THRESHOLDS = (DEFAULT_THRESHOLD, 0.2, 0.3)
MAX_AGE = hf_ttr.TemporalReuseConfig().max_age
CALL = 16
"""Frames of a call."""
AFTER_CUT = 10
"""Frames from a cut on that are looked at by themselves."""
ZONES = ("first frame", f"next {AFTER_CUT - 1}", "later")
"""Where a frame lies behind the cut before it."""
LIT = ("bottle-detection.mp4", "car-detection.mp4", "video.avi")
"""The longest videos of static cameras: those whose light is changed, and that are looped."""
LIT_FRAMES = 400
PERIODS = 10
"""Parts of a loop that are told apart; each shows the same frames."""
ROUNDS = {
    ("to and fro", "car-detection.mp4"): 4,
    ("to and fro", "video.avi"): 4,
    ("again from the start", "bottle-detection.mp4"): 4,
    ("to and fro", "bottle-detection.mp4"): 4,
}
"""How often each loop goes round in each of its `PERIODS`: 202,520 frames in all."""
ORDERS = ("by name", "backwards")
QUICK_FRAMES = 24


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every video, joint stream, change of light and loop, at each threshold; `quick` takes two videos."""
    folder = real_data() / "videos"
    names = [name for found in videos(folder).values() for name in found][: 2 if quick else None]
    most = QUICK_FRAMES if quick else None
    for name in names:
        for threshold in THRESHOLDS:
            yield Cell(f"alone | causal | {threshold:g} | {name}", partial(_alone, name, threshold, most))
        yield Cell(f"alone | look_ahead | {DEFAULT_THRESHOLD:g} | {name}", partial(_looking_ahead, name, most))
    for order in ORDERS:
        ordered = names if order == ORDERS[0] else names[::-1]
        for threshold in THRESHOLDS if order == ORDERS[0] else THRESHOLDS[:1]:
            yield Cell(f"joint | {order} | {threshold:g}", partial(_joint, ordered, threshold, most))
    lit = LIT[:1] if quick else LIT
    for change in CHANGES:
        for name in lit:
            frames = QUICK_FRAMES if quick else LIT_FRAMES
            yield Cell(f"light | {change} | {name}", partial(_lit, change, name, frames), {"frames": frames})
    for (loop, name), rounds in ROUNDS.items():
        if name in lit:
            yield Cell(f"looped | {loop} | {name}", partial(_looped, loop, name, rounds, most), {"rounds": rounds})


@dataclass
class Run:
    """
    What came of a stream.

    Attributes:
        logits: `(frames, labels)`.
        shares: of each frame, of the dense multiply-adds; frames of one call have its mean.
        whole: numbers of the frames that were computed whole.
    """

    logits: torch.Tensor
    shares: torch.Tensor
    whole: list[int]

    def against(self, dense: torch.Tensor) -> dict[str, Any]:
        """What is measured of a stream, against the dense logits."""
        found = compared(dense, self.logits)
        return {
            "frames": len(dense),
            "share": self.shares.mean().item(),
            **{name: found[name] for name in ("kl", "agreement", "flicker", "dense_flicker")},
            "whole": len(self.whole),
            "whole_of_age": of_age(self.whole),
        }


@cache
def loaded() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """What loads the video processor of the trained ViT-Tiny, and the model."""
    return loaders(real_data() / "models" / "vit-tiny-tin200", ViTForImageClassification)


def _reuse(threshold: float) -> Any:
    return hf_ttr.with_temporal_reuse(loaded()[1](), {"threshold": threshold, "mode": "causal"})


def _frames(name: str, most: int | None) -> tuple[list[np.ndarray], float]:
    """Frames of a video, and how many it has a second."""
    frames, info = read_frames(real_data() / "videos" / name, lambda total: range(min(total, most or total)))
    return frames, info.fps or 30.0


def _prepared(frames: Sequence[np.ndarray]) -> torch.Tensor:
    pixels: torch.Tensor = loaded()[0]()(list(frames), do_sample_frames=False, return_tensors="pt").pixel_values[0]
    return pixels


@cache
def pixels_of(name: str, most: int | None) -> torch.Tensor:
    """All frames of a video as the model takes them, kept for all cells."""
    return _prepared(_frames(name, most)[0])


@cache
def _dense(name: str, most: int | None) -> torch.Tensor:
    """The dense logits of each."""
    return Dense(loaded()[1]()).clip(pixels_of(name, most))


@torch.inference_mode()
def run(reuse: Any, calls: Iterable[torch.Tensor]) -> Run:
    """
    A stream, call by call.

    Args:
        reuse: a model with reuse.
        calls: the frames of each call, `(frames, channels, height, width)`.
    """
    past, seen = None, 0
    logits: list[torch.Tensor] = []
    shares: list[torch.Tensor] = []
    whole: list[int] = []
    for pixels in calls:
        output = reuse(pixels[None], past_key_values=past, output_reuse_plan=True)
        past, report = output.past_key_values, output.reuse
        whole += (report.plan[0].all(-1).nonzero()[:, 0] + seen).tolist()
        seen += len(pixels)
        logits.append(output.frame_logits[0])
        shares.append((report.multiply_adds / report.dense_multiply_adds).double().expand(len(pixels)))
    return Run(torch.cat(logits), torch.cat(shares), whole)


def call_lengths(frames: int) -> Iterator[int]:
    """Frames of the calls that take a video behind a cut: calls end where `ZONES` do."""
    for most in (1, AFTER_CUT - 1):
        yield min(most, frames)
        frames -= min(most, frames)
        if not frames:
            return
    yield from [CALL] * (frames // CALL) + [frames % CALL] * (frames % CALL > 0)


def zone_of(place: int) -> str:
    """The one of `ZONES` in which the frame lies that is the `place`-th of its video, from 0 on."""
    return ZONES[(place > 0) + (place >= AFTER_CUT)]


def of_age(whole: Sequence[int]) -> int:
    """
    How many of the whole frames follow the one before at the very age at which tokens are due: nothing had changed
    meanwhile, and everything was due at once.
    """
    return sum(later - earlier == MAX_AGE for earlier, later in zip(whole, whole[1:]))


def _calls(name: str, most: int | None) -> Iterable[torch.Tensor]:
    pixels = pixels_of(name, most)
    return pixels.split(list(call_lengths(len(pixels))))


@cache
def _fresh(name: str, threshold: float, most: int | None) -> Run:
    return run(_reuse(threshold), _calls(name, most))


def _alone(name: str, threshold: float, most: int | None) -> dict[str, Any]:
    """A whole video as one stream."""
    return _fresh(name, threshold, most).against(_dense(name, most))


def _looking_ahead(name: str, most: int | None) -> dict[str, Any]:
    method = LookAhead(loaded()[1](), DEFAULT_THRESHOLD)
    found = run(method.reuse, pixels_of(name, most).split(method.frames))
    return found.against(_dense(name, most))


def _joint(names: Sequence[str], threshold: float, most: int | None) -> dict[str, Any]:
    """Videos one after another in one stream, and each as a stream of its own."""
    found = run(_reuse(threshold), (call for name in names for call in _calls(name, most)))
    starts, start = {}, 0
    for name in names:
        starts[name] = start
        start += len(pixels_of(name, most))
    cuts = list(starts.values())[1:]
    zones: dict[str, list[tuple[float, ...]]] = {zone: [] for zone in ZONES}
    of_videos: dict[str, Any] = {}
    for name, start in starts.items():
        dense, fresh = _dense(name, most), _fresh(name, threshold, most)
        inside = slice(start, start + len(dense))
        whole = [number - start for number in found.whole if start <= number < inside.stop]
        joint = Run(found.logits[inside], found.shares[inside], whole)
        columns = [
            column
            for one in (joint, fresh)
            for column in (kl_divergence(dense, one.logits).tolist(), one.shares.tolist())
        ]
        # No cut lies before the first video.
        for place, row in enumerate(zip(*columns)) if start else ():
            zones[zone_of(place)].append(row)
        of_videos[name] = {
            **_means(list(zip(*columns))),
            "whole": len(set(whole) - {0}),
            "whole_of_age": of_age(whole),
        }
    return {
        "frames": len(found.logits),
        "cuts": len(cuts),
        "caught": sum(cut in found.whole for cut in cuts),
        "missed": [name for name, start in starts.items() if start and start not in found.whole],
        "zones": {zone: _means(rows) for zone, rows in zones.items() if rows},
        "videos": of_videos,
    }


def _means(rows: Sequence[tuple[float, ...]]) -> dict[str, Any]:
    """Of KL and share in the joint stream and in streams of their own."""
    kl, share, fresh_kl, fresh_share = (sum(column) / len(rows) for column in zip(*rows))
    return {"frames": len(rows), "kl": kl, "share": share, "alone": {"kl": fresh_kl, "share": fresh_share}}


def _gained(frame: np.ndarray, gain: float) -> np.ndarray:
    return (frame * gain).round().clip(0, 255).astype(np.uint8)


def lamp(frame: np.ndarray, number: int) -> np.ndarray:
    """A lamp that goes off and on again every 100 frames."""
    return _gained(frame, 0.6 if number // 100 % 2 else 1.0)


def exposure(frame: np.ndarray, number: int) -> np.ndarray:
    """Exposure that drifts from 1 to 0.7 and back in 400 frames."""
    return _gained(frame, 0.7 + 0.3 * abs(number % 400 - 200) / 200)


def mains(frame: np.ndarray, number: int) -> np.ndarray:
    """Lamps at 50 Hz before a camera of 30 frames a second, which sees them at three phases."""
    return _gained(frame, 1 + 0.03 * (number % 3 - 1))


def noise(frame: np.ndarray, number: int) -> np.ndarray:
    """Noise of a sensor, sigma 4, the same in every run."""
    random = np.random.default_rng(number)
    return (frame + random.normal(0, 4, frame.shape)).round().clip(0, 255).astype(np.uint8)


def dark_start(frame: np.ndarray, number: int) -> np.ndarray:
    """A camera whose first ten frames are black."""
    return _gained(frame, float(number >= 10))


def grey_start(frame: np.ndarray, number: int) -> np.ndarray:
    """A camera whose first ten frames are grey, as decoders give them before the first whole picture."""
    return frame if number >= 10 else np.full_like(frame, 128)


CHANGES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "as recorded": lambda frame, number: frame,
    "lamp": lamp,
    "exposure": exposure,
    "mains": mains,
    "noise": noise,
    "dark start": dark_start,
    "grey start": grey_start,
}
"""What becomes of a frame and its number."""
TITLES = {
    "as recorded": "as recorded",
    "lamp": "a lamp goes off and on every 100 frames (gain 0.6)",
    "exposure": "exposure drifts to 0.7 and back in 400 frames",
    "mains": "lamps flicker by 3 % from frame to frame",
    "noise": "noise of the sensor, sigma 4",
    "dark start": "the first 10 frames are black",
    "grey start": "the first 10 frames are grey",
}


def _lit(change: str, name: str, most: int) -> dict[str, Any]:
    """A stream whose light changes; the dense model sees the same frames."""
    frames = _frames(name, most)[0]
    changed = [CHANGES[change](frame, number) for number, frame in enumerate(frames)]
    pixels = _prepared(changed)
    return run(_reuse(DEFAULT_THRESHOLD), pixels.split(CALL)).against(Dense(loaded()[1]()).clip(pixels))


def looped(frames: int, loop: str) -> list[int]:
    """The frames of one round: to the last one and back, without a cut, or again from the start."""
    there = list(range(frames))
    return [*there, *there[-2:0:-1]] if loop == "to and fro" else there


@torch.inference_mode()
def _looped(loop: str, name: str, rounds: int, most: int | None) -> dict[str, Any]:
    """A stream of `PERIODS` periods, each of so many rounds, and how near to the dense model each of them is."""
    pixels, dense, reuse = pixels_of(name, most), _dense(name, most), _reuse(DEFAULT_THRESHOLD)
    order = torch.tensor(looped(len(pixels), loop) * rounds)
    past, rows = None, []
    for _ in range(PERIODS):
        kls, same, spent, without = [], 0, 0, 0
        for call in order.split(CALL):
            output = reuse(pixels[call][None], past_key_values=past)
            past, logits = output.past_key_values, output.frame_logits[0]
            kls += kl_divergence(dense[call], logits).tolist()
            same += int((dense[call].argmax(-1) == logits.argmax(-1)).sum())
            spent += int(output.reuse.multiply_adds)
            without += int(output.reuse.dense_multiply_adds)
        rows.append(
            {
                "frames": len(order),
                "share": spent / without,
                "kl": sum(kls) / len(kls),
                "largest_kl": max(kls),
                "agreement": same / len(kls),
                "resident_mib": resident_bytes() / MIB,
            }
        )
    fps = _frames(name, 1)[1]
    return {"frames": PERIODS * len(order), "minutes": PERIODS * len(order) / fps / 60, "periods": rows}


def of_kind(result: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The cells of a kind: `alone`, `joint`, `light` or `looped`."""
    return [row for row in result["rows"] if row["key"][0] == kind]


def _mean(rows: Sequence[dict[str, Any]], name: str) -> float:
    return math.fsum(row[name] for row in rows) / len(rows)


def alone_table(result: dict[str, Any]) -> Block:
    """Whole videos: the mean over them, and each at the default threshold."""
    titles = {"causal": "reuse, causal", "look_ahead": LookAhead.title}
    rows = []
    for method, threshold in dict.fromkeys(tuple(row["key"][1:3]) for row in of_kind(result, "alone")):
        own = [row for row in of_kind(result, "alone") if row["key"][1:3] == [method, threshold]]
        worst = max(own, key=lambda row: row["kl"])
        rows.append(
            (
                titles[method],
                threshold,
                *_cells({name: _mean(own, name) for name in MEASURED}),
                f"{worst['key'][3]} ({worst['kl']:.4f})",
            )
        )
    default = [row for row in of_kind(result, "alone") if row["key"][1:3] == ["causal", f"{DEFAULT_THRESHOLD:g}"]]
    return [
        f"{result['model']}, all frames of {len(default)} real videos ({sum(row['frames'] for row in default):,} in "
        "all), each a stream. Means over the videos.",
        Table(("method", "threshold", *HEADER, "worst (KL)"), rows),
        f"Each video, causal, threshold {DEFAULT_THRESHOLD:g}, and its frames that were computed whole, the first "
        f"among them. Of these {sum(row['whole_of_age'] for row in default)} were whole because nothing had changed "
        "since the last one and everything was due at once.",
        Table(
            ("video", "frames", *HEADER, "whole frames"),
            ((row["key"][3], str(row["frames"]), *_cells(row), str(row["whole"])) for row in default),
        ),
    ]


MEASURED = ("share", "kl", "agreement", "flicker", "dense_flicker")
HEADER = ("multiply-adds", "KL per frame", "agreement", "flicker (dense)")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{row['share']:.1%}",
        f"{row['kl']:.4f}",
        f"{row['agreement']:.3f}",
        f"{row['flicker']:.3f} ({row['dense_flicker']:.3f})",
    )


def joint_table(result: dict[str, Any]) -> Block:
    """Videos in one stream against each in a stream of its own, by the distance from the last cut."""
    rows, missed = [], []
    for row in of_kind(result, "joint"):
        _, order, threshold = row["key"]
        missed += [f"{name} ({order}, {threshold})" for name in row["missed"]]
        rows.append(
            (
                f"{order}, {threshold}",
                f"{row['caught']} of {row['cuts']}",
                *(_pair(row["zones"][zone]) for zone in ZONES if zone in row["zones"]),
            )
        )
    default = [row for row in of_kind(result, "joint") if row["key"][2] == f"{DEFAULT_THRESHOLD:g}"]
    names = list(default[0]["videos"])
    return [
        f"All videos one after another in one stream of {default[0]['frames']:,} frames: KL and share of the "
        "multiply-adds by the place behind the cut; in brackets the same frames where each video is a stream of its "
        f"own. A cut is caught where its frame is computed whole. Missed: {', '.join(missed) or 'none'}.",
        Table(("order, threshold", "cuts caught", *(f"{zone} after a cut" for zone in ZONES)), rows),
        f"Each video, threshold {DEFAULT_THRESHOLD:g}, and how many frames behind its first one were computed whole.",
        Table(
            ("video", *(f"{row['key'][1]}: {what}" for row in default for what in ("KL; multiply-adds", "whole"))),
            (
                (
                    name,
                    *(
                        text
                        for row in default
                        for found in [row["videos"][name]]
                        for text in (_pair(found), str(found["whole"]))
                    ),
                )
                for name in names
            ),
        ),
    ]


def _pair(found: dict[str, Any]) -> str:
    # Rounding makes a divergence of nothing a little less than that.
    kl, alone_kl = (max(one["kl"], 0.0) for one in (found, found["alone"]))
    return f"{kl:.4f} ({alone_kl:.4f}); {found['share']:.1%} ({found['alone']['share']:.1%})"


def light_table(result: dict[str, Any]) -> Block:
    """What changes of light do, the mean over the videos."""
    rows = []
    for change in dict.fromkeys(row["key"][1] for row in of_kind(result, "light")):
        own = [row for row in of_kind(result, "light") if row["key"][1] == change]
        worst = max(own, key=lambda row: row["kl"])
        rows.append(
            (
                TITLES[change],
                *_cells({name: _mean(own, name) for name in MEASURED}),
                " / ".join(str(row["whole"]) for row in own),
                f"{worst['key'][2]} ({worst['kl']:.4f})",
            )
        )
    return [
        f"Causal, threshold {DEFAULT_THRESHOLD:g}, up to {LIT_FRAMES} frames of {', '.join(LIT)}, whose pixels are "
        "changed before anything else sees them; the dense model sees the same. Means over the videos; whole frames "
        "of each.",
        Table(("light", *HEADER, "whole frames", "worst (KL)"), rows),
    ]


def loop_table(result: dict[str, Any]) -> Block:
    """The periods of each loop."""
    found = of_kind(result, "looped")
    chosen = (0, 1, PERIODS // 2 - 1, PERIODS - 1)
    rows = []
    for row in found:
        periods = row["periods"]
        first, largest = memory_growth(periods)
        rows.append(
            (
                f"{row['key'][2]}, {row['key'][1]}",
                f"{row['frames']:,} ({row['minutes']:.0f} min)",
                *(f"{periods[place]['kl']:.5f}; {periods[place]['share']:.2%}" for place in chosen),
                f"{max(period['largest_kl'] for period in periods):.3f}",
                f"{first:.0f} / {largest:.0f} MiB",
            )
        )
    return [
        f"Causal, threshold {DEFAULT_THRESHOLD:g}, {len(found)} streams of {sum(row['frames'] for row in found):,} "
        f"frames in all, {sum(row['minutes'] for row in found):.0f} minutes at the videos' own rates. Each of the "
        f"{PERIODS} parts of a stream shows the same frames in the same order. KL per frame and share of the "
        "multiply-adds in some of the parts; the largest KL of any frame; resident memory after the first part, and "
        "at most after it, the frames of all videos among it.",
        Table(
            (
                "stream",
                "frames",
                *(f"part {place + 1}" for place in chosen),
                "largest KL",
                "memory",
            ),
            rows,
        ),
    ]


PART = Part("streams", "long_streams", cells, lambda quick: {"model": "vit-tiny-tin200"})
