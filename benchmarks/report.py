"""Markdown tables from result files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

from .fidelity import STATIC


def table(path: Path) -> str:
    """The tables of one result file."""
    result = json.loads(path.read_text())
    machine = result["machine"]
    lines = [
        f"### {path.stem.capitalize()}: {result['model']}",
        "",
        f"`{result['command']}` on {machine['cores']} cores of {machine['cpu']}, torch {machine['torch']}, "
        f"transformers {machine['transformers']}.",
        "",
    ]
    lines += {"fidelity": _fidelity, "speed": _speed, "ablation": _ablation}[result["suite"]](result)
    return "\n".join(lines) + "\n"


def _markdown(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    header = list(header)
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def _fidelity(result: dict[str, Any]) -> list[str]:
    rows = result["rows"]
    videos = list(dict.fromkeys(row["video"] for row in rows))
    static = [video for video in videos if video in STATIC]
    methods = ("bidirectional", "causal", "skip, interpolate", "skip, hold")
    ratios = sorted({row["setting"] for row in rows if row["method"] in methods})

    def cells(method: str, setting: float, key: str, among: list[str]) -> list[float]:
        return [
            row[key] for row in rows if row["method"] == method and row["setting"] == setting and row["video"] in among
        ]

    lines = [
        f"Mean KL to the dense model per frame, first {result['frames']} frames of each video, at the same "
        "multiply-adds in the encoder. In brackets: top-1 agreement.",
        "",
    ]
    for title, among in ((f"the {len(static)} static videos", static), (f"all {len(videos)} videos", videos)):
        lines += _markdown(
            (title, *(f"{ratio:g}x" for ratio in ratios)),
            (
                (
                    method,
                    *(
                        f"{mean(cells(method, ratio, 'kl', among)):.4f} "
                        f"({mean(cells(method, ratio, 'agreement', among)):.3f})"
                        for ratio in ratios
                    ),
                )
                for method in methods
            ),
        )
    lines += ["Each video: KL of reuse / of frame skipping with interpolated logits.", ""]
    lines += _markdown(
        ("video", *(f"{ratio:g}x" for ratio in ratios)),
        (
            (
                video,
                *(
                    f"{cells('bidirectional', ratio, 'kl', [video])[0]:.4f} / "
                    f"{cells('skip, interpolate', ratio, 'kl', [video])[0]:.4f}"
                    for ratio in ratios
                ),
            )
            for video in videos
        ),
    )
    thresholds = sorted({row["setting"] for row in rows if row["method"] == "threshold"})
    lines += ["What a threshold gives: KL, and how many times fewer multiply-adds in all.", ""]
    lines += _markdown(
        ("video", *(f"{threshold:g}" for threshold in thresholds)),
        (
            (
                video,
                *(
                    f"{cells('threshold', threshold, 'kl', [video])[0]:.4f}, "
                    f"{cells('threshold', threshold, 'total_ratio', [video])[0]:.1f}x"
                    for threshold in thresholds
                ),
            )
            for video in videos
        ),
    )
    return lines


def _speed(result: dict[str, Any]) -> list[str]:
    return _markdown(
        ("what", "computed", "multiply-adds", "wall-clock", "realised", "planner / dense time"),
        (
            (
                row["name"],
                f"{row['computed_share']:.1%}",
                f"{row['multiply_add_ratio']:.2f}x fewer",
                f"{row['wall_clock_ratio']:.2f}x faster",
                f"{row['realised']:.0%}" if "realised" in row else "",
                f"{row['planner_share_of_dense']:.2%}" if "planner_share_of_dense" in row else "",
            )
            for row in result["results"]
        ),
    )


def _ablation(result: dict[str, Any]) -> list[str]:
    rows = result["rows"]
    ratios = sorted({row["setting"] for row in rows if row["setting"]})
    groups = (
        [row for row in rows if row["video"] in result["static"]],
        [row for row in rows if row["video"] not in result["static"]],
    )

    def cell(group: list[dict[str, Any]], method: str, ratio: float) -> str:
        chosen = [row for row in group if row["method"] == method and row["setting"] in (ratio, 0.0)]
        if not chosen:
            return ""
        text = f"{mean(row['kl'] for row in chosen):.4f}"
        # A planner without a budget saves what it saves.
        return text if chosen[0]["setting"] else f"{text} at {mean(row['encoder_ratio'] for row in chosen):.1f}x"

    static = len({row["video"] for row in groups[0]})
    others = len({row["video"] for row in groups[1]})
    header = [f"{count} videos, {ratio:g}x" for count in (static, others) if count for ratio in ratios]
    return ["Mean KL to the dense model per frame, the four static videos and the others.", ""] + _markdown(
        ("planner", *header),
        (
            (method, *(cell(group, method, ratio) for group in groups if group for ratio in ratios))
            for method in dict.fromkeys(row["method"] for row in rows)
        ),
    )
