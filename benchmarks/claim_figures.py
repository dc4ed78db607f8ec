"""The figures of claims: each a text, the cells it is made of, and its interval or why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import geometric_mean, mean, median
from typing import Any

from . import ablation, bootstrap, clips, dense_outputs, gaps, long_streams, rates
from .aggregate import Versus, curves_of, is_baseline, points, rivals, subjects_of, value_at, versus, versus_by_video
from .bootstrap import Interval, Resampled
from .compare import WALL_CLOCK
from .curves import Cost, cost_or_mixed, kl_at_cost
from .store import ResultError, Results, part_of
from .sweep_tables import SAVINGS


VIT, ALL = ("real",), ("real", "moving")
"""The videos of static cameras, and all."""
NOT_KEPT = f"single rounds are not kept; repeated runs agreed within {WALL_CLOCK.relative:.0%}"
NO_VALUES = "the cells are means; values of single clips are not kept"
FEW = "too few videos: their range"


@dataclass(frozen=True)
class Figure:
    """
    A figure of the results.

    Attributes:
        text: as it is quoted.
        cells: the cells it is made of, as part and pattern of the key.
        interval: the 95 % interval, as it is quoted; or a range.
        reason: why there is no interval, or what it is instead.
    """

    text: str
    cells: str
    interval: str = ""
    reason: str = ""


@lru_cache(maxsize=4)
def resampled(results: Results, part: str = "vit", name: str = "real") -> Resampled:
    """The draws of the videos of a set, made once."""
    return Resampled(part_of(results, part), name)


@lru_cache(maxsize=64)
def against(results: Results, ours: str, target: float) -> Versus:
    """A method of this package and its best rival, on the mean of the videos of static cameras."""
    part = part_of(results, "vit")
    return _there(versus(curves_of(part, "real"), part["methods"], ours, target))


@lru_cache(maxsize=64)
def each_video(results: Results, ours: str, target: float, sets: tuple[str, ...] = VIT) -> list[Versus]:
    """The same on each video."""
    found = versus_by_video(part_of(results, "vit"), sets, ours, target)
    return _there(found or None)


def rival_of(results: Results, ours: str, target: float) -> str:
    """The short name of the best rival, on the mean of the videos of static cameras."""
    return against(results, ours, target).rival


def saving(ours: str, target: float, results: Results) -> Figure:
    """How many times fewer multiply-adds a method of this package needs."""
    inverse = 1 / resampled(results).costs(ours, target)
    return Figure(
        times(against(results, ours, target).own), cells(ours), spread(bootstrap.interval(inverse), "{:.1f}x")
    )


def share(ours: str, target: float, results: Results) -> Figure:
    """The same as a share of those of the dense model."""
    found = bootstrap.interval(resampled(results).costs(ours, target))
    return Figure(f"{against(results, ours, target).own.share:.1%}", cells(ours), spread(found, "{:.1%}"))


def rival(ours: str, target: float, results: Results) -> Figure:
    """How many times fewer multiply-adds its best rival needs; in each draw the one that is best there."""
    found = against(results, ours, target)
    inverse = 1 / resampled(results).best(ours, target)
    return Figure(times(found.best), cells(found.rival), spread(bootstrap.interval(inverse), "{:.1f}x"))


def rival_share(ours: str, target: float, results: Results) -> Figure:
    """The same as a share of those of the dense model."""
    found = against(results, ours, target)
    draws = bootstrap.interval(resampled(results).best(ours, target))
    return Figure(f"{found.best.share:.1%}", cells(found.rival), spread(draws, "{:.1%}"))


def rival_name(ours: str, target: float, results: Results) -> Figure:
    """Who that is."""
    key = against(results, ours, target).rival
    return Figure(part_of(results, "vit")["methods"][key]["title"], cells(key), reason="a name")


def other(key: str, target: float, results: Results) -> Figure:
    """How many times fewer multiply-adds any one method needs."""
    inverse = 1 / resampled(results).costs(key, target)
    return Figure(times(_cost(key, target, results)), cells(key), spread(bootstrap.interval(inverse), "{:.1f}x"))


def other_share(key: str, target: float, results: Results) -> Figure:
    """The same as a share of those of the dense model."""
    found = bootstrap.interval(resampled(results).costs(key, target))
    return Figure(f"{_cost(key, target, results).share:.1%}", cells(key), spread(found, "{:.1%}"))


def _cost(key: str, target: float, results: Results) -> Cost:
    return cost_or_mixed(points(_there(curves_of(part_of(results, "vit"), "real").get(key))), target)


def quotient(ours: str, target: float, results: Results) -> Figure:
    """The multiply-adds over those of the best rival, of the means over the videos."""
    found, drawn = against(results, ours, target), resampled(results)
    draws = bootstrap.interval(drawn.costs(ours, target) / drawn.best(ours, target))
    return Figure(f"{found.quotient:.2f}", f"{cells(ours)}, {found.rival}", spread(draws, "{:.2f}"))


def middle(ours: str, target: float, sets: tuple[str, ...], results: Results) -> Figure:
    """The same of each video by itself: the median."""
    found = [one.quotient for one in each_video(results, ours, target, sets)]
    return Figure(f"{median(found):.2f}", cells(ours, sets), spread(bootstrap.of_median(found), "{:.2f}"))


def extent(ours: str, target: float, sets: tuple[str, ...], results: Results) -> Figure:
    """The same of each video by itself: the range."""
    found = [one.quotient for one in each_video(results, ours, target, sets)]
    return Figure(spread((min(found), max(found)), "{:.2f}"), cells(ours, sets), reason="a range")


def worse(ours: str, target: float, sets: tuple[str, ...], results: Results) -> Figure:
    """On how many videos it needs more than its best rival, and which."""
    found = each_video(results, ours, target, sets)
    names = [f"`{one.video}`" for one in found if one.quotient > 1]
    text = f"{len(names)} of {len(found)}" + (f" ({', '.join(names)})" if names else "")
    return Figure(text, cells(ours, sets), reason="a count")


def at_cost(key: str, value: str, target: float, results: Results) -> Figure:
    """A share of the frames at the cost for a KL."""
    curve = _there(curves_of(part_of(results, "vit"), "real").get(key))
    at = cost_or_mixed(points(curve), target).share
    draws = bootstrap.interval(resampled(results).value(key, value, target))
    return Figure(f"{_there(value_at(curve, value, at)):.1%}", cells(key), spread(draws, "{:.1%}"))


def rival_at_cost(ours: str, value: str, target: float, results: Results) -> Figure:
    """The same of the best rival of a method, at the cost that the rival needs for the KL."""
    return at_cost(rival_of(results, ours, target), value, target, results)


def at_saving(key: str, value: str, fewer: float, results: Results) -> Figure:
    """A share of the frames at so many times fewer multiply-adds."""
    found = _there(value_at(_there(curves_of(part_of(results, "vit"), "real").get(key)), value, 1 / fewer))
    draws = bootstrap.interval(resampled(results).value_at(key, value, 1 / fewer))
    return Figure(f"{found:.1%}", cells(key), spread(draws, "{:.1%}"))


def labels_of_rivals(ours: str, fewer: float, results: Results) -> Figure:
    """Which rival of a method is nearest in KL at so many times fewer multiply-adds, and which keeps most labels."""
    part = part_of(results, "vit")
    curves = curves_of(part, "real")
    others = {key: curves[key] for key in rivals(part["methods"], ours) if key in curves}
    kls = {key: kl for key, curve in others.items() if (kl := kl_at_cost(points(curve), 1 / fewer)) is not None}
    _there(kls or None)
    nearest = min(kls, key=kls.__getitem__)
    most = max(kls, key=lambda key: _there(value_at(others[key], "agreement", 1 / fewer)))

    def named(key: str) -> str:
        return f"{part['methods'][key]['title']} (KL {kls[key]:.3f})"

    def kept(key: str) -> str:
        figure = at_saving(key, "agreement", fewer, results)
        return f"{figure.text} ({figure.interval})"

    ends = (
        f", and no other keeps more labels, {kept(most)}"
        if most == nearest
        else f" and keeps {kept(nearest)} of the labels; {named(most)} keeps the most, {kept(most)}"
    )
    found = ", ".join(dict.fromkeys((nearest, most)))
    return Figure(f"{named(nearest)} is the nearest{ends}", cells(found), reason="said in it")


def dense_flicker(results: Results) -> Figure:
    """In how many frames the dense model's own label is not that of the frame before."""
    rows = [row for row in part_of(results, "vit")["rows"] if row["key"][:2] == ["vit real", "dense"]]
    values = [row["dense_flicker"] for row in rows]
    return Figure(f"{sum(values) / len(values):.1%}", cells("dense"), spread(bootstrap.of_mean(values), "{:.1%}"))


def worst(ours: str, target: float, sets: tuple[str, ...], results: Results) -> Figure:
    """The video on which it fares worst against its best rival, and what both need there."""
    found = max(each_video(results, ours, target, sets), key=lambda one: one.quotient)
    title = part_of(results, "vit")["methods"][found.rival]["title"]
    at_least = {
        (True, True): ", both at their cheapest setting",
        (True, False): "; reuse at its cheapest setting",
        (False, True): ", at its cheapest setting",
    }
    end = at_least.get((found.own.at_most, found.best.at_most), "")
    text = f"`{found.video}`: {found.own.share:.1%} against {found.best.share:.1%} ({title}{end})"
    return Figure(text, f"vit: * | {ours}, {found.rival} | * | {found.video}", reason="one video")


def nearer_skipping(ours: str, results: Results) -> Figure:
    """In how many cases, each of a video, a rate and a saving, frame skipping is nearer to the dense model."""
    ratios = [ratio for found in _skipping(ours, results).values() for ratio in found.values()]
    worse = sum(ratio > rates.WORSE for ratio in ratios)
    return Figure(f"{worse} of {len(ratios)}", f"rates: * | {ours}, frame skipping | * | *", reason="a count")


def nearest_skipping(ours: str, results: Results) -> Figure:
    """The case in which it is nearest in proportion: the KL of a method over that of frame skipping."""
    found = {(*case, saving): ratio for saving, of in _skipping(ours, results).items() for case, ratio in of.items()}
    video, rate, saving = max(found, key=found.__getitem__)
    at = "every frame" if rate == rates.RATES[0] else f"{rate} frames a second"
    text = f"{found[video, rate, saving]:.2f} times its KL (`{video}`, {at}, {saving}x fewer)"
    return Figure(text, f"rates: vit {rate}fps | {ours}, frame skipping | * | {video}", reason="one case")


@lru_cache(maxsize=8)
def _skipping(ours: str, results: Results) -> dict[int, dict[tuple[str, int], float]]:
    part, rival = part_of(results, "rates"), dict(rates.PAIRS)[ours]
    found = {saving: rates.at_all_rates(part, ours, rival, saving) for saving in SAVINGS}
    return _there(found if any(found.values()) else None)


def dense_quotient(method: str, name: str, fewer: int, results: Results) -> Figure:
    """Distance of the outputs of patches over that of frame skipping: the geometric mean of the videos."""
    ratios = _there(dense_outputs.against_skipping(part_of(results, "dense_outputs"), name, method, fewer) or None)
    low, high = (math.exp(end) for end in bootstrap.of_mean(math.log(ratio) for ratio in ratios.values()))
    text, of = f"{geometric_mean(ratios.values()):.2f}", f"{method}, skip_interpolate"
    return Figure(text, f"dense_outputs: dinov2 {name} | {of} | *", spread((low, high), "{:.2f}"))


def dense_lost(method: str, results: Results) -> Figure:
    """The videos on which frame skipping is nearer at any rate and saving, those first that lose most."""
    part, largest = part_of(results, "dense_outputs"), dict[str, float]()
    for name in dense_outputs.RATES:
        for saving in SAVINGS:
            for video, ratio in dense_outputs.against_skipping(part, name, method, saving).items():
                largest[video] = max(ratio, largest.get(video, 0.0))
    lost = sorted((video for video in largest if largest[video] > rates.WORSE), key=lambda video: -largest[video])
    named = ", ".join(f"`{video}`" for video in lost)
    text = f"{len(lost)} of {len(_there(largest or None))} videos" + (f" ({named})" if lost else "")
    return Figure(text, f"dense_outputs: * | {method}, skip_interpolate | *", reason="a count")


def half(videos: slice, ours: str, target: float, results: Results) -> Figure:
    """The quotient on every second video."""
    part = part_of(results, "vit")
    curves = curves_of(part, "real", subjects_of(part, "real")[videos])
    found = _there(versus(curves, part["methods"], ours, target))
    return Figure(f"{found.quotient:.2f}", f"{cells(ours)}, {found.rival}", reason="itself a check of one that has")


def timed(part: str, name: str, value: str, form: str, results: Results) -> Figure:
    """A value of a row of a part of timings."""
    rows = part_of(results, part)["rows"]
    row = _there(next((row for row in rows if name in (row.get("name"), " | ".join(row["key"]))), None))
    return Figure(form.format(row[value]), f"{part}: {' | '.join(row['key'])}", reason=NOT_KEPT)


def replayed(mode: str, results: Results) -> Figure:
    """How much faster plans of a trained model are, the geometric mean of the videos, and their range."""
    rows = [row for row in part_of(results, "replay")["rows"] if row["key"][1] == mode]
    found = [row["wall_clock_ratio"] for row in rows]
    text, extremes = f"{geometric_mean(found):.1f}x", spread((min(found), max(found)), "{:.1f}x")
    return Figure(text, f"replay: * | {mode}", extremes, f"{FEW}; {NOT_KEPT}")


def motions(fewer: float, who: str, results: Results) -> Figure:
    """
    Accuracy of a VideoMAE at so many times fewer multiply-adds, on clips whose classes are motions.

    Args:
        fewer: how many times.
        who: a method, `"rival"` for the best other one, or `"name"` for its name.
        results: the measured.
    """
    part = part_of(results, "videomae_motion")
    curves = curves_of(part, "motion")

    def accuracy(key: str) -> float | None:
        return value_at(curves[key], "accuracy", 1 / fewer)

    others = {key: value for key in curves if is_baseline(part["methods"], key) and (value := accuracy(key))}
    key = max(others, key=others.__getitem__, default="") if who in ("rival", "name") else who
    if who == "name":
        return Figure(part["methods"][key]["title"], f"videomae_motion: * | {key} | * | *", reason="a name")
    return clips_right(part, key, _there(accuracy(key) if key in curves else None))


def motions_dense(results: Results) -> Figure:
    """That of the dense model."""
    part = part_of(results, "videomae_motion")
    return clips_right(part, "dense", part["rows"][0]["dense_accuracy"])


def clips_right(part: dict[str, Any], key: str, accuracy: float) -> Figure:
    """An accuracy, with the interval that the number of clips leaves."""
    found = bootstrap.of_share(accuracy, part["rows"][0]["clips"])
    return Figure(f"{accuracy:.1%}", f"{part['name']}: * | {key} | * | *", spread(found, "{:.1%}"))


def lost(method: str, results: Results) -> Figure:
    """How many times the accuracy of reuse a method loses on motions at the same savings."""
    rows = {(row["method"], row["setting"]): row for row in part_of(results, "motion")["rows"]}
    dense = next(row["accuracy"] for (name, _), row in rows.items() if name == "dense")
    own = next(iter(clips.OURS))
    ratios = sorted(setting for name, setting in rows if name == method)
    found = [(dense - rows[method, at]["accuracy"]) / (dense - rows[own, at]["accuracy"]) for at in ratios]
    return Figure(spread((min(found), max(found)), "{:.1f}"), f"motion: {method}, {own} | *", reason=NO_VALUES)


def nearer(part: str, subjects: str, pair: Sequence[str], fewer: Sequence[float], results: Results) -> Figure:
    """How many times the KL of the first method that of the second is, at so many times fewer multiply-adds."""
    curves = curves_of(part_of(results, part), subjects)
    kls = ([_there(kl_at_cost(points(_there(curves.get(key))), 1 / one)) for one in fewer] for key in pair)
    found = [second / first for first, second in zip(*kls)]
    return Figure(
        spread((min(found), max(found)), "{:.1f}"), f"{part}: * | {', '.join(pair)} | * | *", reason=NO_VALUES
    )


def beside(methods: Sequence[str], ratio: float, group: int, results: Results) -> Figure:
    """By how much methods of the ablation lower the mean KL of reuse alone, on one of its two groups of videos."""
    rows = list(ablation.by_videos(part_of(results, "ablation")["rows"]).values())[group]

    def kl(method: str) -> float:
        return mean(row["kl"] for row in rows if row["method"] == method and row["setting"] == ratio)

    found = [1 - kl(method) / kl("default") for method in methods]
    text = spread((min(found), max(found)), "{:.0%}")
    return Figure(text, f"ablation: * | {', '.join(methods)} | {ratio:g}", reason=FEW)


def relative(method: str, results: Results) -> Figure:
    """The KL of another planner over that of the default, the geometric mean of the ablation."""
    found = ablation.relative_to_default(part_of(results, "ablation")["rows"])[method][0]
    return Figure(f"{found:.2f}", f"ablation: * | {method}, default | *", reason=FEW)


def held_over_interpolated(static: bool, results: Results) -> Figure:
    """How many times the KL of interpolated frames that of held ones is, from gap to gap."""
    part = part_of(results, "gaps")
    interpolated, held = (gaps.by_gap(part, way, static, "kl") for way in ("interpolated", "held"))
    found = [second / first for first, second in zip(interpolated, held)]
    return Figure(spread((min(found), max(found)), "{:.1f}"), "gaps: * | interpolated, held | *", reason=FEW)


def realised(reused: bool, results: Results) -> Figure:
    """What share of the saved multiply-adds arrives in wall-clock with reduction, beside reuse or alone."""
    rows = part_of(results, "speed_reduction")["rows"]
    alone = [row for row in rows if "reuse" not in row["key"][1]]
    found = [row["realised"] for row in ([row for row in rows if "and ToMe" in row["key"][1]] if reused else alone)]
    of = "* | reuse, *, and ToMe, *" if reused else "all without reuse"
    return Figure(spread((min(found), max(found)), "{:.0%}"), f"speed_reduction: {of}", reason=NOT_KEPT)


def caught(results: Results) -> Figure:
    """How many cuts from one video to the next are computed whole, in any order and at any threshold."""
    rows = long_streams.of_kind(part_of(results, "long_streams"), "joint")
    found, cuts = (sum(row[name] for row in rows) for name in ("caught", "cuts"))
    return Figure(f"{found} of {cuts}", "long_streams: joint | *", reason="a count")


def behind_cuts(results: Results) -> Figure:
    """The largest change of KL that a video has behind others in a stream, against a stream of its own."""
    rows = long_streams.of_kind(part_of(results, "long_streams"), "joint")
    videos = [one for row in rows for one in row["videos"].values()]
    # Where next to nothing is lost, a quotient says nothing.
    found = [abs(one["kl"] / one["alone"]["kl"] - 1) for one in videos if one["alone"]["kl"] > 1e-3]
    return Figure(f"{max(found):.1%}", "long_streams: joint | *", reason="the largest")


def drifted(results: Results) -> Figure:
    """The largest change of KL from the second part of a loop to any later one; the first has a beginning."""
    rows = long_streams.of_kind(part_of(results, "long_streams"), "looped")
    found = [abs(one["kl"] / row["periods"][1]["kl"] - 1) for row in rows for one in row["periods"][2:]]
    return Figure(f"{max(found):.1%}", "long_streams: looped | *", reason="the largest")


def looped_minutes(results: Results) -> Figure:
    """How long the loops are at the videos' own rates."""
    rows = long_streams.of_kind(part_of(results, "long_streams"), "looped")
    return Figure(f"{sum(row['minutes'] for row in rows):.0f} minutes", "long_streams: looped | *", reason="a sum")


def lit(change: str, value: str, results: Results) -> Figure:
    """KL, or the share of the multiply-adds, under a change of light over that as recorded; means of the videos."""
    rows = long_streams.of_kind(part_of(results, "long_streams"), "light")
    means = [mean(row[value] for row in rows if row["key"][1] == one) for one in (change, "as recorded")]
    return Figure(f"{means[0] / means[1]:.1f} times", f"long_streams: light | {change}, as recorded | *", reason=FEW)


def _there(value: Any) -> Any:
    if value is None:
        raise ResultError("the results have no cells for it.")
    return value


def cells(key: str, sets: Sequence[str] = VIT) -> str:
    """The cells of a method on every video, at every setting."""
    return "; ".join(f"vit: vit {name} | {key} | * | *" for name in sets)


def times(cost: Cost) -> str:
    """A cost as so many times fewer; a bound where even the cheapest setting is better than asked for."""
    return f"{'over ' if cost.at_most else ''}{1 / cost.share:.1f}x"


def spread(pair: Interval, form: str) -> str:
    """Two ends."""
    low, high = (form.format(end) for end in pair)
    return f"{low} to {high}"
