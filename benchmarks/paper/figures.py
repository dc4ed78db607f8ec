"""The figures of the report and the poster, as vectors. None shows a picture of a video that does not ship."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import torch

import hf_ttr
from hf_ttr.video import read_frames
from hf_ttr.visualization import reuse_map

from .. import gaps
from ..aggregate import Curves, curves_of, is_baseline, is_online, points, versus
from ..common import ROOT, demo_clip
from ..curves import pareto_front
from ..fidelity import OTHERS, STATIC
from ..plots import FLOOR, colour
from ..store import ResultError, Results, part_of
from ..sweep_tables import TARGETS, of_frames
from .numbers import SETS


COLUMN, PAGE = 3.45, 7.1
"""Inches of a column and of a page between its margins."""
STYLE: dict[Any, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "legend.fontsize": 6.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "hf_ttr",
}
MARKERS = "svD^<>Pp*hX"
"""Of the baselines, so that they are told apart without colour."""
SHOWN = (
    "bidirectional",
    "look_ahead",
    "causal",
    "skip_interpolate",
    "eventful_tokenwise_cls",
    "stc_rare",
    "tome",
)
"""
Of a ViT's methods those that a figure has room for: ours, and of each kind of the others one. The best rivals, whoever
they are, are shown as well.
"""
POSTER_PAGE = 7.9
"""Inches of a figure that is as wide as the poster, which shows it four times as large."""
POSTER_MAIN = 4.85
"""Of the one beside which a table stands."""
POSTER: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "legend.fontsize": 7.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.linewidth": 0.8,
}
SHOWN_KL = TARGETS[0]
"""The KL at which the poster reads its first numbers."""
NAMES_ON_POSTER: dict[str, tuple[str, float, float, str]] = {
    "causal": ("live", 24.0, 0.066, "left"),
    "look_ahead": ("8 frames ahead", 11.6, 0.145, "right"),
    "bidirectional": ("reuse in clips", 11.6, 0.086, "right"),
}
"""What the poster writes beside the curves of this package, and where."""
COMPUTED = "#e66e00"
"""The colour of what is computed, as in `hf_ttr.visualization`."""
SHOWN_VIDEOMAE = ("reuse", "reuse_tome", "tome", "sta", "random_drop", "fewer_frames")


def draw_figures(results: Results, folder: Path) -> list[Path]:
    """Draws all figures; returns their files."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with pyplot.rc_context(STYLE):
        for name, make in FIGURES.items():
            figure = make(results)
            path = folder / f"{name}.pdf"
            # Without a date the same numbers give the same file.
            figure.savefig(path, bbox_inches="tight", pad_inches=0.02, metadata={"CreationDate": None})
            pyplot.close(figure)
            drawn.append(path)
    strip(folder / "strip_wide.jpg", columns=12, width=4800)
    return [*drawn, folder / "strip_wide.jpg"]


def fidelity(results: Results) -> Any:
    """KL over multiply-adds of a ViT, on static cameras, other videos and surveillance clips."""
    titles = {"static": "static cameras", "moving": "others, one moving", "fights": "surveillance clips"}
    figure, axes = _axes(1, 3, PAGE, 2.4)
    for axis, (name, title) in zip(axes, titles.items()):
        part = part_of(results, SETS[name][0])
        curves = curves_of(part, SETS[name][1])
        _sweep(axis, curves, part["methods"], shown(results))
        axis.set_title(f"{title} ({len_of(part, SETS[name][1])})")
        axis.set_ylim(3e-4, 3)
    axes[0].set_ylabel("KL to dense per frame, nats")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.tight_layout(w_pad=0.6)
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=4)
    return figure


def main_result(results: Results) -> Any:
    """The poster's figure: KL over multiply-adds on static cameras, and what is needed for the same KL."""
    from matplotlib import patheffects, pyplot

    part = part_of(results, SETS["static"][0])
    curves, methods = curves_of(part, SETS["static"][1]), part["methods"]
    found = versus(curves, methods, "causal", SHOWN_KL)
    if found is None:
        raise ResultError(f"no two methods reach a KL of {SHOWN_KL:g} on static cameras, which the poster shows.")
    with pyplot.rc_context(POSTER):
        figure, axes = _axes(1, 1, POSTER_MAIN, 1.8)
        axis = axes[0]
        keys = [*NAMES_ON_POSTER, "skip_interpolate", *_best_rivals(curves, methods, (SHOWN_KL,))]
        _sweep(axis, curves, methods, dict.fromkeys(keys))
        axis.set_xlim(5, 105)
        axis.set_ylim(2.5e-3, 0.7)
        axis.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
        axis.set_ylabel("KL to dense, nats")
        axis.set_xlabel("multiply-adds, % of dense (lower and further left is better)")
        for key, (text, x, y, side) in NAMES_ON_POSTER.items():
            axis.text(x, y, text, color=colour(methods, key), ha=side, va="center", fontweight="bold")
        ends = [(100 * share, SHOWN_KL) for share in (found.own.share, found.best.share)]
        arrow = {"arrowstyle": "-|>,head_width=0.35,head_length=0.7", "color": COMPUTED, "linewidth": 2.2}
        axis.annotate("", *ends, arrowprops=arrow, zorder=4)
        # Curves pass where the figures stand.
        halo = [patheffects.withStroke(linewidth=2.5, foreground="white")]
        written = {"color": COMPUTED, "fontweight": "bold", "path_effects": halo, "zorder": 5}
        axis.text(1.04 * ends[0][0], 1.1 * SHOWN_KL, f"{ends[0][0]:.1f}%", va="bottom", fontsize=11.5, **written)
        axis.text(0.93 * ends[1][0], 0.84 * SHOWN_KL, f"{ends[1][0]:.1f}%", va="top", fontsize=9, **written)
        figure.tight_layout(pad=0.3)
        entries = zip(*axis.get_legend_handles_labels())
        ours = [methods[key]["title"] for key in keys if methods[key]["ours"]]
        short = ((handle, label.replace("frame skipping, logits", "skipping,")) for handle, label in entries)
        handles, labels = zip(*((handle, label) for handle, label in short if label not in ours))
        axis.legend(handles, labels, loc="lower left", borderaxespad=0.2, labelspacing=0.3)
    return figure


def videomae(results: Results) -> Any:
    """VideoMAE: KL on surveillance clips, accuracy on clips whose classes are motions."""
    figure, axes = _axes(1, 2, PAGE, 2.3)
    part = part_of(results, SETS["videomae-fights"][0])
    _sweep(axes[0], curves_of(part, "fights"), part["methods"], SHOWN_VIDEOMAE)
    axes[0].set_ylabel("KL to dense per clip, nats")
    axes[0].set_title(f"surveillance clips ({part['rows'][0]['clips']})")
    axes[0].set_ylim(bottom=1e-4)
    part = part_of(results, SETS["videomae-motion"][0])
    curves = curves_of(part, "motion")
    for place, key in enumerate(key for key in SHOWN_VIDEOMAE if key in curves):
        entries = curves[key]
        _line(
            axes[1],
            part["methods"],
            key,
            place,
            [(100 * entry.values["share"], 100 * entry.values["accuracy"]) for entry in entries],
        )
    dense = 100 * part["rows"][0]["dense_accuracy"]
    axes[1].axhline(dense, color="black", linewidth=0.6, linestyle=":")
    axes[1].annotate("dense", (103, dense), va="bottom", ha="right", fontsize=6.5)
    axes[1].set_xscale("log")
    _percent_axis(axes[1])
    # Below lie settings of no use, which would press together what is compared.
    axes[1].set_xlim(18, 106)
    axes[1].set_ylim(76, 99.5)
    axes[1].set_ylabel("accuracy, %")
    axes[1].set_title("clips whose classes are motions")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.tight_layout(w_pad=1.5)
    figure.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.55))
    return figure


def error(results: Results) -> Any:
    """KL against the gap between computed frames, and against the threshold."""
    figure, axes = _axes(1, 2, COLUMN, 1.6)
    part = part_of(results, "gaps")
    for static, style, group in ((True, "-", f"{len(STATIC)} videos"), (False, "--", f"{len(OTHERS)} others")):
        for way, ink in zip(gaps.WAYS, ("#08306b", "#00b3a4")):
            values = gaps.by_gap(part, way, static, "kl")
            axes[0].plot(gaps.GAPS, values, style, marker="o", color=ink, label=f"{way}, {group}")
    axes[0].set_xscale("log", base=2)
    axes[0].set_yscale("log")
    axes[0].set_xticks([2, 4, 8, 16], ["2", "4", "8", "16"])
    axes[0].set_yticks([0.05, 0.1, 0.2, 0.5], [".05", ".1", ".2", ".5"])
    axes[0].set_yticks([], minor=True)
    axes[0].set_xlabel("gap, frames")
    axes[0].set_ylabel("KL of reused frames")
    rows = [row for row in part_of(results, "vit")["rows"] if row["key"][1] == "bidirectional"]
    thresholds = sorted({row["key"][2] for row in rows}, key=float)
    found = [sorted(max(row["kl"], FLOOR) for row in rows if row["key"][2] == one) for one in thresholds]
    x = [float(one) for one in thresholds]
    axes[1].plot(x, [one[-1] for one in found], "^-", color="#a50026", label="largest of all videos")
    axes[1].plot(x, [median(one) for one in found], "o-", color="#08306b", label="median")
    axes[1].set_xscale("log")
    axes[1].set_yscale("log")
    axes[1].set_ylim(1e-4)
    axes[1].set_xticks([0.02, 0.05, 0.1, 0.2, 0.5], [".02", ".05", ".1", ".2", ".5"])
    axes[1].set_xticks([], minor=True)
    axes[1].set_xlabel(r"threshold $\theta$")
    axes[1].set_ylabel("KL per frame")
    figure.tight_layout(w_pad=0.4)
    for axis, left in zip(axes, (0.1, 0.62)):
        axis.get_figure().legend(
            *axis.get_legend_handles_labels(), fontsize=6, loc="upper left", bbox_to_anchor=(left, 0.02)
        )
    return figure


def scaling(results: Results) -> Any:
    """Gain in wall-clock and in multiply-adds along the share, the streams, the model and the resolution."""
    figure, axes = _axes(2, 2, COLUMN, 2.55)
    titles = {
        "share": "computed share, %",
        "streams": "streams, one frame each",
        "size": "model",
        "resolution": "pixels of a side",
    }
    for axis, (name, title) in zip(axes, titles.items()):
        rows = part_of(results, f"scaling_{name}")["rows"]
        ticks = [row["key"][2] if name != "share" else f"{100 * float(row['key'][2]):g}" for row in rows]
        x = range(len(rows))
        axis.plot(x, [row["multiply_add_ratio"] for row in rows], "--", color="#666666", label="multiply-adds")
        axis.plot(x, [row["wall_clock_ratio"] for row in rows], "o-", color="#08306b", label="wall-clock")
        axis.set_xticks(list(x), ticks)
        axis.set_xlabel(title)
        axis.set_ylim(bottom=0)
    axes[0].legend(loc="upper right", borderpad=0)
    for axis in axes[::2]:
        axis.set_ylabel(r"$\times$ less than dense")
    figure.tight_layout(w_pad=0.6, h_pad=0.8)
    return figure


def polyline(results: Results, size: tuple[float, float] = (COLUMN, 2.3), **legend: Any) -> Any:
    """What the planner makes of one position of the clip that ships: its corners, and the held causal plan."""
    from matplotlib import pyplot

    embeddings, plans = shipped_clip()
    embeddings = embeddings[:, POSITION_SHOWN]
    centred = embeddings - embeddings.mean(0)
    axis_of_change = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    curve = centred @ axis_of_change / embeddings.norm(dim=-1).mean()
    figure, axes = _axes(2, 1, *size)
    time = torch.arange(len(curve))
    for axis, (mode, plan) in zip(axes, plans.items()):
        computed = plan[:, 1 + POSITION_SHOWN]
        corners = computed.nonzero()[:, 0]
        axis.plot(time, curve, color="#bbbbbb", linewidth=2.5, label="patch embedding")
        if mode == "bidirectional":
            ends = torch.cat([corners, time[-1:]])
            made = torch.cat([curve[corners], curve[corners[-1:]]])
            axis.plot(ends, made, color="#08306b", label="interpolated")
        else:
            left = torch.where(computed, time, 0).cummax(0).values
            axis.step(time, curve[left], where="mid", color="#00b3a4", label="held")
        axis.plot(corners, curve[corners], "o", color=COMPUTED, markersize=4, label="computed")
        axis.set_title(f"{mode}: {len(corners)} of {len(time)} computed", loc="left")
        axis.legend(**{"loc": "lower right", "borderpad": 0, **legend})
        axis.set_yticks([])
        axis.margins(y=0.12)
    axes[0].set_xticklabels([])
    axes[1].set_xlabel("frame")
    figure.supylabel("embedding", fontsize=pyplot.rcParams["axes.labelsize"])
    figure.tight_layout(h_pad=0.5, pad=0.3, rect=(0.03, 0, 1, 1))
    return figure


def polyline_wide(results: Results) -> Any:
    """The same for the poster."""
    from matplotlib import pyplot

    with pyplot.rc_context(POSTER):
        return polyline(results, (POSTER_PAGE / 2, 1.75), loc="center left", bbox_to_anchor=(1.0, 0.5))


FRAMES_SHOWN, POSITION_SHOWN = 64, 10 * 14 + 9
"""Of the clip that ships: its frames, and a patch over which the object moves."""


@lru_cache(maxsize=1)
def shipped_clip() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """
    The patch embeddings of the clip that ships, `(frames, patches, dim)`, and by mode what the model that ships
    computes of it, `(frames, tokens)`.
    """
    model: Any = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(ROOT / "hf_ttr" / "assets" / "vit-demo")
    pixels = demo_clip(FRAMES_SHOWN)
    with torch.inference_mode():
        embeddings = model.vit.embeddings.patch_embeddings(pixels)
        plans = {
            mode: model(pixels[None], output_reuse_plan=True, temporal_reuse={"mode": mode}).reuse.plan[0]
            for mode in ("bidirectional", "causal")
        }
    return embeddings, plans


def strip(path: Path, columns: int, width: int) -> None:
    """Frames of the clip that ships, and under each the patches that were computed in it."""
    plan = shipped_clip()[1]["bidirectional"]
    frames, _ = read_frames(ROOT / "hf_ttr" / "assets" / "demo.mp4", lambda total: range(total))
    captions = [""] * len(plan)
    picture = reuse_map(frames[: len(plan)], plan, captions=captions, columns=columns, width=width)
    picture.save(path, quality=88, subsampling=0)


def len_of(part: dict[str, Any], subjects: str) -> int:
    """Videos of a set, or the clips that were put together."""
    rows = [row for row in part["rows"] if row["key"][0].endswith(f" {subjects}")]
    return int(rows[0].get("clips") or len({row["key"][3] for row in rows}))


def shown(results: Results) -> list[str]:
    """`SHOWN`, and the best rivals of reuse on static cameras."""
    part = part_of(results, SETS["static"][0])
    curves = curves_of(part, SETS["static"][1])
    return list(dict.fromkeys([*SHOWN, *_best_rivals(curves, part["methods"], TARGETS)]))


def _best_rivals(curves: Curves, methods: dict[str, Any], targets: Iterable[float]) -> list[str]:
    """The best rivals of reuse in streams and in clips."""
    found = (versus(curves, methods, ours, target) for ours in ("causal", "bidirectional") for target in targets)
    return [one.rival for one in found if one is not None]


def _sweep(axis: Any, curves: Curves, methods: dict[str, Any], shown: Iterable[str]) -> None:
    for place, key in enumerate(key for key in shown if key in curves):
        _line(axis, methods, key, place, [(100 * x, max(y, FLOOR)) for x, y in points(curves[key])])
    front = pareto_front([point for key in curves if is_baseline(methods, key) for point in points(curves[key])])
    if front:
        x, y = zip(*((100 * share, max(kl, FLOOR)) for share, kl in front))
        axis.plot(x, y, color="#cccccc", linewidth=4, alpha=0.7, zorder=1, label="front of all others")
    axis.set_xscale("log")
    axis.set_yscale("log")
    _percent_axis(axis)


def _line(axis: Any, methods: dict[str, Any], key: str, place: int, found: list[tuple[float, float]]) -> None:
    ours = methods[key]["ours"]
    x, y = zip(*found)
    axis.plot(
        x,
        y,
        color=colour(methods, key),
        linewidth=1.8 if ours else 0.7,
        linestyle="--" if of_frames(methods) and not is_online(methods, key) else "-",
        marker="o" if ours else next(itertools.islice(itertools.cycle(MARKERS), place, None)),
        markersize=3.5 if ours else 2.6,
        zorder=3 if ours else 2,
        label=methods[key]["title"],
    )


def _percent_axis(axis: Any) -> None:
    axis.set_xlim(3.5, 115)
    axis.set_xticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("multiply-adds, % of dense")
    axis.grid(alpha=0.25, linewidth=0.4)


def _axes(lines: int, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(lines, columns, figsize=(width, height), squeeze=False)
    return figure, list(axes.flat)


FIGURES: dict[str, Callable[[Results], Any]] = {
    "fidelity": fidelity,
    "main_result": main_result,
    "videomae": videomae,
    "error": error,
    "scaling": scaling,
    "polyline": polyline,
    "polyline_wide": polyline_wide,
}
