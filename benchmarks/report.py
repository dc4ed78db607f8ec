"""Markdown tables from result files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

from . import clips, motion, speed_videomae, windows
from .common import RESULTS, markdown
from .fidelity import STATIC


METHODS = {
    "bidirectional": "reuse, bidirectional",
    "causal": "reuse, causal",
    "skip, interpolate": "frame skipping, logits interpolated",
    "skip, hold": "frame skipping, logits held",
}


def fill(text: str) -> str:
    """The text of a document with the tables it asks for, wherever their results are there."""

    def block(match: re.Match[str]) -> str:
        name = match.group(1)
        summaries = {
            "summary": (summary, ("fidelity", "speed")),
            "summary_videomae": (summary_videomae, ("clips", "motion", "windows", "speed_videomae")),
        }
        make, needed = summaries.get(name, (lambda: table(RESULTS / f"{name}.json"), (name,)))
        if not all((RESULTS / f"{need}.json").exists() for need in needed):
            return match.group(0)
        body = make()
        return f"<!-- results: {name} -->\n\n{body}\n<!-- /results -->"

    return re.sub(r"<!-- results: (\w+) -->.*?<!-- /results -->", block, text, flags=re.DOTALL)


def summary() -> str:
    """The few figures of the README."""
    fidelity = json.loads((RESULTS / "fidelity.json").read_text())
    speed = json.loads((RESULTS / "speed.json").read_text())
    rows = [row for row in fidelity["rows"] if row["video"] in STATIC]
    ratios = sorted({row["setting"] for row in rows if row["method"] == "bidirectional"})
    lines = [
        f"KL divergence per frame from the dense model (a real ViT-Tiny, {len(STATIC)} real videos of static cameras, "
        f"{fidelity['frames']} frames each), at the same multiply-adds in the transformer layers; top-1 agreement in "
        "brackets:",
        "",
    ]
    lines += markdown(
        ("multiply-adds saved", *(f"{ratio:g}x" for ratio in ratios)),
        (
            (
                name,
                *(
                    f"{mean(row['kl'] for row in chosen):.3f} ({mean(row['agreement'] for row in chosen):.2f})"
                    for ratio in ratios
                    if (chosen := [row for row in rows if (row["method"], row["setting"]) == (method, ratio)])
                ),
            )
            for method, name in METHODS.items()
        ),
    )
    machine = speed["machine"]
    lines += [
        f"Wall-clock of a ViT-B/16 in float32 against the dense model in the same run ({machine['cores']} cores of "
        f"{machine['cpu']}, random weights):",
        "",
        *speed_rows(speed),
        "The figures of every video, also of those where reuse loses, are in [docs/results.md](docs/results.md).",
    ]
    return "\n".join(lines) + "\n"


def summary_videomae() -> str:
    """The few figures of VideoMAE in the README."""
    found = {
        name: json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("clips", "motion", "windows", "speed_videomae")
    }
    fights = found["clips"]["sets"]["fight_surv/test"]
    motion_rows = found["motion"]["rows"]
    chosen = (
        next(iter(clips.OURS)),
        clips.SAME_BUDGET,
        "fewer frames",
        "random drop",
        "uniform tube drop",
        "RLT: changed tokens, plain pool",
    )
    machine = found["speed_videomae"]["machine"]
    lines = [
        f"VideoMAE, at the same multiply-adds in the layers. KL divergence from the dense model (a VideoMAE-Tiny, "
        f"{found['clips']['sizes']['fight_surv/test']} surveillance clips):",
        "",
        *clips.by_ratio([row for row in fights if row["method"] in chosen], lambda row: f"{row['kl']:.4f}"),
        f"Accuracy on {found['motion']['clips']} clips whose classes are motions (the model that ships here; dense "
        f"{motion_rows[0]['accuracy']:.1%}):",
        "",
        *clips.by_ratio([row for row in motion_rows if row["method"] in chosen], lambda row: f"{row['accuracy']:.1%}"),
        f"Wall-clock of a VideoMAE-B in float32 against the dense model in the same run ({machine['cores']} cores of "
        f"{machine['cpu']}, random weights):",
        "",
        *speed_rows(found["speed_videomae"]),
    ]
    return "\n".join(lines) + "\n"


def table(path: Path) -> str:
    """The tables of one result file."""
    result = json.loads(path.read_text())
    machine = result["machine"]
    lines = [
        f"### {path.stem.replace('_', ' of ').capitalize()}: {result['model']}",
        "",
        f"`{result['command']}` on {machine['cores']} cores of {machine['cpu']}, torch {machine['torch']}, "
        f"transformers {machine['transformers']}.",
        "",
    ]
    lines += _TABLES[result["suite"]](result)
    return "\n".join(lines) + "\n"


def _fidelity(result: dict[str, Any]) -> list[str]:
    rows = result["rows"]
    videos = list(dict.fromkeys(row["video"] for row in rows))
    static = [video for video in videos if video in STATIC]
    ratios = sorted({row["setting"] for row in rows if row["method"] in METHODS})

    def cells(method: str, setting: float, key: str, among: list[str]) -> list[float]:
        return [
            row[key] for row in rows if row["method"] == method and row["setting"] == setting and row["video"] in among
        ]

    lines = [
        f"Mean KL to the dense model, first {result['frames']} frames of each video, at the same multiply-adds in the "
        "encoder: per frame, with top-1 agreement of the frames in brackets, and of the clip's mean logits.",
        "",
    ]
    for title, among in ((f"the {len(static)} static videos", static), (f"all {len(videos)} videos", videos)):
        for part, key in (("per frame", "kl"), ("per clip", "clip_kl")):
            lines += markdown(
                (f"{title}, {part}", *(f"{ratio:g}x" for ratio in ratios)),
                (
                    (
                        name,
                        *(
                            f"{mean(cells(method, ratio, key, among)):.4f}"
                            + (f" ({mean(cells(method, ratio, 'agreement', among)):.3f})" if key == "kl" else "")
                            for ratio in ratios
                        ),
                    )
                    for method, name in METHODS.items()
                ),
            )
    lines += ["Each video: KL of reuse / of frame skipping with interpolated logits.", ""]
    lines += markdown(
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
    each = [
        (
            video,
            *(
                f"{cells('threshold', threshold, 'kl', [video])[0]:.4f}, "
                f"{cells('threshold', threshold, 'total_ratio', [video])[0]:.1f}x"
                for threshold in thresholds
            ),
        )
        for video in videos
    ]
    largest = ("largest KL", *(f"{max(cells('threshold', threshold, 'kl', videos)):.4f}" for threshold in thresholds))
    lines += markdown(("video", *(f"{threshold:g}" for threshold in thresholds)), [*each, largest])
    return lines


def speed_rows(result: dict[str, Any]) -> list[str]:
    """The table of a suite of speed."""
    return markdown(
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
    return ["Mean KL to the dense model per frame, the four static videos and the others.", ""] + markdown(
        ("planner", *header),
        (
            (method, *(cell(group, method, ratio) for group in groups if group for ratio in ratios))
            for method in dict.fromkeys(row["method"] for row in rows)
        ),
    )


_TABLES = {
    "fidelity": _fidelity,
    "speed": speed_rows,
    "ablation": _ablation,
    "clips": clips.table,
    "motion": motion.table,
    "windows": windows.table,
    "speed_videomae": speed_videomae.table,
}
