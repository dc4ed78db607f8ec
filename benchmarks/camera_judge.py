"""What a service told of its cameras, held against what they showed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_ttr.streaming.control import percentile


LATE = 6.0
"""Seconds after which a picture may still arrive: while a stream is opened, the first ones wait."""
EARLY = 0.01
"""Seconds that a clock which is read in milliseconds may be behind."""


@dataclass(frozen=True)
class Showing:
    """A camera showed a label, from one moment to another."""

    label: str
    begin: float
    end: float


@dataclass(frozen=True)
class Flow:
    """Pictures of a camera could be seen without a break; a label has to be told that is there for `need` seconds."""

    begin: float
    end: float
    need: float


@dataclass(frozen=True)
class Told:
    """
    A change that the receiver heard of.

    Attributes:
        id: of the change.
        label: the new state.
        start: when the first picture of it arrived at the service.
        arrived: when the receiver heard of it.
    """

    id: str
    label: str
    start: float
    arrived: float


@dataclass
class Judged:
    """
    What became of the changes of all cameras.

    Attributes:
        planted: changes of what was shown.
        due: those among them that had to be told.
        told: different changes that were.
        missed, made_up: sentences on changes that were not told, and on such as there were none.
        twice: how often one was told again.
        delays: seconds from a change to its arrival, where nothing was interrupted.
    """

    planted: int = 0
    due: int = 0
    told: int = 0
    missed: list[str] = field(default_factory=list)
    made_up: list[str] = field(default_factory=list)
    twice: int = 0
    delays: list[float] = field(default_factory=list)


def judge(
    shown: Mapping[str, Sequence[Showing]],
    flows: Mapping[str, Sequence[Flow]],
    told: Mapping[str, Iterable[Told]],
    deaf: Sequence[tuple[float, float]] = (),
) -> Judged:
    """
    Compares planted changes with those that were told, by camera.

    A change is due if its label is another than the last one that was told of that camera, and was there for longer
    than needed while pictures flowed. One is made up if its first picture arrived when its label was not shown, or if
    it was told of the same showing before.

    Args:
        shown, flows, told: by camera; the first two in order, without overlaps.
        deaf: times in which the receiver could not hear, which say nothing on delays.
    """
    found = Judged()
    for camera, showings in shown.items():
        first: dict[str, Told] = {}
        for one in told.get(camera, ()):
            found.twice += one.id in first
            first.setdefault(one.id, one)
        found.told += len(first)
        of_showing = _matched(camera, showings, sorted(first.values(), key=lambda one: one.start), found)
        state: str | None = None
        for number, showing in enumerate(showings):
            found.planted += 1
            seen = [flow for flow in flows[camera] if _overlap(showing, flow) > flow.need]
            is_due = bool(seen) and showing.label != state
            found.due += is_due
            if number in of_showing:
                state = showing.label
                found.delays += _delay(showing, of_showing[number], flows[camera], deaf)
            elif is_due:
                found.missed.append(f"{camera} was '{showing.label}' from {showing.begin:.1f} to {showing.end:.1f} s")
    return found


def _matched(camera: str, showings: Sequence[Showing], told: Iterable[Told], found: Judged) -> dict[int, Told]:
    """Which change was told of which showing, by its number."""
    of_showing: dict[int, Told] = {}
    for one in told:
        numbers = [
            number
            for number, showing in enumerate(showings)
            if showing.label == one.label
            and showing.begin - EARLY <= one.start <= showing.end + LATE
            and number not in of_showing
        ]
        if numbers:
            of_showing[numbers[-1]] = one
        else:
            found.made_up.append(f"{one.id} of {camera} says '{one.label}' at {one.start:.1f} s")
    return of_showing


def _overlap(showing: Showing, flow: Flow) -> float:
    return min(showing.end, flow.end) - max(showing.begin, flow.begin)


def _delay(showing: Showing, told: Told, flows: Sequence[Flow], deaf: Sequence[tuple[float, float]]) -> list[float]:
    flowed = any(flow.begin <= showing.begin and showing.begin + flow.need <= flow.end for flow in flows)
    heard = all(told.arrived < begin or showing.begin > end for begin, end in deaf)
    return [told.arrived - showing.begin] if flowed and heard else []


def flows_of(
    begin: float, end: float, breaks: Iterable[tuple[float, float]], needs: Sequence[tuple[float, float]]
) -> list[Flow]:
    """
    When pictures of a camera could be seen.

    Args:
        begin, end: of the run.
        breaks: when they could not, in any order.
        needs: how long a label has to be seen, each with the time from which on that holds; a change of it is a break.
    """
    found, at = [], begin
    for start, stop in [*sorted(breaks), (end, end)]:
        if start > at and at < end:
            need = [seconds for since, seconds in needs if since <= at][-1]
            found.append(Flow(at, min(start, end), need))
        at = max(at, stop)
    return found


def percentiles(values: Sequence[float]) -> dict[str, Any]:
    """The median and what 95 and 99 of 100 are below; `None` of nothing."""
    return {f"p{share}": percentile(values, share) if values else None for share in (50, 95, 99)}
