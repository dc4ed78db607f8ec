"""The numbers of the report and the poster, by name; LaTeX asks for them with `\\result{name}`."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from statistics import geometric_mean, mean, median
from typing import Any

from hf_ttr.configuration import DEFAULT_THRESHOLD

from .. import ablation, calibration, gaps, replay
from ..aggregate import curves_of, points, subjects_of
from ..claims import CLAIMS, figure_of
from ..curves import Cost, cost_at_kl, kl_at_cost, value_at_cost
from ..fidelity import STATIC
from ..speed_methods import latency_of
from ..store import ResultError, Results, part_of
from ..streams import PERIOD, memory_growth
from ..sweep_tables import LIGHT_SAVINGS, SAVINGS, TARGETS, compared, halves_of
from ..table import escaped


SETS = {
    "static": ("vit", "real"),
    "moving": ("vit", "moving"),
    "fights": ("fights", "fights"),
    "videomae-fights": ("videomae_fights", "fights"),
    "videomae-motion": ("videomae_motion", "motion"),
    "across-frames": ("across_frames", "merged"),
}
"""Short names of the sets of the sweeps: part, and last word of the set's name."""


def numbers(results: Results) -> dict[str, str]:
    """Everything that can be asked for, as LaTeX; what hangs on a part that has not been measured is left out."""
    makers: list[Callable[[], dict[str, str]]] = [partial(_sweep, results, *names) for names in SETS.items()]
    makers += [partial(_timed, results, name) for name in TIMED]
    makers += [partial(make, results) for make in MAKERS]
    found: dict[str, str] = {}
    for make in makers:
        with suppress(ResultError):
            found |= make()
    return found


def slug(text: str) -> str:
    """A name of letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage."""
    return rf"{100 * share:.{digits}f}\%"


def times(ratio: float, digits: int = 2) -> str:
    """A ratio as so many times."""
    return rf"{ratio:.{digits}f}$\times$"


def divergence(kl: float | None) -> str:
    """A KL divergence with three significant digits, at least to the fourth place."""
    return "--" if kl is None else f"{kl:.4f}" if kl < 0.1 else f"{kl:.3f}"


def cost_text(cost: Cost | None, digits: int = 1) -> str:
    """The share of the dense cost; where the cheapest setting is better than asked for, as a bound."""
    return "--" if cost is None else ("$<$" if cost.at_most else "") + percent(cost.share, digits)


def _sweep(results: Results, name: str, place: tuple[str, str]) -> dict[str, str]:
    """Of each method the cost at equal KL and the rest at equal cost, and how those of this package compare."""
    part, subjects = part_of(results, place[0]), place[1]
    return {f"{name}/{key}": text for key, text in _of_sweep(part, subjects).items()}


def _of_sweep(part: dict[str, Any], subjects: str) -> dict[str, str]:
    curves, methods = curves_of(part, subjects), part["methods"]
    found = {"count": str(len(subjects_of(part, subjects)))}
    rows = [row for row in part["rows"] if row["key"][0].endswith(f" {subjects}")]
    found["frames"] = f"{max(row['frames'] for row in rows)}"
    found["dense-flicker"] = percent(next(iter(curves.values()))[0].values["dense_flicker"], 0)
    for key, curve in curves.items():
        if key.startswith("dense"):
            continue
        found |= {f"{key}/share/{target:g}": cost_text(cost_at_kl(points(curve), target)) for target in TARGETS}
        for saving in sorted({*SAVINGS, *LIGHT_SAVINGS}):
            found[f"{key}/kl/{saving:g}"] = divergence(kl_at_cost(points(curve), 1 / saving))
            for name in ("agreement", "clip_agreement", "accuracy", "time"):
                values = [(entry.values["share"], entry.values[name]) for entry in curve if name in entry.values]
                if (value := value_at_cost(values, 1 / saving)) is not None:
                    found[f"{key}/{slug(name)}/{saving:g}"] = percent(value, 0 if name == "time" else 1)
        # The least that was saved, and what that took.
        most = curve[-1].values
        found |= {f"{key}/most/share": percent(most["share"], 0), f"{key}/most/time": percent(most["time"], 0)}
    for key, pairs in compared(curves, methods).items():
        for target, (own, best) in zip(TARGETS, pairs):
            if own is not None and best is not None:
                found[f"{key}/over-best/{target:g}"] = f"{own.share / best[1].share:.2f}"
                found[f"{key}/best/{target:g}"] = methods[best[0]]["title"]
                found[f"{key}/best-share/{target:g}"] = cost_text(best[1])
    return found


def _claims(results: Results) -> dict[str, str]:
    """Every claim, and its interval."""
    found: dict[str, str] = {}
    for claim in CLAIMS:
        with suppress(ResultError):
            figure = figure_of(results, claim)
            found |= {f"claim/{claim.name}": as_tex(figure.text), f"interval/{claim.name}": as_tex(figure.interval)}
    return found


def as_tex(text: str) -> str:
    """A text of Markdown as LaTeX."""
    return re.sub(r"(?<=\d)x\b", r"$\\times$", escaped(text.replace("`", "")))


def _halves(results: Results) -> dict[str, str]:
    """How reuse compares with the best other method on each half of the videos."""
    part, found = part_of(results, "vit"), {}
    for half, videos in zip(("first", "second"), halves_of(part).values()):
        comparison = compared(curves_of(part, "real", videos), part["methods"])["bidirectional"]
        for target, (own, best) in zip(TARGETS, comparison):
            if own is not None and best is not None:
                found[f"halves/{half}/over-best/{target:g}"] = f"{own.share / best[1].share:.2f}"
    return found


def _thresholds(results: Results) -> dict[str, str]:
    """How far the KL of single videos lies from the median at a threshold, and what the default gives on each."""
    rows = [row for row in part_of(results, "vit")["rows"] if row["key"][1] == "bidirectional"]
    by_threshold: dict[float, list[dict[str, Any]]] = {}
    for row in rows:
        by_threshold.setdefault(float(row["key"][2]), []).append(row)
    default = DEFAULT_THRESHOLD
    ratios = [
        max(row["kl"] for row in own) / median(row["kl"] for row in own)
        for threshold, own in by_threshold.items()
        if threshold >= default
    ]
    found = {"thresholds/least": f"{min(ratios):.1f}", "thresholds/most": f"{max(ratios):.1f}"}
    found["thresholds/default"] = f"{default:g}"
    for row in by_threshold[default]:
        found[f"default/{slug(row['key'][3])}/share"] = percent(row["share"], 0)
    return found


def _timed(results: Results, name: str) -> dict[str, str]:
    """Of each row of a part the savings in multiply-adds and in time."""
    part = part_of(results, name)
    found = {f"{part['name']}/machine": f"{part['machine']['cores']} cores of an {part['machine']['cpu']}"}
    for row in part["rows"]:
        name = f"{part['name']}/{slug(row.get('name') or ' '.join(row['key']))}"
        found |= {
            f"{name}/{short}": text(row[field])
            for short, field, text in (
                ("fewer", "multiply_add_ratio", times),
                ("faster", "wall_clock_ratio", times),
                ("realised", "realised", lambda share: percent(share, 0)),
                ("planner", "planner_share_of_dense", lambda share: percent(share, 2)),
                ("accuracy", "accuracy", lambda share: percent(share, 2)),
                ("dense-accuracy", "dense_accuracy", lambda share: percent(share, 2)),
            )
            if row.get(field) is not None
        }
    return found


def _replay(results: Results) -> dict[str, str]:
    part, found = part_of(results, "replay"), {"replay/limit": f"{replay.LIMIT:g}"}
    found["replay/count"] = str(len({row["key"][0] for row in part["rows"]}))
    for mode in replay.MODES:
        rows = [row for row in part["rows"] if row["key"][1] == mode]
        found |= {
            f"replay/{mode}/faster": times(geometric_mean(row["wall_clock_ratio"] for row in rows), 1),
            f"replay/{mode}/slowest": times(min(row["wall_clock_ratio"] for row in rows), 1),
            f"replay/{mode}/fastest": times(max(row["wall_clock_ratio"] for row in rows), 1),
        }
    return found


def _latency(results: Results) -> dict[str, str]:
    part = part_of(results, "latency")
    found = {"latency/others": str(len(part["rows"][0]["milliseconds"]) - 1)}
    for row in part["rows"]:
        found |= {f"latency/{row['key'][1]}/{name}": f"{value:.0f}" for name, value in latency_of(row).items()}
    return found


def _memory(results: Results) -> dict[str, str]:
    found = {f"state/{row['key'][0].lower()}": f"{row['mib']:.1f}" for row in part_of(results, "stream_state")["rows"]}
    peaks = {tuple(row["key"]): row["mib"] for row in part_of(results, "peak")["rows"]}
    for (frames, method), value in peaks.items():
        name = f"peak/{method}/{slug(frames)}"
        found[f"{name}/of-dense"] = percent(value / peaks[frames, "dense"], 0)
    return found


def _scaling(results: Results) -> dict[str, str]:
    found: dict[str, str] = {}
    for axis in ("size", "streams"):
        for row in part_of(results, f"scaling_{axis}")["rows"]:
            name = f"scaling/{axis}/{slug(row['key'][1])}/{row['key'][2]}"
            found |= {
                f"{name}/faster": times(row["wall_clock_ratio"], 1),
                f"{name}/realised": percent(row["realised"], 0),
            }
    return found


def _ablation(results: Results) -> dict[str, str]:
    part = part_of(results, "ablation")
    videos = {row["video"] for row in part["rows"]}
    found = {"ablation/frames": str(part["frames"]), "ablation/static": str(len(videos & set(STATIC)))}
    found["ablation/others"] = str(len(videos - set(STATIC)))
    for method, (quotient, _, _) in ablation.relative_to_default(part["rows"]).items():
        found[f"ablation/{slug(method)}/relative"] = f"{quotient:.2f}"
    return found


def _look_ahead(results: Results) -> dict[str, str]:
    """By the number of frames that are handed over in one call the KL over that of the whole clip."""
    rows = [row for row in part_of(results, "look_ahead")["rows"] if row["control"] == "threshold"]
    by_pieces: dict[int, dict[tuple[str, float], float]] = {}
    for row in rows:
        by_pieces.setdefault(row["pieces"], {})[row["video"], row["setting"]] = row["kl"]
    whole = by_pieces[max(by_pieces)]
    return {
        f"look-ahead/{pieces}/quotient": f"{geometric_mean(kl / whole[place] for place, kl in own.items()):.1f}"
        for pieces, own in by_pieces.items()
    }


def _packing(results: Results) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in part_of(results, "packing")["rows"]:
        for way, values in row["ways"].items():
            found[f"packing/{slug(' '.join(row['key']))}/{slug(way)}"] = times(values["wall_clock_ratio"], 1)
    return found


def _gaps(results: Results) -> dict[str, str]:
    part = part_of(results, "gaps")
    found: dict[str, str] = {}
    for group, static in (("static", True), ("others", False)):
        by_way = {way: gaps.by_gap(part, way, static, "kl") for way in gaps.WAYS}
        ratios = [held / interpolated for held, interpolated in zip(by_way["held"], by_way["interpolated"])]
        found |= {
            f"gaps/{group}/least": times(min(ratios), 1),
            f"gaps/{group}/most": times(max(ratios), 1),
        }
    return found


def _clips(results: Results) -> dict[str, str]:
    rows = [row for row in part_of(results, "clips")["rows"] if row["key"][0] == "fight_surv/test"]
    found = {"clips/count": str(rows[0]["clips"])}
    for row in rows:
        found[f"clips/{slug(row['method'])}/{row['setting']:g}"] = divergence(row["kl"])
    return found


def _motion(results: Results) -> dict[str, str]:
    rows = part_of(results, "motion")["rows"]
    found = {"motion/count": str(rows[0]["clips"]), "motion/dense": percent(rows[0]["accuracy"])}
    for row in rows:
        if row["setting"]:
            found[f"motion/{slug(row['method'])}/{row['setting']:g}"] = percent(row["accuracy"])
    return found


def _windows(results: Results) -> dict[str, str]:
    found: dict[str, str] = {}
    rows = part_of(results, "windows")["rows"]
    for row in rows:
        name = f"windows/{slug(row['key'][0])}/{row['stride']}/{slug(row['key'][2])}"
        found[f"{name}/kl"] = divergence(mean(row["kl"]))
        found[f"{name}/fewer"] = times(row["ratio_after_first"], 1)
        found["windows/count"] = str(len(row["kl"]))
    return found


def _streams(results: Results) -> dict[str, str]:
    (run,) = part_of(results, "long_run")["rows"]
    periods = run["periods"]
    memory, largest = memory_growth(periods)
    found = {
        "long-run/frames": _thousands(len(periods) * PERIOD),
        "long-run/period": _thousands(PERIOD),
        "long-run/memory": f"{memory:.0f}",
        "long-run/largest-memory": f"{largest:.0f}",
        "long-run/growth": percent(largest / memory - 1),
        "long-run/first-kl": f"{periods[0]['kl']:.5f}",
        "long-run/last-kl": f"{periods[-1]['kl']:.5f}",
    }
    guard = part_of(results, "guard")["rows"]
    for bound in dict.fromkeys(row["key"][1] for row in guard):
        rows = [row for row in guard if row["key"][1] == bound]
        name = f"guard/{bound}"
        found |= {
            f"{name}/kl": divergence(mean(row["mean_kl"] for row in rows)),
            f"{name}/worst": divergence(max(row["mean_kl"] for row in rows)),
            f"{name}/fewer": times(len(rows) / sum(1 / row["multiply_add_ratio"] for row in rows)),
            "guard/videos": str(len(rows)),
        }
        if bound != "none":
            found[f"{name}/kept"] = str(sum(row["mean_kl"] <= float(bound) for row in rows))
    for row in part_of(results, "many_streams")["rows"]:
        name = f"many/{slug(row['key'][0])}"
        if "wall_clock_ratio" in row:
            found |= {f"{name}/faster": times(row["wall_clock_ratio"]), "many/streams": str(row["streams"])}
        else:
            found |= {
                "many/results": f"{row['results']}",
                "many/different": f"{row['different_labels'] + row['different_computed_shares']}",
            }
    return found


def _calibration(results: Results) -> dict[str, str]:
    part = part_of(results, "calibration")
    found = {"calibration/videos": str(len(part["rows"])), "calibration/halves": str(calibration.HALVES)}
    for target, halves in calibration.half_by_half(part).items():
        held, of = calibration.kept(halves)
        found |= {f"calibration/{slug(target)}/kept": str(held), f"calibration/{slug(target)}/of": str(of)}
    return found


def _images(results: Results) -> dict[str, str]:
    return {"image_merging/count": _thousands(part_of(results, "image_merging")["rows"][0]["images"])}


def _thousands(count: int) -> str:
    return f"{count:,}".replace(",", r"\,")


def _heads(results: Results) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in part_of(results, "heads")["rows"]:
        name = f"heads/{'videomae' if 'videomae' in row['key'][0] else 'vit'}/{row['multiply_add_ratio']:.0f}"
        found |= {
            f"{name}/accuracy": percent(row["accuracy"]["value"]),
            f"{name}/dense": percent(row["dense_accuracy"]["value"]),
            f"{name}/low": f"{100 * row['accuracy_difference']['low']:+.1f}",
            f"{name}/high": f"{100 * row['accuracy_difference']['high']:+.1f}",
            "heads/clips": str(row["clips"]),
        }
    return found


TIMED = ("speed", "speed_videomae", "speed_reduction", "image_merging")
MAKERS = (
    _claims,
    _halves,
    _thresholds,
    _look_ahead,
    _images,
    _replay,
    _latency,
    _memory,
    _scaling,
    _ablation,
    _packing,
    _gaps,
    _clips,
    _motion,
    _windows,
    _streams,
    _calibration,
    _heads,
)
