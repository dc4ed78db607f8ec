"""What befalls the cameras of a long run, and when: drawn once, from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal


SLACK = 2.0
"""Seconds in which a state may be told, beyond those in which enough results can agree on it."""


@dataclass(frozen=True)
class Watched:
    """
    How a camera is watched.

    Attributes:
        agree: results in a row that must have the same label.
        fps: pictures a second that are looked at.
    """

    agree: int = 3
    fps: float = 5.0

    @property
    def need(self) -> float:
        """Seconds for which a label must be seen that has to be told."""
        return self.agree / self.fps + SLACK


@dataclass(frozen=True)
class Pace:
    """
    How often things happen, all in seconds but for the shares of the run.

    Attributes:
        change, shortest: between two changes of what a camera shows, in the mean and at least.
        stall, stall_lasts: between two stalls of a camera in the mean, and how long one lasts.
        breaking, breaking_lasts: between two broken connections in the mean, and how long none is accepted.
        reload: from one change of the settings to the next.
        recovery: within which a camera has to be seen again, however it was lost.
        receiver_goes, receiver_away: when the receiver goes, as a share of the run, and for how long.
        service_dies, service_away: the same for the service, which is killed.
        settle: after that the settings stay as they are.
        sample: from one look at memory, descriptors and metrics to the next.
    """

    change: float = 40.0
    shortest: float = 5.0
    stall: float = 300.0
    stall_lasts: tuple[float, float] = (4.0, 20.0)
    breaking: float = 420.0
    breaking_lasts: tuple[float, float] = (0.0, 5.0)
    reload: float = 600.0
    recovery: float = 15.0
    receiver_goes: float = 0.5
    receiver_away: float = 60.0
    service_dies: float = 0.1
    service_away: float = 20.0
    settle: float = 60.0
    sample: float = 10.0


QUICK = Pace(
    change=7.0,
    stall=60.0,
    stall_lasts=(1.0, 4.0),
    breaking=80.0,
    breaking_lasts=(0.0, 1.0),
    reload=7.0,
    recovery=4.0,
    receiver_goes=0.4,
    receiver_away=2.0,
    service_dies=0.7,
    service_away=1.0,
    settle=10.0,
    sample=1.0,
)
"""Everything once or twice, within half a minute."""

Kind = Literal[
    "show", "stall", "flow", "break", "accept", "reload", "receiver goes", "receiver comes", "kill", "start"
]


@dataclass(frozen=True)
class Act:
    """
    Something that happens.

    Attributes:
        at: seconds from the beginning.
        kind: what.
        camera: to which one, if to one.
        value: the label that it shows; of `"reload"` all cameras with how they are watched.
    """

    at: float
    kind: Kind
    camera: str = ""
    value: Any = None


def make_plan(seconds: float, pace: Pace, cameras: Sequence[str], labels: Sequence[str], seed: int) -> list[Act]:
    """
    All that happens in a run, in order.

    Args:
        seconds, pace: how long it is, and how often things happen.
        cameras: names; the last one comes and goes with the settings, and is not there in the beginning.
        labels: what cameras show; one after another, never the same twice in a row. The first act of each camera,
            at 0, says what it begins with.
        seed: of all that is drawn.
    """
    acts: list[Act] = []
    for number, camera in enumerate(cameras):
        acts += _changes(seconds, pace, camera, labels, Random(f"{seed} changes {number}"))
        acts += _interruptions(seconds, pace, camera, Random(f"{seed} interruptions {number}"))
    receiver, service = pace.receiver_goes * seconds, pace.service_dies * seconds
    acts += [Act(receiver, "receiver goes"), Act(receiver + pace.receiver_away, "receiver comes")]
    acts += [Act(service, "kill"), Act(service + pace.service_away, "start")]
    acts += _reloads(seconds, pace, cameras, Random(f"{seed} settings"))
    return sorted(acts, key=lambda act: act.at)


def _changes(seconds: float, pace: Pace, camera: str, labels: Sequence[str], random: Random) -> Iterator[Act]:
    label, at = random.choice(labels), 0.0
    while at < seconds:
        yield Act(at, "show", camera, label)
        label = random.choice([other for other in labels if other != label])
        at += pace.shortest + random.expovariate(1 / (pace.change - pace.shortest))


def _interruptions(seconds: float, pace: Pace, camera: str, random: Random) -> Iterator[Act]:
    """Stalls and broken connections, never two at once."""
    drawn = []
    kinds: tuple[tuple[Kind, Kind, float, tuple[float, float]], ...] = (
        ("stall", "flow", pace.stall, pace.stall_lasts),
        ("break", "accept", pace.breaking, pace.breaking_lasts),
    )
    for kind, end, mean, lasts in kinds:
        at = random.expovariate(1 / mean)
        while at < seconds:
            drawn.append((at, at + random.uniform(*lasts), kind, end))
            at += random.expovariate(1 / mean)
    free = 0.0
    for at, until, kind, end in sorted(drawn):
        if at > free and until < seconds:
            yield Act(at, kind, camera)
            yield Act(until, end, camera)
            free = until + 1.0


def _reloads(seconds: float, pace: Pace, cameras: Sequence[str], random: Random) -> Iterator[Act]:
    """The last camera comes and goes, and each time another one is watched in another way."""
    *always, guest = cameras
    watched = dict.fromkeys(always, Watched())
    dies, back = pace.service_dies * seconds, pace.service_dies * seconds + pace.service_away + pace.settle
    at = pace.reload
    while at < seconds:
        # A service that has only begun to start would die of the signal.
        if not dies - pace.sample <= at < back:
            camera = random.choice(always)
            ways = [replace(watched[camera], agree=agree) for agree in (2, 3, 4)]
            ways += [replace(watched[camera], fps=fps) for fps in (4.0, 5.0)]
            watched = watched | {camera: random.choice([way for way in ways if way != watched[camera]])}
            watched = {name: watched[name] for name in always} | ({} if guest in watched else {guest: Watched()})
            yield Act(at, "reload", value=watched)
        at += pace.reload
