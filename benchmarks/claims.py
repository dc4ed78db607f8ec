"""
What this repository claims: each figure that a text quotes, where it stands, and the cells it is made of.

A generated block says a claim by `say`. Prose in Markdown quotes its figure between `<!-- claim: NAME -->` and
`<!-- /claim -->`, which the report fills; the LaTeX documents ask for `\\claim{NAME}` and `\\interval{NAME}`. Methods
that know no future are compared with such methods alone; the best rival, and ours, may use any of their settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from . import claim_figures as figures
from .claim_figures import ALL, VIT, Figure
from .store import ResultError, Results
from .sweep_tables import LIGHT_SAVINGS, SAVINGS, TARGETS


README, INDEX = "README.md", "docs/index.md"
MEASURED, STATIC, PLANNING = "docs/results.md", "docs/benchmarks/static_cameras.md", "docs/planning.md"
LONG = "docs/benchmarks/long_streams.md"
REDUCTION, VIDEOMAE = "docs/reduction.md", "docs/videomae.md"
REPORT, POSTER = "docs/report/report.tex", "docs/poster/poster.tex"
FRONT, PAPERS, TABLES = (README, INDEX), (REPORT, POSTER), (MEASURED, STATIC)
RATES, DENSE = ("docs/benchmarks/rates.md", REPORT), ("docs/benchmarks/dense_outputs.md", REPORT)
MODES = {"live": "causal", "ahead": "look_ahead", "clips": "bidirectional"}
"""What is compared with what: streams with methods that know no future, the others with all methods."""
KL = TARGETS[0]
"""Of the headlines."""
FEWER = SAVINGS[0]
"""Times fewer multiply-adds at which labels are compared."""


@dataclass(frozen=True)
class Claim:
    """
    A claim.

    Attributes:
        name: by which texts ask for it.
        files: where it stands, from the root of the repository.
        sentence: what is said, with `{figure}` and, where it is said, `{interval}`.
        figure: what the results give.
    """

    name: str
    files: tuple[str, ...]
    sentence: str
    figure: Callable[[Results], Figure]


ALSO: dict[str, tuple[str, ...]] = {
    "live-saving": FRONT,
    "live-rival": FRONT,
    "live-rival-name": (*FRONT, *PAPERS),
    "live-share": PAPERS,
    "live-rival-share": PAPERS,
    "live-quotient": PAPERS,
    "live-quotient-0.05": (REPORT,),
    "live-rival-name-0.05": (REPORT,),
    "live-median": (*FRONT, *PAPERS),
    "live-range": (*FRONT, *PAPERS),
    "live-worse": FRONT,
    "live-all-worse": (*FRONT, REPORT),
    "live-all-worst": (README, *PAPERS),
    "ahead-quotient": (REPORT,),
    "ahead-quotient-0.05": (REPORT,),
    "clips-saving": FRONT,
    "clips-rival": FRONT,
    "clips-rival-name": (*FRONT, REPORT),
    "clips-share": PAPERS,
    "clips-rival-share": PAPERS,
    "clips-quotient": (REPORT,),
    "clips-quotient-0.05": (REPORT,),
    "clips-rival-name-0.05": (REPORT,),
    "clips-median": (*FRONT, *PAPERS),
    "clips-range": (*FRONT, *PAPERS),
    "clips-worse": FRONT,
    "clips-all-worse": (*FRONT, REPORT),
    "clips-all-worst": (README, REPORT),
}
"""Where claims of `_against` stand beside `TABLES`."""


def _against(mode: str, target: float) -> Iterator[Claim]:
    """What is claimed of each mode against its best rival on real videos, at equal KL."""
    ours, end = MODES[mode], "" if target == KL else f"-{target:g}"
    kinds: dict[str, tuple[str, Callable[[Results], Figure]]] = {
        "saving": ("{figure} fewer multiply-adds ({interval})", partial(figures.saving, ours, target)),
        "share": ("{figure} ({interval})", partial(figures.share, ours, target)),
        "rival": ("{figure} ({interval})", partial(figures.rival, ours, target)),
        "rival-share": ("{figure} ({interval})", partial(figures.rival_share, ours, target)),
        "rival-name": ("{figure}", partial(figures.rival_name, ours, target)),
        "quotient": ("{figure} ({interval})", partial(figures.quotient, ours, target)),
    }
    for start, videos in (("", VIT), ("all-", ALL)):
        kinds |= {
            f"{start}median": ("{figure} ({interval})", partial(figures.middle, ours, target, videos)),
            f"{start}range": ("{figure}", partial(figures.extent, ours, target, videos)),
            f"{start}worse": ("{figure}", partial(figures.worse, ours, target, videos)),
            f"{start}worst": ("{figure}", partial(figures.worst, ours, target, videos)),
        }
    for kind, (sentence, figure) in kinds.items():
        name = f"{mode}-{kind}{end}"
        tables = (MEASURED,) if kind.endswith("worst") else () if kind.endswith("share") else TABLES
        if files := (*tables, *ALSO.get(name, ())):
            yield Claim(name, files, sentence, figure)


def _labels() -> Iterator[Claim]:
    """How many labels reuse and its rivals keep in streams, at equal KL and at equal multiply-adds."""
    sentence, ours = "{figure} ({interval})", MODES["live"]
    yield Claim("live-rival-labels", (REPORT,), sentence, partial(figures.rival_at_cost, ours, "agreement", KL))
    yield Claim(f"live-{FEWER}x-labels", (REPORT,), sentence, partial(figures.at_saving, ours, "agreement", FEWER))
    yield Claim(f"live-{FEWER}x-others", (REPORT,), "{figure}", partial(figures.labels_of_rivals, ours, FEWER))


AGAINST = tuple(claim for mode in MODES for target in TARGETS for claim in _against(mode, target))
MERGING = (
    *(f"and ToMe, r = {r} in each layer" for r in (1, 2, 4)),
    "and ToMe, r = 8 in the last half",
)
LABELS = "{figure} ({interval}) of the frames keep the dense model's label"
FLICKER = "labels change from one frame to the next in {figure} ({interval})"
CLAIMS: tuple[Claim, ...] = (
    *AGAINST,
    Claim("live-labels", (*FRONT, *PAPERS), LABELS, partial(figures.at_cost, "causal", "agreement", KL)),
    Claim("live-flicker", (*FRONT, *PAPERS), FLICKER, partial(figures.at_cost, "causal", "flicker", KL)),
    Claim("clips-labels", (*FRONT, REPORT), LABELS, partial(figures.at_cost, "bidirectional", "agreement", KL)),
    Claim("clips-flicker", (*FRONT, REPORT), FLICKER, partial(figures.at_cost, "bidirectional", "flicker", KL)),
    Claim("dense-flicker", (*FRONT, *PAPERS), "the dense model's in {figure} ({interval})", figures.dense_flicker),
    *_labels(),
    *(
        claim
        for name, ours in (("budget", "budget"), ("clips", "bidirectional"), ("live", "causal"))
        for claim in (
            Claim(f"skipping-nearer-{name}", (*RATES, POSTER), "{figure}", partial(figures.nearer_skipping, ours)),
            Claim(f"skipping-nearest-{name}", RATES, "{figure}", partial(figures.nearest_skipping, ours)),
        )
    ),
    *(
        Claim(
            f"dense-outputs-{fewer}x",
            DENSE,
            "{figure} ({interval})",
            partial(figures.dense_quotient, "budget", "own", fewer),
        )
        for fewer in SAVINGS
    ),
    Claim("dense-outputs-lost", DENSE, "{figure}", partial(figures.dense_lost, "budget")),
    Claim(
        "skipping",
        FRONT,
        "frame skipping with interpolated logits, which knows the future, {figure} ({interval})",
        partial(figures.other, "skip_interpolate", KL),
    ),
    Claim(
        "skipping-share-0.05",
        (PLANNING,),
        "Frame skipping with interpolated logits needs {figure} of the multiply-adds at a KL of 0.05.",
        partial(figures.other_share, "skip_interpolate", 0.05),
    ),
    Claim(
        "speed-clip",
        FRONT,
        "**{figure} faster** in clips",
        partial(figures.timed, "speed", "clip of 16 frames, 25% computed", "wall_clock_ratio", "{:.1f}x"),
    ),
    Claim(
        "speed-live",
        FRONT,
        "{figure} frame by frame",
        partial(figures.timed, "speed", "causal stream, frame by frame, 25% computed", "wall_clock_ratio", "{:.1f}x"),
    ),
    Claim(
        "speed-changing",
        FRONT,
        "there it runs {figure} as fast as the dense model",
        partial(
            figures.timed,
            "speed",
            "clip of 16 frames, everything changes, default settings",
            "wall_clock_ratio",
            "{:.1f}x",
        ),
    ),
    Claim("replay-clips", (*FRONT, *PAPERS), "{figure} ({interval})", partial(figures.replayed, "bidirectional")),
    Claim("replay-causal", (*FRONT, REPORT), "{figure} ({interval})", partial(figures.replayed, "causal")),
    Claim("motion-dense", FRONT, "dense {figure} ({interval})", figures.motions_dense),
    *(
        Claim(f"motion-{fewer}{end}", FRONT, sentence, partial(figures.motions, fewer, who))
        for fewer in (2, 3)
        for end, sentence, who in (
            ("", "{figure} ({interval})", "reuse"),
            ("-rival", "{figure} ({interval})", "rival"),
            ("-rival-name", "{figure}", "name"),
        )
    ),
    Claim(
        "motion-random-drop",
        (VIDEOMAE,),
        "Random drop loses {figure} times as much accuracy on motions as reuse.",
        partial(figures.lost, "random drop"),
    ),
    Claim(
        "interpolating-static",
        (PLANNING,),
        "On four videos held frames have {figure} times the divergence of interpolated ones, from gap to gap.",
        partial(figures.held_over_interpolated, True),
    ),
    Claim(
        "interpolating-others",
        (PLANNING,),
        "On eight others held frames have {figure} times the divergence of interpolated ones.",
        partial(figures.held_over_interpolated, False),
    ),
    Claim(
        "holding",
        (PLANNING,),
        "Holding, with corners chosen for it, has {figure} times the divergence of interpolating.",
        partial(figures.relative, "held, corners chosen for holding"),
    ),
    *(
        Claim(
            f"merging-{name}",
            (REDUCTION,),
            f"Light merging beside reuse at 8x takes {{figure}} off its divergence on {name}.",
            partial(figures.beside, MERGING, 8.0, group),
        )
        for group, name in enumerate(("four-videos", "eight-others"))
    ),
    Claim(
        "across-frames",
        (REDUCTION,),
        "The divergence of merging across frames is {figure} times that of reuse.",
        partial(figures.nearer, "across_frames", "merged", ("bidirectional", "vidtome"), LIGHT_SAVINGS),
    ),
    Claim("long-cuts", (LONG,), "{figure} cuts are caught", figures.caught),
    Claim("long-behind-cuts", (LONG,), "KL differs by {figure} at most", figures.behind_cuts),
    Claim("long-drift", (LONG,), "KL changes by {figure} at most", figures.drifted),
    Claim("long-minutes", (LONG,), "{figure} of video", figures.looped_minutes),
    *(
        Claim(f"long-{value}-{change.replace(' ', '-')}", (LONG,), "{figure}", partial(figures.lit, change, value))
        for change, value in (
            ("dark start", "kl"),
            ("grey start", "share"),
            ("lamp", "kl"),
            ("exposure", "kl"),
            ("mains", "share"),
            ("noise", "share"),
        )
    ),
    Claim(
        "reduction-realised",
        (REDUCTION,),
        "On models of the base size {figure} of the savings of reduction arrive.",
        partial(figures.realised, False),
    ),
    Claim(
        "reduction-realised-reuse",
        (REDUCTION,),
        "Of reuse with ToMe {figure} of the savings arrive.",
        partial(figures.realised, True),
    ),
)
BY_NAME = {claim.name: claim for claim in CLAIMS}
NOT_OURS = ("docs/related_work.md", "docs/planning.md", "docs/choosing_a_threshold.md")
"""Documents with figures of other authors, of trials on the way, and of examples."""
NO_PROSE = re.compile(
    r"<!-- (results|models): .*?<!-- /\1 -->|<!-- claim: .*?<!-- /claim -->|```.*?```|`[^`\n]*`|\]\([^)]*\)", re.DOTALL
)
BY_HAND = re.compile(r"(?<![\d.])\d+(?:\.\d+)?(?: ?%|x\b(?! \d))|\bKL (?:of )?0\.\d+")
QUOTED = re.compile(r"<!-- claim: ([\w.-]+) -->(.*?)<!-- /claim -->", re.DOTALL)
ASKED = re.compile(r"\\(?:claim|interval)\{([^{}#]+)\}")


@lru_cache(maxsize=1024)
def figure_of(results: Results, claim: Claim) -> Figure:
    """The figure of a claim, worked out once."""
    return claim.figure(results)


def say(results: Results, name: str) -> str:
    """
    A claim, as generated blocks say it.

    Raises:
        ResultError: if its cells are not there.
    """
    figure = figure_of(results, BY_NAME[name])
    return BY_NAME[name].sentence.format(figure=figure.text, interval=figure.interval)


def documents(root: Path) -> list[Path]:
    """The documents in Markdown that show results."""
    found = (root / "README.md", *sorted((root / "docs").rglob("*.md")))
    return [path for path in found if path.exists()]


def quote(results: Results, text: str) -> str:
    """A document with the claims that it quotes; what is not known, or not measured, stays."""

    def figure(match: re.Match[str]) -> str:
        name, before = match.groups()
        try:
            return f"<!-- claim: {name} -->{figure_of(results, BY_NAME[name]).text}<!-- /claim -->"
        except (KeyError, ResultError):
            return match.group(0)

    return QUOTED.sub(figure, text)


def check(results: Results, root: Path) -> list[str]:
    """
    Where a text and the results differ: claims that do not stand where they are declared to, or stand elsewhere,
    quotations of another figure, and figures in prose that no claim is behind.

    Args:
        results, root: the measured, and where the documents lie.

    Returns:
        A sentence for each such place.
    """
    papers = [path for path in (root / REPORT, root / POSTER) if path.exists()]
    texts = {path.relative_to(root).as_posix(): path.read_text() for path in (*documents(root), *papers)}
    places = []
    for claim in CLAIMS:
        try:
            figure = figure_of(results, claim)
        except ResultError as error:
            places.append(f"{claim.name}: {error}")
            continue
        sentence = claim.sentence.format(figure=figure.text, interval=figure.interval)
        for file in claim.files:
            text = texts.get(file, "")
            asked = claim.name in ASKED.findall(text) or claim.name in dict(QUOTED.findall(text))
            if not asked and sentence not in text:
                places.append(f"{file}: {claim.name} does not stand there as {sentence!r}")
            places += [
                f"{file}: {claim.name} is quoted as {quoted!r}, and is {figure.text!r}"
                for name, quoted in QUOTED.findall(text)
                if name == claim.name and quoted != figure.text
            ]
    for file, text in texts.items():
        if file.endswith(".md") and file not in NOT_OURS:
            found = [figure.strip() for figure in BY_HAND.findall(NO_PROSE.sub("", text))]
            places += [f"{file}: {figure} is quoted without a claim" for figure in found if figure != "95 %"]
        for name in dict.fromkeys([*dict(QUOTED.findall(text)), *ASKED.findall(text)]):
            if name not in BY_NAME:
                places.append(f"{file}: there is no claim {name}")
            elif file not in BY_NAME[name].files:
                places.append(f"{file}: {name} is not declared to stand there")
    return places
