"""What the sweeps of methods give: at equal KL, at equal cost, setting by setting, half by half."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import plots
from .aggregate import (
    Curves,
    Mean,
    best_baseline,
    curves_of,
    is_baseline,
    is_online,
    points,
    rivals,
    subjects_of,
    value_at,
)
from .curves import Cost, cost_or_mixed, kl_at_cost
from .speed_methods import emphasised
from .table import Block, Table


TARGETS = (0.02, 0.05)
SAVINGS = (4, 8)
TIMES = (0.5, 0.25)
LABEL_SAVINGS = (2, *SAVINGS)
"""Where labels are shown beside KL: at the first of them the methods of papers are still at home."""
LIGHT_SAVINGS = (1.3, 2, 3)
"""Where methods that merge or leave out tokens of a clip are at home."""
SHOWN_BASELINES = 4
"""How many baselines the README names, the best first."""
SWEEP_PLOTS = {
    "vit_real": ("vit", "real", "ViT-Tiny, videos of static cameras"),
    "vit_moving": ("vit", "moving", "ViT-Tiny, a moving camera and two other videos"),
    "vit_fights": ("fights", "fights", "ViT-Tiny, surveillance clips"),
    "videomae_fights": ("videomae_fights", "fights", "VideoMAE-Tiny, surveillance clips"),
    "videomae_motion": ("videomae_motion", "motion", "shipped VideoMAE, clips whose classes are motions"),
}


def method_list(result: dict[str, Any]) -> Block:
    """The methods, with where they come from and what their setting is."""
    methods = result["methods"]
    frames = of_frames(methods)
    return [
        Table(
            ("method", "from", "setting", *frames * ["knows"]),
            (
                (emphasised(methods, key), method["paper"], method["knob"], *frames * [knows(methods, key)])
                for key, method in methods.items()
            ),
        )
    ]


def of_frames(methods: dict[str, Any]) -> bool:
    """Whether methods see frame after frame, so that some know no future; a window is seen whole by all."""
    return any(is_online(methods, key) for key in methods)


def knows(methods: dict[str, Any], key: str) -> str:
    """What a method knows beside the frame that it is at, which says with what it may be compared."""
    return "the past" if is_online(methods, key) else "8 frames ahead" if key == "look_ahead" else "the clip"


def online_first(methods: dict[str, Any], keys: Iterable[str]) -> list[str]:
    """Methods that know no future, then the others; ours before the baselines among either."""
    return sorted(keys, key=lambda key: (not is_online(methods, key), not methods[key]["ours"]))


MIXED = "With an asterisk: no setting that was measured gets there, and the dense model takes a part of the frames."
ONLINE = " Methods that know the past alone are compared with one another."


def matched(subjects: str, title: str, name: str, result: dict[str, Any]) -> Block:
    """
    Each method at equal KL, equal multiply-adds and equal time, and the methods of this package over the best others.

    Args:
        subjects, title: the set, and what it is called.
        name: of the plots.
        result: the part.
    """
    curves, methods = curves_of(result, subjects), result["methods"]
    found = subjects_of(result, subjects)
    if not found:
        return []
    what = f"{len(found)} videos" if len(found) > 1 else found[0]
    lines: Block = [
        f"{result['model']}, {title} ({what}): multiply-adds in % of the dense model at equal KL, and KL at equal "
        "multiply-adds and at equal wall-clock. KL is the mean per frame; between settings it is interpolated on "
        "logarithmic axes. A dash: the sweep does not reach there. "
        f"{labels_said(curves, methods)} {MIXED}{of_frames(methods) * ONLINE}",
        Table(
            (
                "method",
                *of_frames(methods) * ["knows"],
                *(f"multiply-adds at KL {target:g}" for target in TARGETS),
                *(f"{saving}x fewer: {labels_heading(methods)}" for saving in LABEL_SAVINGS),
                *(f"KL at {time:.0%} of the time" for time in TIMES),
            ),
            (
                _matched_row(curves, methods, key)
                for key in online_first(methods, curves)
                if not key.startswith("dense")
            ),
        ),
    ]
    comparison = compared(curves, methods)
    if comparison:
        lines += [
            compared_with(methods),
            _comparison_table({"": comparison}, methods),
        ]
    if name in SWEEP_PLOTS:
        lines += [
            f"![KL over multiply-adds](images/benchmarks/{name}.png)",
            f"![KL over wall-clock](images/benchmarks/{name}_time.png)",
        ]
    return lines


def _matched_row(curves: Curves, methods: dict[str, Any], key: str) -> list[str]:
    curve = curves[key]
    return [
        emphasised(methods, key),
        *of_frames(methods) * [knows(methods, key)],
        *(cost_text(cost_or_mixed(points(curve), target)) for target in TARGETS),
        *(labels_text(methods, curve, saving) for saving in LABEL_SAVINGS),
        *(kl_text(kl_at_cost(points(curve, "time"), time)) for time in TIMES),
    ]


def labels_text(methods: dict[str, Any], curve: list[Mean], saving: float) -> str:
    """KL, the share of labels that are kept and, of frames, flicker at so many times fewer multiply-adds."""
    kl = kl_at_cost(points(curve), 1 / saving)
    found = [value_at(curve, name, 1 / saving) for name in ("agreement", "flicker")[: 1 + of_frames(methods)]]
    return "; ".join([kl_text(kl), *(f"{value:.1%}" for value in found if value is not None)])


def labels_heading(methods: dict[str, Any]) -> str:
    """What `labels_text` has."""
    return f"KL; labels kept{of_frames(methods) * '; flicker'}"


def labels_said(curves: Curves, methods: dict[str, Any]) -> str:
    """What that means, and the flicker of the dense model."""
    if not of_frames(methods):
        return "Labels kept: the share of the clips with the dense model's label."
    flicker = next(iter(curves.values()))[0].values["dense_flicker"]
    return (
        "Labels kept: the share of the frames with the dense model's label; flicker: of those whose label is not that "
        f"of the frame before (dense {flicker:.1%}), which is low as well where outputs are held. A lower KL need not "
        "keep more labels."
    )


def compared_with(methods: dict[str, Any]) -> str:
    """What stands above a comparison."""
    online = "; of causal reuse over those of the best that knows no future either" if of_frames(methods) else ""
    return f"Multiply-adds over those of the best baseline, at equal KL{online}:"


def cost_text(cost: Cost) -> str:
    """The share of the dense cost; a bound where the cheapest setting is better than asked for."""
    return f"{'under ' if cost.at_most else ''}{cost.share:.1%}{'*' if cost.mixed else ''}"


def kl_text(kl: float | None) -> str:
    """A divergence, or a dash."""
    return "-" if kl is None else f"{kl:.4f}"


Comparison = dict[str, list[tuple[Cost, tuple[str, Cost]]]]
"""By method of this package: for each target its cost, and the best baseline with its cost."""


def compared(curves: Curves, methods: dict[str, Any]) -> Comparison:
    """The methods of this package and the best baselines, at each of `TARGETS`."""
    found: Comparison = {}
    for key in curves:
        if methods[key]["ours"]:
            own = [cost_or_mixed(points(curves[key]), target) for target in TARGETS]
            best = [best_baseline(curves, rivals(methods, key), target) for target in TARGETS]
            pairs = [(cost, other) for cost, other in zip(own, best) if other is not None]
            found |= {key: pairs} if pairs else {}
    return found


def _comparison_table(comparisons: dict[str, Comparison], methods: dict[str, Any]) -> Table:
    def text(ours: Cost, best: tuple[str, Cost]) -> str:
        name, cost = methods[best[0]]["title"], best[1]
        # An upper bound on either side leaves a bound on the quotient, or nothing that can be said.
        if cost.at_most:
            return f"not known ({name} under {cost.share:.1%})"
        return f"{'under ' if ours.at_most else ''}{ours.share / cost.share:.2f} ({name})"

    rows = [
        [*([group] if group else []), emphasised(methods, key), *(text(*pair) for pair in pairs)]
        for group, comparison in comparisons.items()
        for key, pairs in comparison.items()
    ]
    grouped = any(comparisons) and "" not in comparisons
    header = [*(["videos"] if grouped else []), "method", *(f"at KL {target:g}" for target in TARGETS)]
    return Table(header, rows)


def halves_of(result: dict[str, Any]) -> dict[str, list[str]]:
    """The videos of static cameras in two halves, so that what was tuned on one is seen on the other."""
    videos = subjects_of(result, "real")
    return {"first, third, ...": videos[::2], "second, fourth, ...": videos[1::2]}


def half_by_half(result: dict[str, Any]) -> Block:
    """The comparison on two halves of the videos."""
    halves = halves_of(result)
    if not all(halves.values()):
        return []
    comparisons = {
        name: compared(curves_of(result, "real", half), result["methods"]) for name, half in halves.items() if half
    }
    listed = "; ".join(f"{name} by name: {', '.join(half)}" for name, half in halves.items())
    return [
        f"The videos of static cameras in two halves ({listed}). {compared_with(result['methods'])}",
        _comparison_table(comparisons, result["methods"]),
    ]


def at_equal_kl(result: dict[str, Any]) -> Block:
    """For the README: multiply-adds at equal KL of the methods of this package and of the best others."""
    curves, methods = curves_of(result, "real"), result["methods"]
    found = subjects_of(result, "real")
    ours = [key for key in curves if methods[key]["ours"]]
    return [
        f"Multiply-adds in % of the dense model's at equal KL divergence from it per frame: a real ViT-Tiny, "
        f"{len(found)} videos of static cameras, up to {result['frames']} frames of each. "
        f"{labels_said(curves, methods)} {MIXED}{ONLINE}",
        equal_kl(curves, methods, [*ours, *best_others(curves, methods)]),
    ]


def best_others(curves: Curves, methods: dict[str, Any]) -> list[str]:
    """
    The baselines that need least for the larger of `TARGETS`, if a setting gets there: `SHOWN_BASELINES` of those that
    know no future, and the best of the others.
    """
    costs = {key: cost_or_mixed(points(curves[key]), TARGETS[-1]) for key in curves if is_baseline(methods, key)}
    ranked = sorted((key for key, cost in costs.items() if not cost.mixed), key=lambda key: costs[key].share)
    online = [key for key in ranked if is_online(methods, key)][:SHOWN_BASELINES]
    return [*online, *[key for key in ranked if not is_online(methods, key)][:1]]


def equal_kl(curves: Curves, methods: dict[str, Any], keys: Iterable[str]) -> Table:
    """What some methods need at each of `TARGETS`, and labels at equal cost; first those that know no future."""
    saving = SAVINGS[0]
    return Table(
        (
            "method",
            "knows",
            *(f"at KL {target:g}" for target in TARGETS),
            f"{saving}x fewer: {labels_heading(methods)}",
        ),
        (
            (
                emphasised(methods, key),
                knows(methods, key),
                *(cost_text(cost_or_mixed(points(curves[key]), target)) for target in TARGETS),
                labels_text(methods, curves[key], saving),
            )
            for key in online_first(methods, keys)
        ),
    )


def at_savings(subjects: str, title: str, result: dict[str, Any]) -> Block:
    """
    Each method at `LIGHT_SAVINGS`: KL, right answers (or agreement, where labels are not of this model) and speed.

    Args:
        subjects, title: the set, and what it is called.
        result: the part.
    """
    curves, methods = curves_of(result, subjects), result["methods"]
    measured = {key: curve for key, curve in curves.items() if not key.startswith("dense")}
    if not measured:
        return []
    every = [entry.values for curve in measured.values() for entry in curve]
    right = "accuracy" if all("accuracy" in values for values in every) else "clip_agreement"
    what = "accuracy" if right == "accuracy" else "clips with the dense model's label"

    def cell(curve: list[Mean], saving: float) -> str:
        share = 1 / saving
        kl = kl_at_cost(points(curve), share)
        if kl is None:
            return "-"
        labels, time = (value_at(curve, name, share) for name in (right, "time"))
        assert labels is not None and time is not None
        return f"{kl:.4f}; {labels:.1%}; {1 / time:.2f}x"

    dense = f" (dense {every[0]['dense_accuracy']:.1%})" if right == "accuracy" else ""
    return [
        f"{result['model']}, {title}: KL of the clip, {what}{dense}, and how many times faster in wall-clock, at "
        "1.3, 2 and 3 times fewer multiply-adds; between settings interpolated on a logarithmic axis of cost. A dash: "
        "the sweep does not reach there.",
        Table(
            ("method", *(f"{saving:g}x fewer" for saving in LIGHT_SAVINGS)),
            (
                (emphasised(methods, key), *(cell(curve, saving) for saving in LIGHT_SAVINGS))
                for key, curve in measured.items()
            ),
        ),
    ]


def by_video(result: dict[str, Any]) -> Block:
    """Each video, static or not: reuse and the best of the methods that it is compared with, at equal KL."""
    methods = result["methods"]
    lines: Block = []
    for ours, others in (("causal", "without a future"), ("bidirectional", "of all")):
        rows = []
        for name in ("real", "moving"):
            for video in subjects_of(result, name):
                curves = curves_of(result, name, [video])
                for key, pairs in compared(curves, methods).items():
                    if key == ours:
                        texts = (
                            (cost_text(own), f"{cost_text(best)} ({methods[who]['title']})")
                            for own, (who, best) in pairs
                        )
                        rows.append((video, *(text for pair in texts for text in pair)))
        lines += [
            f"Multiply-adds in % of the dense model's at equal KL: {methods[ours]['title']}, and the baseline "
            f"{others} that is best on that video.",
            Table(
                ("video", *(f"{who}, KL {target:g}" for target in TARGETS for who in ("reuse", "best baseline"))), rows
            ),
        ]
    return lines


def by_threshold(result: dict[str, Any]) -> Block:
    """What a threshold gives on each video."""
    rows = [row for row in result["rows"] if row["key"][1] == "bidirectional"]
    thresholds = sorted({row["key"][2] for row in rows}, key=float)
    found = {(row["key"][3], row["key"][2]): row for row in rows}
    videos = list(dict.fromkeys(video for name in ("real", "moving") for video in subjects_of(result, name)))

    def cell(video: str, threshold: str) -> str:
        row = found.get((video, threshold))
        return "" if row is None else f"{row['kl']:.4f}, {1 / row['share']:.1f}x"

    largest = (max(row["kl"] for row in rows if row["key"][2] == threshold) for threshold in thresholds)
    return [
        "What a threshold gives (bidirectional): KL per frame, and how many times fewer multiply-adds in all.",
        Table(
            ("video", *thresholds),
            [
                *((video, *(cell(video, threshold) for threshold in thresholds)) for video in videos),
                ("largest KL", *(f"{value:.4f}" for value in largest)),
            ],
        ),
    ]


def every_setting(subjects: str, result: dict[str, Any]) -> Block:
    """Everything that was measured of each method and setting, the mean over the videos."""
    curves, methods = curves_of(result, subjects), result["methods"]
    if not curves:
        return []
    return [
        Table(
            (
                "method",
                "setting",
                "multiply-adds",
                "wall-clock",
                "KL per frame",
                "KL of the clip",
                "agreement, frames",
                "agreement, clips",
                "flicker (dense)",
                "worst (KL)",
            ),
            (
                (
                    emphasised(methods, key),
                    f"{entry.setting:g}",
                    f"{entry.values['share']:.1%}",
                    f"{entry.values['time']:.1%}",
                    f"{entry.values['kl']:.4f}",
                    f"{entry.values['clip_kl']:.4f}",
                    f"{entry.values['agreement']:.3f}",
                    f"{entry.values['clip_agreement']:.2f}",
                    f"{entry.values['flicker']:.3f} ({entry.values['dense_flicker']:.3f})",
                    f"{entry.worst} ({entry.worst_kl:.4f})",
                )
                for key, curve in curves.items()
                for entry in reversed(curve)
            ),
        )
    ]


def labelled(demo: dict[str, Any], motion: dict[str, Any]) -> Block:
    """Accuracy of what ships, at every setting."""
    lines: Block = []
    for result, subjects in ((demo, "demo"), (motion, "motion")):
        curves, methods = curves_of(result, subjects), result["methods"]
        dense = [entry.values["dense_accuracy"] for curve in curves.values() for entry in curve]
        if dense:
            lines += [
                f"{result['model']}, {', '.join(subjects_of(result, subjects))}: accuracy (dense {dense[0]:.1%}).",
                Table(
                    ("method", "multiply-adds: accuracy"),
                    (
                        (
                            emphasised(methods, key),
                            ", ".join(
                                f"{entry.values['share']:.0%}: {entry.values['accuracy']:.1%}"
                                for entry in reversed(curve)
                            ),
                        )
                        for key, curve in curves.items()
                    ),
                ),
            ]
    return lines


def draw_sweep(result: dict[str, Any], subjects: str, title: str, name: str, folder: Path) -> list[Path]:
    """KL over multiply-adds and over wall-clock; returns the pictures."""
    curves = curves_of(result, subjects)
    drawn = []
    if any(not key.startswith("dense") for key in curves):
        for cost, path in (("share", folder / f"{name}.png"), ("time", folder / f"{name}_time.png")):
            plots.fidelity(curves, result["methods"], cost, title, path)
            drawn.append(path)
    return drawn
