"""Blocks that say claims: the first screen, reuse against its best rivals, and where it fares worst."""

from __future__ import annotations

from functools import partial
from typing import Any

from .aggregate import is_online, subjects_of
from .claim_figures import ALL, NOT_KEPT, VIT, rival_of
from .claims import KL, say
from .fidelity import FRAME_RATES
from .replay import LIMIT
from .store import Results
from .sweep_tables import TARGETS
from .table import Block, Table


COMPARED = {
    "live": "reuse, causal, with methods that know no future",
    "ahead": "reuse, look-ahead of 8 frames, with all methods",
    "clips": "reuse, bidirectional, with all methods",
}
MIXED = "A method of which no measured setting gets there is mixed with the dense model."


def headline(
    results: Results, fidelity: dict[str, Any], speed: dict[str, Any], motions: dict[str, Any], plans: dict[str, Any]
) -> Block:
    """What a reader of the first screen should know: figures, against whom, what they cost, where nothing is saved."""
    told = partial(say, results)
    videos = len(subjects_of(fidelity, "real"))

    def line(what: str, mode: str, rival: str = "", dense: str = "") -> tuple[str, ...]:
        best = f"{told(f'{mode}-rival')}: {told(f'{mode}-rival-name')}{rival}"
        labels, flicker = told(f"{mode}-labels"), told(f"{mode}-flicker")
        cost = f"KL divergence {KL:g} per frame; {labels}; {flicker} of them{dense}"
        return what, f"**{told(f'{mode}-saving')}**", best, cost

    def videomae(end: str) -> str:
        return ", ".join(told(f"motion-{fewer}{end}") for fewer in (2, 3))

    def both(kind: str) -> str:
        live, clips = told(f"live-{kind}"), told(f"clips-{kind}")
        return live if live == clips else f"{live} and {clips}"

    rivals = (f"{told(f'motion-{fewer}-rival-name')} {told(f'motion-{fewer}-rival')}" for fewer in (2, 3))
    cores, clips = speed["machine"]["cores"], motions["rows"][0]["clips"]
    unlike = (
        ", which knows no future" if is_online(fidelity["methods"], rival_of(results, "bidirectional", KL)) else ""
    )
    replayed = len({row["key"][0] for row in plans["rows"]})
    return [
        Table(
            ("", "saved", "the best other method", "what it costs"),
            (
                line(
                    f"ViT-Tiny, {videos} real videos of static cameras, at the videos' own {FRAME_RATES} frames a "
                    "second: live streams, nothing known of the future",
                    "live",
                    dense=f", {told('dense-flicker')}",
                ),
                line(
                    "the same videos as clips, whose future is known",
                    "clips",
                    f"{unlike}; {told('skipping')}",
                ),
                (
                    f"ViT-B/16, random weights, on {cores} CPU cores, a quarter of the tokens computed",
                    f"{told('speed-clip')}, {told('speed-live')}",
                    "not at equal fidelity, so not compared here",
                    f"as the share has it; plans of {replayed} of the videos with a KL of at most {LIMIT:g} ran "
                    f"{told('replay-clips')} faster in clips, {told('replay-causal')} causally but in one call",
                ),
                (
                    f"VideoMAE, {clips} clips whose classes are motions, the hard case",
                    "2x, 3x fewer multiply-adds",
                    f"accuracy {', '.join(rivals)}",
                    f"accuracy {videomae('')}; {told('motion-dense')}",
                ),
            ),
        ),
        f"In brackets: 95 % intervals over the videos, or clips; the range over {replayed} videos. Wall-clock has "
        f"none ({NOT_KEPT}). Each method may use any of its settings. The others were written anew here; the "
        "planner's design was chosen on these videos.",
        f"Video by video, reuse needs {told('live-median')} of the multiply-adds of the best other method in "
        f"streams, and {told('clips-median')} in clips: medians; {told('live-range')} and {told('clips-range')} on "
        f"single videos. It needs more on {both('worse')}; of all videos, those beyond static cameras too, on "
        f"{both('all-worse')}.",
        f"Where everything changes from one frame to the next, nothing is saved: {told('speed-changing')}. "
        "Moving cameras come near to that, and the further frames are apart, the less there is to reuse.",
    ]


def against(results: Results, fidelity: dict[str, Any]) -> Block:
    """Reuse against its best rivals at equal KL: of the means over the videos, and video by video."""
    told = partial(say, results)
    videos = len(subjects_of(fidelity, "real"))
    rows = [
        (what, f"{target:g}", mode, "" if target == KL else f"-{target:g}")
        for mode, what in COMPARED.items()
        for target in TARGETS
    ]
    return [
        f"{fidelity['model']}, {videos} videos of static cameras at their own {FRAME_RATES} frames a second, at equal "
        "KL per frame: multiply-adds, and of reuse those over the best other method's. In brackets 95 % intervals "
        f"over the videos (bootstrap, in each draw against the method that is best there). {MIXED}",
        Table(
            ("compared", "KL", "reuse", "the best other method", "reuse over it"),
            (
                (
                    what,
                    target,
                    told(f"{mode}-saving{end}"),
                    f"{told(f'{mode}-rival{end}')} fewer: {told(f'{mode}-rival-name{end}')}",
                    told(f"{mode}-quotient{end}"),
                )
                for what, target, mode, end in rows
            ),
        ),
        *by_video(results, fidelity, rows),
    ]


def by_video(results: Results, fidelity: dict[str, Any], rows: list[tuple[str, str, str, str]]) -> Block:
    """The quotients of single videos: median, range, and where reuse loses."""
    told = partial(say, results)
    counts = [sum(len(subjects_of(fidelity, name)) for name in names) for names in (VIT, ALL)]
    kinds = (("median", "median of the {}"), ("range", "range of the {}"), ("worse", "more than the other on"))
    return [
        f"Video by video, the multiply-adds of reuse over those of the video's best other method. {counts[0]} are of "
        f"static cameras; all {counts[1]} are these, one of a moving camera and two in which little changes.",
        Table(
            ("compared", "KL", *(text.format(count) for count in counts for _, text in kinds)),
            (
                (
                    what,
                    target,
                    *(told(f"{mode}-{start}{kind}{end}") for start in ("", "all-") for kind, _ in kinds),
                )
                for what, target, mode, end in rows
            ),
        ),
    ]


def worst(results: Results, fidelity: dict[str, Any]) -> Block:
    """The videos on which reuse fares worst against its best rival."""
    told = partial(say, results)
    kinds = {"": "static cameras", "all-": "all videos"}
    return [
        "The video on which reuse fares worst against the best other method, and what both need there: multiply-adds "
        "in % of the dense model's at equal KL. Where nearly nothing changes, whole frames can be left out, while "
        "reuse embeds each frame and computes its CLS token.",
        Table(
            ("compared", "of", *(f"at KL {target:g}" for target in TARGETS)),
            (
                (
                    what,
                    kind,
                    *(told(f"{mode}-{start}worst{'' if target == KL else f'-{target:g}'}") for target in TARGETS),
                )
                for mode, what in COMPARED.items()
                for start, kind in kinds.items()
            ),
        ),
    ]


def worst_in_a_sentence(results: Results, fidelity: dict[str, Any]) -> Block:
    """The same, for the limits of the README."""
    told = partial(say, results)
    count = sum(len(subjects_of(fidelity, name)) for name in ALL)
    return [
        "Where nearly nothing happens, leaving out whole frames is cheaper than reuse. The worst of all "
        f"{count} videos, in multiply-adds of the dense model's at a KL of {KL:g}: in streams "
        f"{told('live-all-worst')}; in clips {told('clips-all-worst')}."
    ]
