"""The page of benchmarks at a glance: for each question one plot and one short table; the rest is on other pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import plots, scaling
from .aggregate import Curves, curves_of, points, subjects_of
from .curves import cost_at_kl, kl_at_cost, value_at_cost
from .speed_methods import emphasised, latency_of
from .store import Results
from .sweep_tables import (
    MIXED,
    ONLINE,
    SHOWN_BASELINES,
    SWEEP_PLOTS,
    TARGETS,
    best_others,
    equal_kl,
    kl_text,
    knows,
    labels_said,
    online_first,
)
from .table import Block, Table


SAVINGS = (2, 3, 4)
"""How many times fewer multiply-adds the tables of clips show."""


def chosen(methods: dict[str, Any], keys: Iterable[str], rank: Callable[[str], float | None]) -> list[str]:
    """The methods of this package, and the `SHOWN_BASELINES` others that come first; none without a rank."""
    ranked = {key: value for key in keys if not key.startswith("dense") and (value := rank(key)) is not None}
    others = sorted((key for key in ranked if not methods[key]["ours"]), key=ranked.__getitem__)
    return [*(key for key in ranked if methods[key]["ours"]), *others[:SHOWN_BASELINES]]


def chosen_frames(curves: Curves, methods: dict[str, Any]) -> list[str]:
    """The methods that a table of frames shows: ours and the best others, if a setting gets to the larger KL."""
    ours = [key for key in curves if methods[key]["ours"] and cost_at_kl(points(curves[key]), TARGETS[-1]) is not None]
    return [*ours, *best_others(curves, methods)]


def chosen_clips(curves: Curves, methods: dict[str, Any]) -> list[str]:
    """The methods that a table of clips shows: those that are best at the least of `SAVINGS`."""
    right = has_accuracy(curves)
    measure = _accuracy if right else _divergence
    return chosen(methods, curves, lambda key: _rank(measure(curves, key, SAVINGS[0]), right))


def has_accuracy(curves: Curves) -> bool:
    """Whether the classes of the clips are those of the model."""
    return all("accuracy" in entry.values for curve in curves.values() for entry in curve)


def draw(results: Results, folder: Path) -> list[Path]:
    """The plots of the page, with as few methods as its tables; returns them."""
    drawn = []
    for name, (part, subjects, title) in SWEEP_PLOTS.items():
        result = results.part(part)
        curves = {} if result is None else curves_of(result, subjects)
        if result is None or not any(not key.startswith("dense") for key in curves):
            continue
        select = chosen_clips if name.startswith("videomae") else chosen_frames
        path = folder / f"{name}_few.png"
        plots.fidelity(curves, result["methods"], "share", title, path, select(curves, result["methods"]))
        drawn.append(path)
    return drawn


def frames(subjects: str, title: str, plot: str, result: dict[str, Any]) -> Block:
    """What a divergence costs, frame by frame: ours and the best others."""
    curves, methods = curves_of(result, subjects), result["methods"]
    shown = chosen_frames(curves, methods)
    rows = [row for row in result["rows"] if row["key"][0].endswith(f" {subjects}")]
    if not rows:
        return []
    count = rows[0].get("clips") or len(subjects_of(result, subjects))
    return [
        picture("KL to the dense model over multiply-adds", f"{plot}_few"),
        f"{result['model']}, {count} {title}: multiply-adds in % of the dense model's for the same KL, the methods of "
        f"this package, the {SHOWN_BASELINES} best others that know no future and the best that does. "
        f"{labels_said(curves, methods)} {MIXED}{ONLINE}",
        equal_kl(curves, methods, shown),
    ]


def clips(subjects: str, title: str, plot: str, result: dict[str, Any]) -> Block:
    """What a saving costs on clips: accuracy where classes are known, else divergence."""
    curves, methods = curves_of(result, subjects), result["methods"]
    if "dense" not in curves:
        return []
    right = has_accuracy(curves)
    measure, text = (_accuracy, "{:.1%}".format) if right else (_divergence, kl_text)
    shown = chosen_clips(curves, methods)
    what = f"accuracy (dense {curves['dense'][0].values['accuracy']:.1%})" if right else "KL to the dense model"
    return [
        picture("KL to the dense model over multiply-adds", f"{plot}_few"),
        f"{result['model']}, {title}: {what} by how many times fewer the multiply-adds are. A dash: not reached.",
        Table(
            ("method", *(f"{saving}x fewer" for saving in SAVINGS)),
            (
                (
                    emphasised(methods, key),
                    *("-" if (value := measure(curves, key, saving)) is None else text(value) for saving in SAVINGS),
                )
                for key in shown
            ),
        ),
    ]


def _divergence(curves: Curves, key: str, saving: float) -> float | None:
    return kl_at_cost(points(curves[key]), 1 / saving)


def _accuracy(curves: Curves, key: str, saving: float) -> float | None:
    values = [(entry.values["share"], entry.values["accuracy"]) for entry in curves[key]]
    return value_at_cost(values, 1 / saving)


def _rank(value: float | None, more_is_better: bool) -> float | None:
    return -value if value is not None and more_is_better else value


def speed(clip: dict[str, Any], stream: dict[str, Any]) -> Block:
    """Wall-clock of every method on a clip, and of the frames of a stream."""
    methods, rows = clip["methods"], {row["key"][1]: row for row in clip["rows"]}
    live = {row["key"][1]: latency_of(row) for row in stream["rows"]}
    # Reuse with a reduction stands in the whole table.
    alone = [key for key in rows if not key.startswith("reuse_")]
    shown = chosen(methods, alone, lambda key: -rows[key]["wall_clock_ratio"])
    dense = live["dense_frame_by_frame"]
    return [
        picture("Milliseconds per frame of a stream", "latency"),
        f"{clip['model']}, {clip['frames']} frames of the clip that ships, each method where it saves most nearly "
        f"four times the multiply-adds; and the same as a stream, frame by frame (dense {dense['p50']:.0f} ms; a "
        "frame that is skipped takes none). At equal savings, not at equal fidelity.",
        Table(
            ("method", "knows", "multiply-adds", "wall-clock", "median of a frame in a stream"),
            (
                (
                    emphasised(methods, key),
                    knows(methods, key),
                    f"{rows[key]['multiply_add_ratio']:.2f}x fewer",
                    f"{rows[key]['wall_clock_ratio']:.2f}x faster",
                    f"{live[key]['p50']:.0f} ms" if key in live else "-",
                )
                for key in online_first(methods, shown)
            ),
        ),
    ]


def memory(result: dict[str, Any]) -> Block:
    """Peak memory: ours and the best others."""
    methods, found = result["methods"], {tuple(row["key"]): row["mib"] for row in result["rows"]}
    counts = list(dict.fromkeys(count for count, _ in found))
    shown = [
        "dense",
        *online_first(
            methods, chosen(methods, dict.fromkeys(key for _, key in found), lambda key: found.get((counts[-1], key)))
        ),
    ]
    return [
        picture("Peak memory", "memory"),
        f"{result['model']}: resident memory at its peak, beyond the model and the frames, and over that of the dense "
        "batch.",
        Table(
            ("method", "knows", *counts),
            (
                (
                    emphasised(methods, key),
                    "" if key == "dense" else knows(methods, key),
                    *(
                        f"{found[count, key]:.0f} MiB ({found[count, key] / found[count, 'dense']:.2f})"
                        for count in counts
                        if (count, key) in found
                    ),
                )
                for key in shown
            ),
        ),
    ]


def growth(*results: dict[str, Any]) -> Block:
    """How gains grow along each axis: its ends."""
    rows = []
    for result in results:
        axis = result["rows"][0]["key"][0]
        model = result["rows"][0]["key"][1]
        along = [row for row in result["rows"] if axis == "size" or row["key"][1] == model]
        first, last = along[0], along[-1]
        ends = (
            f"{row['key'][2]}: {row['wall_clock_ratio']:.1f}x of {row['multiply_add_ratio']:.1f}x"
            for row in (first, last)
        )
        rows.append((scaling.AXES[axis], "" if axis == "size" else model, *ends))
    return [
        picture("Gain in wall-clock and in multiply-adds along five axes", "scaling"),
        f"Times faster of times fewer multiply-adds, {scaling.SHARE:.0%} computed but where the share is varied; "
        "random weights.",
        Table(("along", "model", "least", "most"), rows),
    ]


def picture(what: str, plot: str) -> str:
    """A plot of the report in Markdown."""
    return f"![{what}](images/benchmarks/{plot}.png)"
