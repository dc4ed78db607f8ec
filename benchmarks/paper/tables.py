"""The larger tables of the report."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import geometric_mean, mean
from typing import Any

from .. import ablation, dense_outputs, rates
from ..aggregate import curves_of, is_online, points, value_at
from ..curves import Cost, cost_at_kl, kl_at_cost
from ..store import Results, part_of
from ..sweep_tables import SAVINGS, TARGETS
from ..table import escaped
from .numbers import SETS, cost_text, divergence, percent, times


SHORT = {
    "reuse, look-ahead of 8 frames": "reuse, look-ahead 8",
    "STC-Cacher, a reference in 8 frames": "STC, whole frame in 8",
    "STC-Cacher": "STC, whole frame in 2",
    "Eventful, token-wise, CLS always": "Eventful, token-wise*",
    "Eventful, full, CLS always": "Eventful, full*",
    "STGT gate, CLS always": "STGT gate*",
    "Eventful, token-wise, CLS always, before the norm": "Eventful, before norm*",
    "Eventful, token-wise, threshold": "Eventful, thresholds*",
    "Eventful, full, threshold": "Eventful, full, thresholds*",
    "ToMe, rows in the paper's order": "ToMe, the paper's order",
    "frame skipping, logits interpolated": "skip, interpolated",
    "frame skipping, logits held": "skip, held",
    "pruning by attention": "pruning (EViT)",
}
"""Names that fit a column."""


def tables(results: Results) -> dict[str, str]:
    """Every table as a `tabular` of the package booktabs, by name."""
    return {
        "equal_kl": equal_kl(results),
        "rates": frame_rates(results),
        "rates_live": live_rates(results),
        "never_worse": never_worse(results),
        "dense_outputs": every_patch(results),
        "ablation": ablations(results),
        "look_ahead": look_ahead(results),
        "packing": packing(results),
        "commands": commands(results),
    }


def equal_kl(results: Results) -> str:
    """
    Multiply-adds at equal KL, and at equal multiply-adds KL, the labels that are kept and flicker, of every method on
    static cameras and on clips.
    """

    def variant(key: str) -> bool:
        return str(methods[key]["paper"]).startswith("a variant of ours")

    names = ("static", "moving", "fights")
    parts = {name: part_of(results, SETS[name][0]) for name in names}
    curves = {name: curves_of(parts[name], SETS[name][1]) for name in names}
    methods = parts["static"]["methods"]
    rows = []
    for key in methods:
        if key.startswith("dense") or key not in curves["static"]:
            continue
        title = SHORT.get(methods[key]["title"], methods[key]["title"])
        cells = []
        for name in names:
            curve = curves[name].get(key, [])
            for target in TARGETS:
                cells.append(cost_text(cost_at_kl(points(curve), target), 0))
            if name == "static":
                labels = (value_at(curve, value, 1 / SAVINGS[0]) for value in ("agreement", "flicker"))
                cells.append(divergence(kl_at_cost(points(curve), 1 / SAVINGS[0])))
                cells += ["--" if value is None else percent(value, 0) for value in labels]
        mark = (r"\,$\dagger$" if variant(key) else "") + ("" if is_online(methods, key) else r"\,$\circ$")
        rows.append(((rf"\textbf{{{escaped(title)}}}" if methods[key]["ours"] else escaped(title)) + mark, *cells))
    fewer = rf"\multicolumn{{3}}{{c}}{{static, {SAVINGS[0]}$\times$ fewer}}"
    groups = rf" & \multicolumn{{2}}{{c}}{{static}} & {fewer} & \multicolumn{{2}}{{c}}{{others}} & "
    groups += r"\multicolumn{2}{c}{clips} \\"
    rules = r"\cmidrule(lr){2-3}\cmidrule(lr){4-6}\cmidrule(lr){7-8}\cmidrule(lr){9-10}"
    header = r"method & .02 & .05 & KL & kept & flicker & .02 & .05 & .02 & .05 \\"
    notes = r"*\,with the CLS token always let through, our addition."
    if any(variant(key) for key in curves["static"]):
        notes += r" $\dagger$\,a variant of ours."
    lines = [_tabular("@{}lrrrrrrrrr@{}", [groups, rules, header], rows), "", r"\vspace{2pt}"]
    return "\n".join([*lines, rf"\parbox{{\columnwidth}}{{{notes}}}"])


RATE_NAMES = {rate: "own" if rate == rates.RATES[0] else str(rate) for rate in rates.RATES}
"""Of the columns: frames a second, the videos' own first."""
RIVALS = {
    "skip_interpolate": "skip, interpolated",
    "skip_hold": "skip, held",
    "eventful_tokenwise_threshold": "Eventful, thresholds*",
}


def frame_rates(results: Results) -> str:
    """How many times fewer multiply-adds the larger KL needs, by scenes, method and frames a second."""
    part, lines = part_of(results, "rates"), list[list[str]]()
    for kind, title in rates.KINDS.items():
        counts = [len(rates.of_kind(part, rate, kind)) for rate in rates.RATES]
        space = r"\addlinespace[1.5pt] " if lines else ""
        lines.append([rf"{space}\emph{{{title}}}: videos", *(rf"\emph{{{count or '--'}}}" for count in counts)])
        for name, (ours, *others) in rates.SUMMARY.items():
            costs = _costs_by_rate(part, kind, (ours, *others))
            lines.append([rf"\textbf{{{name}: reuse}}", *map(_fewer, costs[ours])])
            lines += [[f"{name}: {RIVALS[key]}", *map(_fewer, costs[key])] for key in others]
    return _tabular("@{}lrrrrr@{}", [rf"frames a second & {' & '.join(RATE_NAMES.values())} \\"], lines)


def live_rates(results: Results) -> str:
    """The same for the poster: live streams, reuse and the better of the others."""
    part, lines = part_of(results, "rates"), []
    ours, *others = rates.SUMMARY["live"]
    for kind, title in rates.KINDS.items():
        costs = _costs_by_rate(part, kind, (ours, *others))
        best = [
            min((cost for cost in found if cost is not None), key=lambda cost: cost.share, default=None)
            for found in zip(*(costs[key] for key in others))
        ]
        cells = (rf"\textbf{{{_fewer(cost)}}}" for cost in costs[ours])
        lines += [[title.split(",")[0], *cells], [r"\quad best other", *map(_fewer, best)]]
    return _tabular("@{}lrrrrr@{}", [rf" & {' & '.join(RATE_NAMES.values())} \\"], lines)


def _costs_by_rate(part: dict[str, Any], kind: str, keys: Sequence[str]) -> dict[str, list[Cost | None]]:
    """By method what it needs at each rate for the larger KL."""
    found: dict[str, list[Cost | None]] = {key: [] for key in keys}
    for rate in rates.RATES:
        videos = rates.of_kind(part, rate, kind)
        curves = curves_of(part, f"{rate}fps", videos) if videos else {}
        for key in keys:
            found[key].append(cost_at_kl(points(curves.get(key, ())), TARGETS[-1]))
    return found


def _fewer(cost: Cost | None) -> str:
    return "--" if cost is None else ("$\\geq$" if cost.at_most else "") + times(1 / cost.share, 1)


PAIRS = {"budget": "budget", "bidirectional": "threshold, clips", "causal": "threshold, live"}
"""Of what `rates.PAIRS` compares with frame skipping."""


def never_worse(results: Results) -> str:
    """Reuse against frame skipping over all rates, and the videos on which skipping is nearer."""
    part, lines = part_of(results, "rates"), []
    for ours, rival in rates.PAIRS:
        for saving in SAVINGS:
            ratios = rates.at_all_rates(part, ours, rival, saving)
            nearer: dict[str, list[int]] = {}
            worst = sorted(ratios, key=lambda case: -ratios[case])
            for video, rate in (case for case in worst if ratios[case] > rates.WORSE):
                nearer.setdefault(video, []).append(rate)
            named = ", ".join(
                f"{escaped(video)} ({', '.join(RATE_NAMES[rate] for rate in rates.RATES if rate in at)})"
                for video, at in nearer.items()
            )
            found = (geometric_mean(ratios.values()), max(ratios.values())) if ratios else ()
            figures = [f"{ratio:.2f}" for ratio in found] or ["--", "--"]
            lines.append([PAIRS[ours], rf"{saving}$\times$", str(len(ratios)), *figures, named or "none"])
    header = r"reuse & fewer & cases & mean & largest & skipping is nearer on (frames a second) \\"
    return _tabular(r"@{}lrrrr>{\raggedright\arraybackslash}p{.46\columnwidth}@{}", [header], lines)


MEASURES = {"distance": "outputs, cosine distance", "map_kl": "maps, KL", "map_error": "maps, mean absolute error"}
"""Of `dense_outputs.FIGURES`, what the report has room for."""
PATCH_METHODS = {"budget": r"\textbf{reuse}", "skip_interpolate": "skip, interpolated", "skip_hold": "skip, held"}


def every_patch(results: Results) -> str:
    """Outputs of every patch and maps of them: reuse within a budget against frame skipping."""
    part = part_of(results, "dense_outputs")
    places = [(name, saving) for name in dense_outputs.RATES for saving in SAVINGS]
    found = [dense_outputs.means(part, *place) for place in places]
    ratios = [dense_outputs.against_skipping(part, name, "budget", saving) for name, saving in places]
    lost = [sum(ratio > rates.WORSE for ratio in of_videos.values()) for of_videos in ratios]
    in_short = [rates.in_short(of_videos) if of_videos else ("0", "--", "--", "") for of_videos in ratios]
    lines = [
        ["videos", *(str(count) for count, _ in found)],
        ["distance over that of skip, interpolated", *(mean_ratio for _, mean_ratio, _, _ in in_short)],
        [r"\quad largest; skipping nearer on", *(f"{row[2]}; {count}" for row, count in zip(in_short, lost))],
    ]
    for figure, title in MEASURES.items():
        lines.append([rf"\addlinespace[1.5pt] \emph{{{title}, $10^{{-3}}$}}", *("" for _ in places)])
        for key, name in PATCH_METHODS.items():
            values = (f"{1000 * means[key][figure]:.2f}" if means else "--" for _, means in found)
            lines.append([rf"\quad {name}", *values])
    groups = r" & \multicolumn{2}{c}{own rate} & \multicolumn{2}{c}{5 frames a second} \\"
    savings = " & ".join(rf"{saving}$\times$" for _, saving in places)
    rules = r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}"
    return _tabular("@{}lrrrr@{}", [groups, rules, rf"multiply-adds fewer & {savings} \\"], lines)


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
    "rates": r"Tables~\ref{tab:rates}, \ref{tab:never-worse}",
    "dense_outputs": r"Table~\ref{tab:dense-outputs}",
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
