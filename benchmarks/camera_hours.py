"""
Hours of `hf-ttr watch`: whether it tells of every change that was planted and of no other, whatever befalls it.

Cameras of this machine stall, break off and come back, settings change, the receiver of events goes away for a while,
and the service is killed and started again. What it took and what it told is held against what was shown.
"""

from __future__ import annotations

import sched
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from .camera_judge import Flow, Judged, Showing, Told, flows_of, judge, percentiles
from .camera_plan import QUICK, SLACK, Act, Pace, Watched, make_plan
from .camera_scenes import BACKGROUNDS, LABELS, Loops, make_loops
from .camera_servers import FPS, Camera, MjpegCamera, Receiver, RtspCamera
from .camera_service import Sample, Service, Totals, gauges, longest_life, quantile
from .common import ROOT
from .rtsp_server import has_gstreamer
from .runner import Cell, Part
from .table import Block, Table


MINUTES, QUICK_MINUTES = 120.0, 0.5
CAMERAS, RTSP = 8, 2
"""Cameras, and how many of them send H.264 over RTSP, where GStreamer is installed."""
GUEST = f"camera-{CAMERAS}"
"""One more, which comes and goes with the settings."""
NAMES = tuple(f"camera-{number}" for number in range(CAMERAS))
SEED = 7
MODEL = "example:vit-demo"
LOG = ROOT / "build" / "camera_hours.log"
"""What the service said, of the last run."""
BACKOFF = 60.0
"""Seconds after which a receiver that is back is tried at the latest."""
BEGIN_LIMIT, END_LIMIT = 180.0, 90.0
"""Seconds until all cameras have a state, and until the last events are told."""
MOST_FAULTS = 20
"""Sentences on what was missed or made up that are kept."""


def cells(quick: bool) -> Iterable[Cell]:
    """One run."""
    minutes, pace = (QUICK_MINUTES, QUICK) if quick else (MINUTES, Pace())
    settings = {"minutes": minutes, "cameras": CAMERAS, "seed": SEED, "pace": asdict(pace)}
    return [Cell(f"{minutes:g} minutes", partial(measure, minutes, pace), settings)]


def measure(minutes: float, pace: Pace, seed: int = SEED) -> dict[str, Any]:
    """Runs the service for so many minutes; what it took, and what it told."""
    with ExitStack() as stack:
        stack.enter_context(_ended_by_signals())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hf-ttr-hours-")))
        run = stack.enter_context(_run(folder, minutes * 60, pace, seed))
        run.begin()
        run.play()
        return run.end()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends the run like Ctrl-C: no process is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *received: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass
class Past:
    """
    What befell a camera.

    Attributes:
        shown: labels, each with the time from which on they were shown.
        lost: from when to when its pictures could not be expected to be seen.
        needs: seconds for which a label has to be seen, each with the time from which on that holds.
    """

    shown: list[tuple[float, str]] = field(default_factory=list)
    lost: list[tuple[float, float]] = field(default_factory=list)
    needs: list[tuple[float, float]] = field(default_factory=list)
    _open: dict[str, float] = field(default_factory=dict)

    def lose(self, why: str, at: float) -> None:
        """Its pictures cannot be seen from now on."""
        self._open[why] = at

    def find(self, why: str, at: float) -> None:
        """For that reason, they can be seen from then on."""
        self.lost.append((self._open.pop(why), at))

    def flows(self, begin: float, end: float) -> list[Flow]:
        """When its pictures could be seen."""
        return flows_of(begin, end, [*self.lost, *((at, end) for at in self._open.values())], self.needs)

    def showings(self, end: float) -> list[Showing]:
        """What was shown, until the end."""
        ends = [*(at for at, _ in self.shown[1:]), end]
        return [Showing(label, begin, until) for (begin, label), until in zip(self.shown, ends) if until > begin]


class Run:
    """
    One run, from the first camera to the last event.

    Args:
        cameras, receiver, service: what there is, running but for the service.
        plan: all that happens.
        seconds, pace: how long it lasts, and how fast things happen.
    """

    def __init__(
        self,
        cameras: Mapping[str, Camera],
        receiver: Receiver,
        service: Service,
        plan: list[Act],
        seconds: float,
        pace: Pace,
    ) -> None:
        self._cameras, self._receiver, self._service = cameras, receiver, service
        self._plan, self._seconds, self._pace = plan, seconds, pace
        self._watched: dict[str, Watched] = dict.fromkeys(NAMES, Watched())
        self._past = {name: Past() for name in cameras}
        self._happened: Counter[str] = Counter()
        self._samples: list[Sample] = []
        self._computed: list[float] = []
        self._totals = Totals()
        self._deaf: list[tuple[float, float]] = []
        self._began = self._ended = 0.0
        self._scheduler = sched.scheduler(time.time, time.sleep)

    def begin(self) -> None:
        """Starts the service, and waits until it has told of each camera."""
        now = time.time()
        for act in self._plan:
            if act.kind == "show" and act.at == 0:
                self._past[act.camera].shown.append((now, act.value))
        self._service.write(self._settings())
        self._service.start()
        self._wait_for(lambda: {one["camera"] for _, one in self._heard()} >= {*NAMES}, BEGIN_LIMIT, "see all cameras")

    def play(self) -> None:
        """Lets everything happen that is planned."""
        self._began = time.time()
        self._totals.take(self._service.scrape(), counts=False)
        for name, past in self._past.items():
            past.needs.append((self._began, self._watched.get(name, Watched()).need))
        self._past[GUEST].lose("settings", self._began)
        for act in self._plan:
            if act.at > 0:
                self._scheduler.enterabs(self._began + act.at, 1, self._act, (act,))
        self._scheduler.enterabs(self._began, 2, self._sample)
        self._scheduler.enterabs(self._began + self._seconds, 0, self._stop_playing)
        self._scheduler.run()

    def _stop_playing(self) -> None:
        self._ended = time.time()
        for event in self._scheduler.queue:
            self._scheduler.cancel(event)

    def end(self) -> dict[str, Any]:
        """Waits for the last events and stops the service; what was found."""
        self._wait_for(
            lambda: (found := self._service.scrape()) and not sum(gauges(found, "hf_ttr_events_waiting")),
            END_LIMIT,
            "tell of all events",
        )
        self._look()
        code = self._service.stop()
        return self._found(code)

    def _wait_for(self, holds: Callable[[], Any], limit_s: float, what: str) -> None:
        end = time.monotonic() + limit_s
        while not holds():
            self._service.look_alive()
            if time.monotonic() > end:
                raise RuntimeError(f"the service did not {what} within {limit_s:g} s; its log is {LOG}")
            time.sleep(0.1)

    def _heard(self) -> list[tuple[float, dict[str, Any]]]:
        return list(self._receiver.heard)

    def _settings(self) -> dict[str, Any]:
        return {
            name: {
                "source": self._cameras[name].source,
                "fps": watched.fps,
                "states": {"agree": watched.agree},
                "webhook": {"url": self._receiver.url},
            }
            for name, watched in self._watched.items()
        }

    # What happens.

    def _act(self, act: Act) -> None:
        now = time.time()
        self._happened[act.kind] += 1
        camera, past = self._cameras.get(act.camera), self._past.get(act.camera)
        if camera is not None and past is not None:
            self._act_on(camera, past, act, now)
        elif act.kind == "reload":
            self._reload(act.value, now)
        elif act.kind == "receiver goes":
            self._receiver.close()
            self._deaf.append((now, float("inf")))
        elif act.kind == "receiver comes":
            self._receiver.start()
            self._deaf[-1] = self._deaf[-1][0], now + BACKOFF
        elif act.kind == "kill":
            self._look()
            for every in self._past.values():
                every.lose("service", now)
            self._service.kill()
            self._totals.begin_anew()
        elif act.kind == "start":
            self._service.start()
            self._scheduler.enter(0.5, 3, self._look_whether_it_is_back)

    def _act_on(self, camera: Camera, past: Past, act: Act, now: float) -> None:
        if act.kind == "show":
            past.shown.append((now, act.value))
            camera.show(act.value)
        elif act.kind in ("stall", "break"):
            past.lose("camera", now)
            (camera.stall if act.kind == "stall" else camera.break_off)()
        else:
            (camera.flow if act.kind == "flow" else camera.accept)()
            past.find("camera", time.time() + self._pace.recovery)

    def _reload(self, watched: dict[str, Watched], now: float) -> None:
        self._look()
        before, self._watched = self._watched, watched
        self._service.write(self._settings())
        self._service.reload()
        for name in {*before, *watched}:
            if before.get(name) != watched.get(name):
                self._change(self._past[name], watched.get(name), name in before, now)

    def _change(self, past: Past, watched: Watched | None, was_there: bool, now: float) -> None:
        if was_there:
            past.lose("settings", now)
        if watched is not None:
            past.find("settings", now + self._pace.recovery)
            past.needs.append((now, watched.need))

    def _look_whether_it_is_back(self) -> None:
        self._service.look_alive()
        if any(gauges(self._service.scrape(), "hf_ttr_camera_up")):
            for past in self._past.values():
                past.find("service", time.time() + self._pace.recovery)
        else:
            self._scheduler.enter(0.5, 3, self._look_whether_it_is_back)

    def _sample(self) -> None:
        self._look()
        self._scheduler.enter(self._pace.sample, 2, self._sample)

    def _look(self) -> None:
        """Takes memory, descriptors and metrics."""
        self._service.look_alive()
        if (sample := self._service.sample()) is not None:
            self._samples.append(sample)
        scraped = self._service.scrape()
        self._totals.take(scraped)
        self._computed += gauges(scraped, "hf_ttr_computed_share")

    # What was found.

    def _found(self, code: int) -> dict[str, Any]:
        judged = self._judged()
        life = longest_life(self._samples)
        spent = (life[-1].core_s - life[0].core_s) / (life[-1].at - life[0].at)
        at = {
            "after_a_tenth": life[len(life) // 10],
            "at_half": life[len(life) // 2],
            "at_the_end": life[-1],
        }
        total = self._totals.total
        return {
            "cameras": CAMERAS,
            "rtsp": sum(isinstance(camera, RtspCamera) for camera in self._cameras.values()),
            **{name: self._happened[kind] for name, kind in COUNTED.items()},
            "exit_code": code,
            "error_lines": len(self._service.complaints),
            "planted": judged.planted,
            "due": judged.due,
            "told": judged.told,
            "missed": len(judged.missed),
            "made_up": len(judged.made_up),
            "twice": judged.twice,
            "faults": [*judged.missed, *judged.made_up][:MOST_FAULTS],
            "delay_s": {"changes": len(judged.delays), **percentiles(judged.delays)},
            "latency_s": {f"p{share}": quantile(self._totals.buckets, share / 100) for share in (50, 95, 99)},
            "classified": total("hf_ttr_frames_classified_total"),
            "dropped": total("hf_ttr_frames_dropped_total"),
            "reconnections": total("hf_ttr_reconnections_total"),
            "tokens_computed": sum(self._computed) / max(len(self._computed), 1),
            "resident_mib": {**{name: one.mib for name, one in at.items()}, "largest": max(one.mib for one in life)},
            "files": {**{name: one.files for name, one in at.items()}, "largest": max(one.files for one in life)},
            "core_share": spent * len(life) / sum(one.cameras for one in life),
        }

    def _judged(self) -> Judged:
        """What was told, held against what was shown."""
        heard: dict[str, list[Told]] = {name: [] for name in self._past}
        for at, content in self._heard():
            start = datetime.fromisoformat(content["start"]).timestamp()
            heard[content["camera"]].append(Told(content["id"], content["label"], start, at))
        return judge(
            {name: past.showings(self._ended) for name, past in self._past.items()},
            {name: past.flows(self._began, self._ended) for name, past in self._past.items()},
            heard,
            self._deaf,
        )


COUNTED = {"stalls": "stall", "breaks": "break", "reloads": "reload", "kills": "kill"}
"""What happened how often, by its name in the results."""


@contextmanager
def _run(folder: Path, seconds: float, pace: Pace, seed: int) -> Iterator[Run]:
    """A run with its cameras, all of which end with it."""
    names = [*NAMES, GUEST]
    plan = make_plan(seconds, pace, names, LABELS, seed)
    first = {act.camera: act.value for act in plan if act.kind == "show" and act.at == 0}
    backgrounds: dict[str, Loops] = {name: make_loops(name) for name in BACKGROUNDS}
    rtsp = NAMES[-RTSP:] if has_gstreamer() else ()
    with ExitStack() as stack:
        cameras: dict[str, Camera] = {}
        for number, name in enumerate(names):
            loops = backgrounds[BACKGROUNDS[number % len(BACKGROUNDS)]]
            if name in rtsp:
                own = folder / name
                own.mkdir()
                cameras[name] = RtspCamera(loops, first[name], own)
            else:
                cameras[name] = MjpegCamera(loops, first[name])
            stack.callback(cameras[name].close)
        receiver = Receiver()
        stack.callback(receiver.close)
        service = Service(folder, LOG, {"model": MODEL})
        stack.callback(service.kill)
        yield Run(cameras, receiver, service, plan, seconds, pace)


def table(result: dict[str, Any]) -> Block:
    """What the run told, and what it took."""
    (row,) = result["rows"]
    memory, files = row["resident_mib"], row["files"]
    rows = [
        ("changes planted, and of them such that had to be told", f"{row['planted']:,}, {row['due']:,}"),
        ("missed, made up, told twice", f"{row['missed']}, {row['made_up']}, {row['twice']}"),
        ("from change to receiver", _percentiles(row["delay_s"], 1, "s")),
        ("from picture to result", _percentiles(row["latency_s"], 1000, "ms")),
        ("pictures classified, dropped", f"{row['classified']:,.0f}, {row['dropped']:,.0f}"),
        ("tokens computed", f"{row['tokens_computed']:.0%}"),
        ("connections found again", f"{row['reconnections']:,.0f}"),
        ("memory in MiB", _course(memory)),
        ("open files", _course(files)),
        ("of a core for a camera", f"{row['core_share']:.1%}"),
    ]
    return [
        f"{row['key'][0]} of `hf-ttr watch` with {row['cameras']} cameras, {row['rtsp']} of them H.264 over RTSP and "
        f"the others JPEG over HTTP, {FPS} pictures a second, of which about half are looked at by `{MODEL}`. "
        f"Meanwhile {row['stalls']} stalls and {row['breaks']} broken connections, {row['reloads']} readings of "
        "changed settings, a receiver of events that was away for a while, and a service that was killed and started "
        "again. A change had to be told if its label was there for longer than the results that must agree and "
        f"{SLACK:g} s, while nothing was interrupted.",
        Table(("what", "how much"), rows),
    ]


def _percentiles(values: dict[str, Any], factor: float, unit: str) -> str:
    found = [values[name] for name in ("p50", "p95", "p99")]
    if None in found:
        return "-"
    shown = ", ".join(f"{factor * value:,.{0 if unit == 'ms' else 2}f}" for value in found)
    return f"{shown} {unit} (median, 95 %, 99 %)"


def _course(values: dict[str, float]) -> str:
    named = {"after_a_tenth": "after a tenth", "at_half": "at half", "at_the_end": "at the end", "largest": "at most"}
    return ", ".join(f"{values[name]:,.0f} {what}" for name, what in named.items())


PART = Part("cameras", "camera_hours", cells, lambda quick: {"model": MODEL})
