"""The plots of the report. One colour per method everywhere; the methods of this package are drawn thicker."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .aggregate import Curves, is_baseline, is_online, points
from .curves import pareto_front
from .speed_methods import latency_of


COLOURS = {
    "bidirectional": "#08306b",
    "look_ahead": "#2b8cff",
    "budget": "#6a51a3",
    "causal": "#00b3a4",
    "reuse": "#08306b",
    "dense": "#000000",
    "dense_frame_by_frame": "#666666",
    "skip_hold": "#fdae6b",
    "skip_interpolate": "#e6550d",
    "eventful_tokenwise": "#fa9fb5",
    "eventful_full": "#c51b8a",
    "stgt": "#8c510a",
    "eventful_tokenwise_cls": "#f768a1",
    "eventful_full_cls": "#7a0177",
    "stgt_cls": "#543005",
    "eventful_tokenwise_before": "#bcbddc",
    "eventful_tokenwise_threshold": "#9e9ac8",
    "eventful_full_threshold": "#4a1486",
    "stc": "#a6d96a",
    "stc_rare": "#4d9221",
    "neuroflow": "#756bb1",
    "random_drop": "#999999",
    "rlt": "#c51b8a",
    "sta": "#756bb1",
    "tube_drop": "#bf812d",
    "fewer_frames": "#e6550d",
    "tome": "#a50026",
    "tome_once": "#d7191c",
    "vidtome": "#ae017e",
    "tome_published": "#fc8d59",
    "vid_tldr": "#1a9850",
    "vid_tldr_published": "#66bd63",
    "pitome": "#b15928",
    "ats": "#01665e",
    "rgtp": "#35978f",
    "pruning": "#dfc27d",
    "run_length": "#5e4fa2",
    "reuse_tome": "#ffc400",
    "reuse_vidtome": "#3f007d",
    "reuse_pruning": "#f46d43",
}
SPARE = ("#4d4d4d", "#2b8cff", "#8c510a")
LARGEST = 75_000
"""Bytes of a picture above which its colours are reduced."""
FLOOR = 1e-6
"""KL under which a logarithmic axis does not go."""


def colour(methods: dict[str, Any], key: str) -> str:
    """The colour of a method, the same in every plot."""
    unknown = [name for name in methods if name not in COLOURS]
    return COLOURS[key] if key in COLOURS else SPARE[unknown.index(key) % len(SPARE)]


def fidelity(
    curves: Curves, methods: dict[str, Any], cost: str, title: str, path: Path, few: Iterable[str] | None = None
) -> None:
    """
    KL over cost (`"share"` or `"time"`), both logarithmic, with the front of the baselines; what knows the future is
    dashed.

    Args:
        curves, methods, cost, title, path: what is drawn, and where to.
        few: only these methods, on a picture that can be read on a telephone; the front is that of all.
    """
    figure, axis = _figure(8.4, 4.8) if few is None else _figure(5.4, 3.6)
    shown = set(curves if few is None else few)
    frames = any(is_online(methods, key) for key in methods)
    for key, curve in curves.items():
        if key.startswith("dense") or key not in shown:
            continue
        ours = methods[key]["ours"]
        x, y = zip(*((100 * share, max(kl, FLOOR)) for share, kl in points(curve, cost)))
        axis.plot(
            x,
            y,
            color=colour(methods, key),
            linewidth=2.6 if ours else 1.1,
            linestyle="--" if frames and not is_online(methods, key) else "-",
            marker="o" if ours else ".",
            markersize=4,
            zorder=3 if ours else 2,
            label=methods[key]["title"],
        )
    front = pareto_front(
        [point for key, curve in curves.items() if is_baseline(methods, key) for point in points(curve, cost)]
    )
    if front:
        x, y = zip(*((100 * share, max(kl, FLOOR)) for share, kl in front))
        axis.plot(x, y, color="#bbbbbb", linewidth=6, alpha=0.6, zorder=1, label="front of all baselines")
    axis.set_xscale("log")
    axis.set_yscale("log")
    _percent_ticks(axis, [share for curve in curves.values() for share, _ in points(curve, cost)])
    axis.set_xlabel("multiply-adds, % of dense" if cost == "share" else "wall-clock, % of dense")
    axis.set_ylabel("KL to dense per frame")
    if frames:
        axis.plot([], [], color="#666666", linewidth=1.1, linestyle="--", label="dashed: knows the future")
    _finish(figure, axis, title, path, below=few is not None)


def latency(result: dict[str, Any], path: Path) -> None:
    """Milliseconds per frame of each method, after the first frame: median, 90th percentile and largest."""
    rows = sorted(result["rows"], key=lambda row: latency_of(row)["p50"], reverse=True)
    figure, axis = _figure(7.4, 0.8 + 0.36 * len(rows))
    for place, row in enumerate(rows):
        key, found = row["key"][1], latency_of(row)
        low, middle, high = (found[name] for name in ("p50", "p90", "largest"))
        ink, ours = colour(result["methods"], key), result["methods"][key]["ours"]
        axis.plot([low, high], [place, place], color=ink, linewidth=3 if ours else 1.5)
        for value, marker in ((low, "o"), (middle, "d"), (high, "|")):
            axis.plot([value], [place], color=ink, marker=marker, markersize=7 if ours else 5, linestyle="")
    for marker, name in (("o", "p50"), ("d", "p90"), ("|", "largest")):
        axis.plot([], [], color="black", marker=marker, linestyle="", label=name)
    axis.set_yticks(range(len(rows)), [result["methods"][row["key"][1]]["title"] for row in rows])
    axis.set_xlim(left=0)
    axis.set_xlabel("milliseconds per frame, after the first")
    _finish(figure, axis, f"{result['model']}: latency over a stream", path)


def memory(result: dict[str, Any], path: Path) -> None:
    """Peak memory of each method, a bar for each number of frames."""
    rows, methods = result["rows"], result["methods"]
    counts = list(dict.fromkeys(row["key"][0] for row in rows))
    keys = list(dict.fromkeys(row["key"][1] for row in rows))[::-1]
    figure, axis = _figure(7.4, 0.8 + 0.42 * len(keys))
    height = 0.8 / len(counts)
    for number, count in enumerate(counts):
        for row in rows:
            if row["key"][0] == count:
                key = row["key"][1]
                place = keys.index(key) + 0.4 - height * (number + 0.5)
                shade = 1.0 if number == len(counts) - 1 else 0.45
                axis.barh(place, row["mib"], height, color=colour(methods, key), alpha=shade)
                bold = "bold" if methods[key]["ours"] else "normal"
                axis.text(row["mib"], place, f" {count}: {row['mib']:.0f}", va="center", fontsize=7, fontweight=bold)
    axis.set_yticks(range(len(keys)), [methods[key]["title"] for key in keys])
    axis.margins(x=0.18)
    axis.set_xlabel("MiB beyond model and frames, at the peak")
    _finish(figure, axis, f"{result['model']}: peak memory", path, legend=False)


def scaling(results: dict[str, dict[str, Any]], titles: dict[str, str], path: Path) -> None:
    """Gain in wall-clock and in multiply-adds along each axis."""
    from matplotlib import pyplot

    _figure(1, 1, close=True)
    columns = min(len(results), 3)
    lines = -(-len(results) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(3.3 * columns, 2.7 * lines), squeeze=False)
    for axis in axes.flat[len(results) :]:
        axis.set_visible(False)
    for axis, (name, result) in zip(axes.flat, results.items()):
        numeric = name != "size"
        for model in dict.fromkeys(row["key"][1] for row in result["rows"]) if numeric else [None]:
            rows = [row for row in result["rows"] if model is None or row["key"][1] == model]
            x = (
                [float(row["key"][2]) * (100 if name == "share" else 1) for row in rows]
                if numeric
                else range(len(rows))
            )
            ink = COLOURS["causal" if model == "ViT-tiny" else "bidirectional"]
            suffix = f", {model}" if model else ""
            axis.plot(x, [row["multiply_add_ratio"] for row in rows], "--", color=ink, label=f"multiply-adds{suffix}")
            axis.plot(
                x, [row["wall_clock_ratio"] for row in rows], "o-", color=ink, linewidth=2, label=f"wall-clock{suffix}"
            )
            if not numeric:
                axis.set_xticks(list(x), [row["key"][2] for row in rows])
        if numeric:
            axis.set_xscale("log", base=2)
            values = sorted({float(row["key"][2]) * (100 if name == "share" else 1) for row in result["rows"]})
            axis.set_xticks(values, [f"{value:g}" for value in values], fontsize=7)
        axis.set_ylim(bottom=0)
        axis.set_xlabel(titles[name] + (", %" if name == "share" else ""), fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=6, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.supylabel("times less than dense", fontsize=8)
    figure.tight_layout()
    _save(figure, path)


def _figure(width: float, height: float, close: bool = False) -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = pyplot.subplots(figsize=(width, height))
    if close:
        pyplot.close(found[0])
    return found


def _percent_ticks(axis: Any, shares: Iterable[float]) -> None:
    found = [100 * share for share in shares]
    ticks = [value for value in (1, 2, 5, 10, 20, 50, 100, 200, 500) if min(found) * 0.7 <= value <= max(found) * 1.4]
    axis.set_xticks(ticks, [f"{value}%" for value in ticks])
    axis.set_xticks([], minor=True)


def _finish(figure: Any, axis: Any, title: str, path: Path, legend: bool = True, below: bool = False) -> None:
    axis.set_title(title, loc="left", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25, linewidth=0.5)
    if below:
        axis.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    elif legend:
        axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, bbox_inches="tight")
    pyplot.close(figure)
    if path.stat().st_size > LARGEST:
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(256)
        small.save(path, optimize=True)
