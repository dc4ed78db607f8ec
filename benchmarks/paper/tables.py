"""The larger tables of the report."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from .. import ablation
from ..aggregate import curves_of, is_online, points
from ..curves import cost_at_kl, kl_at_cost
from ..store import Results, part_of
from ..sweep_tables import TARGETS
from ..table import escaped
from .numbers import SETS, cost_text, divergence, times


SHORT = {
    "reuse, look-ahead of 8 frames": "reuse, look-ahead 8",
    "STC-Cacher, a reference in 8 frames": "STC, whole frame in 8",
    "STC-Cacher": "STC, whole frame in 2",
    "Eventful, token-wise, CLS always": "Eventful, token-wise*",
    "Eventful, full, CLS always": "Eventful, full*",
    "STGT gate, CLS always": "STGT gate*",
    "frame skipping, logits interpolated": "skip, interpolated",
    "frame skipping, logits held": "skip, held",
    "pruning by attention": "pruning (EViT)",
}
"""Names that fit a column."""


def tables(results: Results) -> dict[str, str]:
    """Every table as a `tabular` of the package booktabs, by name."""
    return {
        "equal_kl": equal_kl(results),
        "ablation": ablations(results),
        "look_ahead": look_ahead(results),
        "packing": packing(results),
        "commands": commands(results),
    }


def equal_kl(results: Results) -> str:
    """Multiply-adds at equal KL, and KL at equal multiply-adds, of every method on static cameras and on clips."""
    names = ("static", "moving", "fights")
    parts = {name: part_of(results, SETS[name][0]) for name in names}
    curves = {name: curves_of(parts[name], SETS[name][1]) for name in names}
    methods = parts["static"]["methods"]
    rows = []
    for key in curves["static"]:
        if key.startswith("dense"):
            continue
        title = SHORT.get(methods[key]["title"], methods[key]["title"])
        cells = []
        for name in names:
            curve = points(curves[name].get(key, []))
            for target in TARGETS:
                cells.append(cost_text(cost_at_kl(curve, target), 0))
            if name == "static":
                cells.append(divergence(kl_at_cost(curve, 1 / 4)))
        mark = "" if is_online(methods, key) else r"\,$\circ$"
        rows.append(((rf"\textbf{{{escaped(title)}}}" if methods[key]["ours"] else escaped(title)) + mark, *cells))
    groups = r" & \multicolumn{3}{c}{static} & \multicolumn{2}{c}{others} & \multicolumn{2}{c}{clips} \\"
    rules = r"\cmidrule(lr){2-4}\cmidrule(lr){5-6}\cmidrule(lr){7-8}"
    header = r"method & .02 & .05 & KL, 4$\times$ & .02 & .05 & .02 & .05 \\"
    return _tabular("@{}lrrrrrrr@{}", [groups, rules, header], rows)


NAMES = {
    "and VidToMe, 10 % within chunks": "and VidToMe, 10 %",
    "and pruning, 95 % kept": "and pruning, 5 %",
    "embeddings after the first LayerNorm": "signal: LayerNorm-ed embedding",
    "pixels of a patch": "signal: pixels",
    "pixels, means of 4 x 4": "signal: pixels, means of 4 x 4",
    "mean colour of a patch": "signal: mean colour",
    "random times, as many at each position as by default": "random times, as many per position",
    "random times, as many at every position": "random times, all positions alike",
    "whole frames only, every 4": "whole frames, every 4th",
    "whole frames only, every 8": "whole frames, every 8th",
    "linear in time": "linear shares",
    "held": "the same corners, held",
}
"""Of planners, where those of the documentation are too long."""
LEFT_OUT = ("whole frames only, every 16", "context of 3 x 3", "max_age 16", "and ToMe, r = 8 in each layer")


def ablations(results: Results) -> str:
    """One thing changed at a time, at the same multiply-adds, kind by kind."""
    rows = part_of(results, "ablation")["rows"]
    relative = ablation.relative_to_default(rows)

    def line(method: str, space: str = "") -> list[str]:
        quotient = f"{relative[method][0]:.2f}" if method in relative else "" if method == "default" else "--"
        own = [row for row in rows if row["method"] == method]
        return [space + escaped(NAMES.get(method, method)), *_mean_kls(own), quotient]

    lines = [line("default")]
    for methods in ablation.TABLES.values():
        first, *others = (method for method in methods if method != "default" and method not in LEFT_OUT)
        lines += [line(first, r"\addlinespace[1.5pt] "), *map(line, others)]
    return _tabular("@{}lrrrrr@{}", _header(rows, "planner", " & quotient"), lines)


def look_ahead(results: Results) -> str:
    """KL by the number of frames that are handed over in one call."""
    rows = [row for row in part_of(results, "look_ahead")["rows"] if row["control"] == "threshold"]
    lines = [
        ["1, causal" if pieces == 1 else f"{pieces}", *_mean_kls([row for row in rows if row["pieces"] == pieces])]
        for pieces in sorted({row["pieces"] for row in rows})
    ]
    return _tabular("@{}lrrrr@{}", _header(rows, "frames"), lines)


def packing(results: Results) -> str:
    """Wall-clock by the way in which the same corners are carried out."""
    columns = {tuple(row["key"]): row["ways"] for row in part_of(results, "packing")["rows"]}
    ways = list(next(iter(columns.values())))
    lines = [[escaped(way), *(times(column[way]["wall_clock_ratio"]) for column in columns.values())] for way in ways]
    header = " & ".join(["", *(f"{escaped(share)}, {spread}" for share, spread in columns)])
    return _tabular("@{}l" + "r" * len(columns) + "@{}", [header + r" \\"], lines)


def _mean_kls(rows: list[dict[str, Any]]) -> list[str]:
    """The mean KL of a planner over the first videos, and over the others, at each ratio."""
    cells = []
    for group in ablation.by_videos(rows).values():
        for ratio in ablation.RATIOS:
            own = [row for row in group if row["setting"] in (ratio, 0.0)]
            text = divergence(mean(row["kl"] for row in own))
            # A planner that does not reach the ratio saves less.
            reached = mean(row["encoder_ratio"] for row in own) >= 0.99 * ratio
            cells.append(text if reached else rf"\emph{{{text}}}")
    return cells


def _header(rows: list[dict[str, Any]], first: str, more: str = "") -> list[str]:
    """The lines above columns of `_mean_kls`, between the first one and, if there are any, more."""
    counts = [len({row["video"] for row in group}) for group in ablation.by_videos(rows).values()]
    groups = [rf"\multicolumn{{2}}{{c}}{{{count} {name}}}" for count, name in zip(counts, ("videos", "others"))]
    ratios = " & ".join(rf"{ratio:g}$\times$" for _ in counts for ratio in ablation.RATIOS)
    ends = " &" * more.count("&") + r" \\"
    rules = r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}"
    return [f" & {' & '.join(groups)}{ends}", rules, rf"{first} & {ratios}{more} \\"]


COMMANDS = {
    "vit": r"Fig.~\ref{fig:fidelity}, Table~\ref{tab:equal-kl}",
    "fights": r"the same, surveillance clips",
    "across_frames": "merging across frames",
    "videomae_fights": r"Fig.~\ref{fig:videomae}, left",
    "videomae_motion": r"Fig.~\ref{fig:videomae}, right",
    "clips": r"Table~\ref{tab:videomae}",
    "motion": r"Table~\ref{tab:videomae}",
    "windows": "sliding windows",
    "ablation": r"Table~\ref{tab:ablation}",
    "look_ahead": r"Table~\ref{tab:look-ahead}",
    "gaps": r"Fig.~\ref{fig:error}, left",
    "speed": r"Table~\ref{tab:speed}",
    "speed_videomae": r"Table~\ref{tab:speed}",
    "packing": r"Table~\ref{tab:packing}",
    "methods": "peers' wall-clock",
    "latency": "latency",
    "replay": "plans of real video",
    "scaling_share": r"Fig.~\ref{fig:scaling}, and the others",
    "peak": "memory",
    "stream_state": "memory of a stream",
    "long_run": "a stream of many frames",
    "guard": r"Table~\ref{tab:guard}",
    "many_streams": "many streams",
    "calibration": "calibration",
    "heads": "heads on frozen features",
    "image_merging": "merging on images",
}
"""What each part of the results stands behind."""


RECORDED = {"clips": "2026-11-24", "windows": "2026-11-24"}
"""The day on which results were recorded that were measured before runs noted the time."""


def commands(results: Results) -> str:
    """The command for each part, with the machine that it ran on."""
    found = {name: part for name in COMMANDS if (part := results.part(name)) is not None}
    rows = [
        (
            rf"\texttt{{{escaped(part['suite'])}}}",
            rf"\texttt{{{escaped(name)}}}",
            _machine(part),
            (part["finished"] or part["started"] or RECORDED[name])[:10],
            COMMANDS[name],
        )
        for name, part in found.items()
    ]
    return _tabular("@{}lllll@{}", [r"suite & part & machine & date & shown in \\"], rows)


def _machine(part: dict[str, Any]) -> str:
    return "EPYC" if "EPYC" in part["machine"]["cpu"] else "Xeon" if "Xeon" in part["machine"]["cpu"] else "other"


def _tabular(columns: str, header: list[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [" & ".join(row) + r" \\" for row in rows]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *header,
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )
