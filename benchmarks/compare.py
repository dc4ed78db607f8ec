"""
Whether a run of the benchmarks repeats the committed one: every value of every cell that both have, within tolerances.

The tolerances are those that repetitions of this repository's own measurements needed; a test holds them against cells
that were measured on two machines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

from .store import ResultError, Results


@dataclass(frozen=True)
class Tolerance:
    """
    How far two measurements of the same may lie apart.

    Attributes:
        what: the kind of value.
        relative: the part of our value that is allowed.
        absolute: what is allowed however small our value is.
        why: what was seen that makes it so large.
        counted: how many of the frames, clips or pictures of the cell may fall otherwise.
    """

    what: str
    relative: float
    absolute: float
    why: str
    counted: int = 0


MULTIPLY_ADDS = Tolerance(
    "multiply-adds",
    0.015,
    0.0,
    "counted, not timed; rounding decides on tokens that lie at the threshold: 1.3 % at most in 108 cells measured "
    "on two machines",
)
DIVERGENCE = Tolerance(
    "KL",
    0.1,
    1e-6,
    "of the same weights and frames; the tokens that rounding decides on: 7.3 % at most in 99 of those cells, 5 % or "
    "less in 97",
)
CLIP_DIVERGENCE = Tolerance(
    "KL of a clip",
    0.3,
    1e-6,
    "of the mean over its frames, in which their differences cancel: 25 % at most in those cells",
)
CORRELATION = Tolerance("correlation", 0.0, 0.001, "near 1; what is missing of it follows the divergence of the maps")
LABELS = Tolerance(
    "labels",
    0.0,
    1e-6,
    "a frame whose two best classes are nearly even falls either way: two frames at most in those cells",
    2,
)
FLICKER = Tolerance("flicker", 0.0, 1e-6, "each such frame makes or ends two changes: four at most in those cells", 4)
WALL_CLOCK = Tolerance(
    "wall-clock ratio",
    0.3,
    0.0,
    "medians of interleaved runs, noisy: 26 % at most, 5 % in the median, of 76 pairs of runs repeated on one shared "
    "machine",
)
STATE = Tolerance("memory of caches", 0.01, 0.0, "bytes of tensors, counted")
PEAK = Tolerance(
    "peak memory",
    0.4,
    0.0,
    "the heap of a process: 5 % from run to run; a dense clip of 16 frames took 159 MiB with two threads, 207 to 216 "
    "with one",
)
COUNT = Tolerance("count", 0.0, 0.0, "counted; another number is another measurement")

KINDS: dict[str, Tolerance] = {
    **dict.fromkeys(
        (
            "share",
            "ratio",
            "encoder_ratio",
            "multiply_add_ratio",
            "multiply_add_ratios",
            "ratio_after_first",
            "multiply_adds",
            "dense_multiply_adds",
            "computed_share",
        ),
        MULTIPLY_ADDS,
    ),
    **dict.fromkeys(
        (
            "kl",
            "mean_kl",
            "median_kl",
            "worst_kl",
            "largest_kl",
            "kl_low",
            "kl_high",
            "logit_error",
            "embedding_error",
            "feature_distance",
            "distance",
            "map_kl",
            "map_error",
        ),
        DIVERGENCE,
    ),
    **dict.fromkeys(
        (
            "accuracy",
            "dense_accuracy",
            "accuracy_difference",
            "agreement",
            "clip_agreement",
            "top1_agreement",
            "top5_agreement",
            "within",
        ),
        LABELS,
    ),
    "clip_kl": CLIP_DIVERGENCE,
    "map_correlation": CORRELATION,
    **dict.fromkeys(("flicker", "dense_flicker"), FLICKER),
    "wall_clock_ratio": WALL_CLOCK,
    **dict.fromkeys(("memory_mib", "cache_mib"), STATE),
    "mib": PEAK,
    **dict.fromkeys(
        (
            "frames",
            "clips",
            "windows",
            "images",
            "judged",
            "streams",
            "results",
            "different_labels",
            "different_computed_shares",
            "cuts",
            "caught",
            "videos",
            "processes",
            "decoded",
            "given",
            "broken",
            "broken_without_error",
            "good_with_error",
            "exit_code",
            "lost",
            "twice",
            "good",
            "same_error",
            "same_labels",
            "same_multiply_adds",
            "unreadable",
            "hung",
            "killed",
            "missed",
            "made_up",
            "planted",
            "stalls",
            "breaks",
            "reloads",
            "kills",
            "error_lines",
        ),
        COUNT,
    ),
}
"""By the name of a value."""
OF_PARTS = {("stream_state", "mib"): STATE}
"""By part and name, where a name stands for something else."""
NOT_JUDGED = {
    **dict.fromkeys(
        (
            "seconds",
            "elapsed",
            "decoding_seconds",
            "waiting_seconds",
            "spent",
            "actor_mib",
            "after_a_tenth",
            "at_half",
            "at_the_end",
            "largest",
            "rows_when_killed",
            "dense_seconds",
            "reuse_seconds",
            "bare_seconds",
            "planner_seconds",
            "planner_share_of_dense",
            "milliseconds",
            "p95_ms",
            "images_per_second",
            "dense_images_per_second",
            "dense_frames_per_second",
            "reuse_frames_per_second",
            "BLAS",
            "oneDNN",
            "oneDNN, packed",
            "resident_mib",
            "model_and_input_mib",
            "files",
            "delay_s",
            "latency_s",
            "dropped",
            "core_share",
        ),
        "of a machine, not of a method; the seconds of sweeps are of one run each",
    ),
    **dict.fromkeys(
        (
            "setting",
            "threshold",
            "last_threshold",
            "r",
            "pieces",
            "stride",
            "rows",
            "runs",
            "minutes",
            "cameras",
            "rtsp",
            "skip",
        ),
        "says what was measured",
    ),
    **dict.fromkeys(("whole", "whole_of_age"), "a token that rounding decides on makes a frame whole, or not"),
    **dict.fromkeys(
        ("steps", "usual", "planned", "computed", "in_buckets", "sizes"),
        "a token that rounding decides on may lead to the next size of a step",
    ),
    **dict.fromkeys(
        ("due", "told", "classified", "reconnections", "tokens_computed"),
        "hangs on the moment at which each camera was lost and found",
    ),
    "realised": "the quotient of two that are judged",
    "accuracy_per_class": "parts of an accuracy that is judged",
    "mib_after_each_frame": "the last of them is judged",
    "largest_difference_of_scores": "of rounding alone",
}
"""Values that two runs need not have in common, and why."""


@dataclass(frozen=True)
class Comparison:
    """
    A value of a cell that both files have.

    Attributes:
        part, cell, value: where it stands.
        kind: of its tolerance.
        ours, yours: measured; of lists the mean.
        tolerance: how far `yours` may be from `ours`.
        within: the verdict.
    """

    part: str
    cell: str
    value: str
    kind: str
    ours: float
    yours: float
    tolerance: float
    within: bool


@dataclass(frozen=True)
class Outcome:
    """
    What a comparison found.

    Attributes:
        comparisons: of all values that both have.
        other_settings: cells that both have, measured with other settings (such as those of `--quick`).
        only_yours: cells that only the other file has.
    """

    comparisons: list[Comparison]
    other_settings: list[str]
    only_yours: list[str]

    @property
    def outside(self) -> list[Comparison]:
        """Those beyond their tolerance."""
        return [one for one in self.comparisons if not one.within]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        used = {one.kind for one in self.comparisons}
        tolerances = {tolerance.what: asdict(tolerance) for tolerance in dict.fromkeys(KINDS.values())}
        return {
            "all_within": not self.outside,
            "values": len(self.comparisons),
            "outside": len(self.outside),
            "tolerances": {kind: value for kind, value in tolerances.items() if kind in used},
            "other_settings": self.other_settings,
            "only_yours": self.only_yours,
            "comparisons": [asdict(one) for one in self.comparisons],
        }


def compare(ours: Results, yours: Results, parts: list[str] | None = None) -> Outcome:
    """
    Compares what two result files both have.

    Args:
        ours, yours: the committed results, and those of another run.
        parts (`list[str]`, *optional*): only these; by default all that `yours` has.

    Raises:
        ResultError: if a part is not in `yours`, or nothing can be compared.
    """
    there = {name for found in yours.suites.values() for name in found}
    if unknown := [name for name in parts or [] if name not in there]:
        raise ResultError(
            f"{yours.path} has no part {unknown[0]!r}; it has {', '.join(sorted(there)) or 'none at all'}."
        )
    outcome = Outcome([], [], [])
    for suite, found in yours.suites.items():
        for name, part in found.items():
            if parts and name not in parts:
                continue
            known = ours.suites.get(suite, {}).get(name, {}).get("cells", {})
            for key, cell in part["cells"].items():
                where = f"{name}: {key}"
                if key not in known:
                    outcome.only_yours.append(where)
                elif known[key]["settings"] != cell["settings"]:
                    outcome.other_settings.append(where)
                else:
                    outcome.comparisons.extend(_of_cell(name, key, known[key], cell, part.get("frames")))
    if not outcome.comparisons:
        quick = "; a quick run measures with other settings" if outcome.other_settings else ""
        raise ResultError(
            f"{yours.path} and {ours.path} have no cell of the same settings in common{quick}; run a part as "
            "benchmarks/README.md says, with --out FILE."
        )
    return outcome


def _of_cell(part: str, key: str, ours: dict[str, Any], yours: dict[str, Any], frames: Any) -> Iterator[Comparison]:
    theirs = dict(values(yours))
    for path, own in values(ours):
        tolerance = OF_PARTS.get((part, path[-1]), kind_of(path))
        if tolerance is None or path not in theirs:
            continue
        allowed = max(tolerance.relative * abs(own), tolerance.absolute)
        if tolerance.counted:
            size = _size({"frames": frames, **ours}, path)
            if size <= tolerance.counted:
                continue  # Nothing can be said of one clip.
            allowed += tolerance.counted / size
        other = theirs[path]
        # Six digits are stored.
        within = math.isclose(own, other, rel_tol=1e-5, abs_tol=allowed)
        yield Comparison(part, key, " ".join(path), tolerance.what, own, other, allowed, within)


def values(cell: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    """
    The numbers of a cell by their path: of a list of numbers the mean, of a list of records the last, which is what
    the run ended with.
    """
    return _flat({name: value for name, value in cell.items() if name != "settings"})


def _flat(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from _flat(entry, (*path, name))
    elif isinstance(value, list) and value and isinstance(value[-1], dict):
        yield from _flat(value[-1], path)
    elif isinstance(value, list) and value and all(isinstance(entry, (int, float)) for entry in value):
        yield path, mean(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path, float(value)


def kind_of(path: tuple[str, ...]) -> Tolerance | None:
    """The tolerance of a value, by the innermost name in its path that is known; `None` where it is not judged."""
    for name in reversed(path):
        if name in NOT_JUDGED:
            return None
        if name in KINDS:
            return KINDS[name]
    return None


def _size(cell: dict[str, Any], path: tuple[str, ...]) -> float:
    """Of how many a share was taken: clips or pictures where it is of those, else frames or windows, or changes."""
    of_clips = path[0] in ("accuracy", "dense_accuracy", "accuracy_difference", "clip_agreement")
    records = [cell]
    for name in path[:-1]:
        inner = records[-1][name]
        records.append(inner[-1] if isinstance(inner, list) else inner)
    for record in reversed(records):
        for name in ("judged", "clips", "images") if of_clips else ("frames", "windows", "images", "clips"):
            if isinstance(record.get(name), (int, float)):
                return float(record[name] - 1 if path[-1].endswith("flicker") else record[name])
    return 1.0
