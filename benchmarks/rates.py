"""What is saved at which number of frames a second, on scenes of three kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from transformers import ViTForImageClassification

from hf_ttr.video import read_frames

from .aggregate import Curves, curves_of, points, subjects_of
from .common import real_data
from .curves import Cost, cost_at_kl, kl_at_cost
from .fidelity import Methods, described, loaders, sweep_cells, videos, vit_methods
from .measures import Clip, Reference
from .methods.reuse import CausalClip
from .plots import COLOURS
from .runner import Cell, Part
from .sweep_tables import SAVINGS, TARGETS
from .table import Block, Table


RATES = (30, 10, 5, 2, 1)
"""Frames a second; the first stands for every frame of a video, whatever its rate."""
FRAMES, FEWEST, CLIPS = 33, 9, 2
"""Of a clip at most and at least; and clips of a video, evenly spread over it."""
STILL = ("bottle-detection.mp4", "demo_skeleton.mp4", "video.avi")
"""Static cameras of which nine patches in ten change by less than two grey levels from frame to frame."""
KINDS = {"still": "still scenes", "busy": "busy scenes, static cameras", "moving": "moving cameras, hard cuts"}
CHOSEN = (
    "bidirectional",
    "budget",
    "look_ahead",
    "causal",
    "skip_interpolate",
    "skip_hold",
    "eventful_tokenwise_threshold",
)
THIN = ("eventful_tokenwise_threshold",)
WORSE = 1.05
"""KL, or another distance, over that of frame skipping from which on it counts as worse."""


def methods() -> Methods:
    """Those that are compared; the causal one runs in whole clips, which gives the same."""
    found = vit_methods()
    return {**{key: found[key] for key in CHOSEN if key in found}, "causal": CausalClip}


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every rate, method, setting and video that is long enough."""
    folder = real_data()
    settings = {"frames": FRAMES, "clips": CLIPS}
    names = [name for found in videos(folder / "videos").values() for name in found]
    for rate in RATES[:2] if quick else RATES:
        chosen = {name: clips_at(folder / "videos" / name, rate) for name in (names[:2] if quick else names)}
        load = loader(folder, chosen)
        long_enough = [name for name, clips in chosen.items() if clips]
        yield from sweep_cells("vit", f"{rate}fps", long_enough, methods(), load, quick, THIN, **settings)


def loader(folder: Path, chosen: dict[str, list[list[int]]]) -> Callable[[str], tuple[Any, Reference]]:
    """The model and the dense results of a video, of which these frames are the clips; the last one is kept."""
    processor, model = loaders(folder / "models" / "vit-tiny-tin200", ViTForImageClassification)

    @lru_cache(maxsize=1)
    def reference(name: str) -> tuple[Any, Reference]:
        frames, _ = read_frames(folder / "videos" / name, lambda total: list(range(total)))
        clips = []
        for times in chosen[name]:
            inputs = processor()([frames[time] for time in times], do_sample_frames=False, return_tensors="pt")
            clips.append(Clip(name, inputs.pixel_values[0]))
        return model(), Reference.of(vit_methods()["dense"](model()), clips)

    return reference


def clips_at(path: Path, rate: int) -> list[list[int]]:
    """The frames of the clips of a video at a rate; none where it is too short, or a higher rate has the same."""
    fps, frames = _info(path)
    steps = [1 if other == RATES[0] else max(round(fps / other), 1) for other in RATES]
    place = RATES.index(rate)
    step = steps[place]
    found = (frames - 1) // step + 1
    if found < FEWEST or step in steps[:place]:
        return []
    length = min(FRAMES, found)
    count = min(found // length, CLIPS)
    span = (length - 1) * step
    starts = ((frames - 1 - span) * number // max(count - 1, 1) for number in range(count))
    return [list(range(start, start + span + 1, step)) for start in starts]


@lru_cache
def _info(path: Path) -> tuple[float, int]:
    """Frames a second of a video, and their number."""
    _, info = read_frames(path, lambda total: [0])
    return info.fps or float(RATES[0]), info.frames


def kind_of(video: str, moving: Iterable[str]) -> str:
    """Which of `KINDS` a video is."""
    return "moving" if video in moving else "still" if video in STILL else "busy"


def of_kind(result: dict[str, Any], rate: int, kind: str) -> list[str]:
    """The videos of a kind that were measured at a rate."""
    return [name for name in subjects_of(result, f"{rate}fps") if kind_of(name, result["moving"]) == kind]


def table(result: dict[str, Any]) -> Block:
    """What each method costs at equal KL, by rate, for each kind of scene."""
    found = result["methods"]
    lines: Block = []
    for kind, title in KINDS.items():
        rows = []
        for rate in RATES:
            names = of_kind(result, rate, kind)
            if names:
                curves = curves_of(result, f"{rate}fps", names)
                costs = [_costs(curves, key) for key in found]
                rows.append((_name(rate), str(len(names)), *costs))
        if rows:
            headings = ("frames a second", "videos", *(found[key]["title"] for key in found))
            lines += [f"{title[0].upper()}{title[1:]}:", Table(headings, rows)]
    targets = " / ".join(f"{target:g}" for target in TARGETS)
    return [
        f"{result['model']}, up to {CLIPS} clips of up to {FRAMES} frames of each video: how many times fewer "
        f"multiply-adds than the dense model at a KL of {targets} per frame (mean over the videos). A dash: not "
        "reached.",
        *lines,
    ]


def _name(rate: int) -> str:
    return "own" if rate == RATES[0] else str(rate)


SUMMARY = {
    "clip": ("bidirectional", "skip_interpolate"),
    "live": ("causal", "skip_hold", "eventful_tokenwise_threshold"),
}
"""What a reader of the first page sees: reuse, and the rivals that know as much of the future."""


def summary(result: dict[str, Any]) -> Block:
    """What is saved at which rate, in short."""
    rows = []
    for kind, title in KINDS.items():
        for name, keys in SUMMARY.items():
            cells = []
            for rate in RATES:
                videos = of_kind(result, rate, kind)
                curves = curves_of(result, f"{rate}fps", videos) if videos else {}
                ours, *others = (_times(cost_at_kl(points(curves.get(key, ())), TARGETS[-1])) for key in keys)
                cells.append(f"**{ours}** ({', '.join(others)})" if videos else "")
            count = len(of_kind(result, RATES[0], kind))
            rows.append((f"{title} ({count}), {name}", *cells))
    return [
        f"Times fewer multiply-adds at a KL of {TARGETS[-1]:g} per frame, {result['model']}, by frames a second. In "
        "brackets frame skipping, which interpolates logits in clips and holds them live, and for live streams a "
        "variant of Eventful with a threshold for each gate, which is ours and the best that was found. A dash: not "
        "reached by a setting that was measured.",
        Table(("scenes (videos)", *("every frame" if rate == RATES[0] else str(rate) for rate in RATES)), rows),
    ]


def _costs(curves: Curves, key: str) -> str:
    return " / ".join(_times(cost_at_kl(points(curves.get(key, ())), target)) for target in TARGETS)


def _times(cost: Cost | None) -> str:
    return "-" if cost is None else f"{'≥ ' if cost.at_most else ''}{1 / cost.share:.1f}x"


def against_skipping(result: dict[str, Any], ours: str, rival: str, rate: int, saving: int) -> dict[str, float]:
    """KL of one method over that of another at equal multiply-adds, by video, where both get there."""
    ratios, subjects = {}, f"{rate}fps"
    # Of few rows, as each video looks through all of them.
    pair = [row for row in result["rows"] if row["key"][1] in (ours, rival)]
    few = {"rows": [row for row in pair if row["key"][0].endswith(f" {subjects}")]}
    for name in subjects_of(few, subjects):
        curves = curves_of(few, subjects, [name])
        own, other = (kl_at_cost(points(curves.get(key, ())), 1 / saving) for key in (ours, rival))
        if own is not None and other is not None:
            ratios[name] = own / other
    return ratios


def at_all_rates(result: dict[str, Any], ours: str, rival: str, saving: int) -> dict[tuple[str, int], float]:
    """The same by video and rate."""
    return {
        (video, rate): ratio
        for rate in RATES
        for video, ratio in against_skipping(result, ours, rival, rate, saving).items()
    }


PAIRS = (("budget", "skip_interpolate"), ("bidirectional", "skip_interpolate"), ("causal", "skip_hold"))


def never_worse(result: dict[str, Any]) -> Block:
    """Whether frame skipping is nearer to the dense model anywhere, and on which videos."""
    rows = []
    for ours, rival in PAIRS:
        titles = (result["methods"][key]["title"] for key in (ours, rival))
        pair = " against ".join(titles)
        for saving in SAVINGS:
            for rate in RATES:
                ratios = against_skipping(result, ours, rival, rate, saving)
                if ratios:
                    rows.append((pair, f"{saving}x", _name(rate), *in_short(ratios)))
    return [
        f"KL per frame over that of frame skipping at the same multiply-adds: geometric mean and largest over the "
        f"videos, and those on which skipping is nearer to the dense model by more than {WORSE - 1:.0%}.",
        Table(("methods", "fewer", "frames a second", "videos", "mean", "largest", "worse on"), rows),
    ]


def in_short(ratios: dict[str, float]) -> tuple[str, str, str, str]:
    """Number of videos, geometric mean, largest, and the names of those that are worse."""
    worse = sorted(((ratio, video) for video, ratio in ratios.items() if ratio > WORSE), reverse=True)
    named = ", ".join(f"{video} ({ratio:.2f})" for ratio, video in worse) or "none"
    return str(len(ratios)), f"{geometric_mean(ratios.values()):.2f}", f"{max(ratios.values()):.2f}", named


def plot(result: dict[str, Any], path: Path) -> None:
    """Draws the multiply-adds of each method at the larger KL over the rate, for each kind of scene."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(KINDS), figsize=(10, 3.6), sharey=True)
    for axis, (kind, title) in zip(axes, KINDS.items()):
        for key, method in result["methods"].items():
            found = []
            for place, rate in enumerate(RATES):
                names = of_kind(result, rate, kind)
                curves = curves_of(result, f"{rate}fps", names) if names else {}
                cost = cost_at_kl(points(curves.get(key, ())), TARGETS[-1])
                if cost is not None:
                    found.append((place, 100 * cost.share))
            if found:
                width = 2.4 if method["ours"] else 1.2
                axis.plot(*zip(*found), "o-", color=COLOURS[key], linewidth=width, markersize=4, label=method["title"])
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel("frames a second")
        axis.set_xticks(range(len(RATES)), [_name(rate) for rate in RATES])
        axis.set_yscale("log")
        axis.set_yticks((3, 6, 12, 25, 50, 100), ("3", "6", "12", "25", "50", "100"))
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"multiply-adds, % of dense, at KL {TARGETS[-1]:g}")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels())}
    figure.legend(handles.values(), handles, fontsize=7, frameon=False, loc="lower center", ncols=4)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _about(quick: bool) -> dict[str, Any]:
    return {
        "model": "vit-tiny-tin200",
        "methods": described(methods()),
        "moving": videos(real_data() / "videos")["moving"],
    }


PART = Part("fidelity", "rates", cells, _about)
