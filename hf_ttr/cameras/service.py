"""The service: cameras through one model, and word of what changes to those who wait for it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..caching.snapshot import SnapshotError
from ..display import shown
from ..machine import give_back_memory, loaded_for_good
from ..streaming import StreamEngine, StreamResult, StreamStatistics, VideoStreams
from ..streaming.base import label, reason_of
from ..streaming.snapshot_folder import SnapshotFolder
from ..streaming.states import FAILED, LIVE, READING, StreamState
from .changes import changed
from .events import StateChange
from .loading import load_engine
from .metrics import Metrics
from .pictures import jpeg_of
from .receivers import Receivers
from .states import StateTracker
from .status_server import StatusServer
from .store import Store, StoreError
from .watched import WatchedCamera


if TYPE_CHECKING:
    from .settings import CameraSettings, ServiceSettings


logger = logging.getLogger(__name__)

SNAPSHOTS = "snapshots"
"""Folder, in that of the data, for what the streams go on from."""

CAPACITY = 2
"""Frames of a live camera that wait: more of them would only be older."""

AVAILABLE = (LIVE, READING)
"""States of a stream in which its camera is there."""

TELL_EVERY = 1.0
"""Seconds between two looks at the counts of cameras."""


class CameraService:
    """
    Watches cameras until it is stopped, or all of them have ended, which only files do.

    A camera that cannot be reached is looked for; the others go on. However the process ends, another one on the same
    data folder goes on: each change that a run without an end would have told of is told at least once, and no other.

    Args:
        settings (`ServiceSettings`): which cameras, which model, and who hears of changes.
        engine (`StreamEngine`, *optional*): with the model, where it is loaded already.

    Example:

    ```python
    >>> import tempfile
    >>> import hf_ttr
    >>> from hf_ttr.cameras.service import CameraService
    >>> from hf_ttr.cameras.settings import ServiceSettings

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     door = {"source": hf_ttr.example("demo.mp4")}
    ...     model = hf_ttr.example("vit-demo")
    ...     settings = ServiceSettings(model=model, data=folder, cameras={"door": door})
    ...     service = CameraService(settings)
    ...     service.run()
    ...     print(service.states)
    {'door': 'space shuttle'}
    ```
    """

    def __init__(self, settings: ServiceSettings, engine: StreamEngine | None = None) -> None:
        self.settings = settings
        self._engine = engine
        self._streams: VideoStreams | None = None
        self._cameras: dict[str, WatchedCamera] = {}
        self._states: dict[str, StreamState] = {}
        self._taken: dict[str, tuple[float, int]] = {}
        self._stopping = threading.Event()
        self._changing = threading.Lock()
        # Settings that came before there were streams to change.
        self._later: ServiceSettings | None = None

    @property
    def states(self) -> dict[str, str | None]:
        """The state of each camera, or of each of its zones, by `camera/zone`; any thread may ask."""
        return {tracker.place: tracker.label for tracker in self._trackers}

    @property
    def _trackers(self) -> list[StateTracker]:
        """Of all cameras."""
        return [tracker for camera in list(self._cameras.values()) for tracker in camera.trackers.values()]

    def run(self) -> None:
        """
        Watches the cameras.

        Raises:
            CheckpointError: if the model cannot be used; one sentence.
            ImportError: if a package is missing; one sentence.
            OSError: if the data folder cannot be used, or the port of the metrics is taken; one sentence.
            SnapshotError: if what is in the data folder is damaged; one sentence.
            SourceError: if no camera can be opened, or all have ended with a fault.
            ValueError: if model, labels and options do not fit; one sentence.
        """
        with ExitStack() as stack:
            self._store = stack.enter_context(Store(self.settings.data))
            self._metrics = Metrics(self._store.counts)
            if self.settings.metrics is not None:
                host, port = self.settings.metrics.host, self.settings.metrics.port
                server = StatusServer(self._metrics, self._heartbeat, self._missing, host, port)
                stack.enter_context(server)
                logger.info(f"Metrics are at http://{shown(host)}:{server.port}/metrics.")
            if self._engine is None:
                self._engine = load_engine(self.settings)
                stack.enter_context(loaded_for_good())
            self._cameras = self._watched(self.settings.cameras)
            labels = tuple(self._engine.model.config.id2label.values())
            self._receivers = stack.enter_context(Receivers(self._store, self.settings.mqtt, labels))
            streams = stack.enter_context(self._begin(self._engine))
            streams.on_state, streams.on_snapshot = self._tell_state, self._keep
            with self._changing:
                self._streams = streams
                if self._later is not None:
                    streams.call(partial(self._apply, self._later))
            self._receivers.set_cameras(self._cameras)
            if self._stopping.is_set():
                streams.stop()
            numbers = threading.Thread(target=self._tell_numbers, name="numbers of cameras", daemon=True)
            numbers.start()
            try:
                for result in streams:
                    self._take(result)
            finally:
                self._stopping.set()
                # Behind what was taken there is nothing: a stream that goes on begins there.
                self._keep()
                self._count()
                for name in self._cameras:
                    self._say_available(name, False)

    def stop(self) -> None:
        """Ends `run` behind the results that are there; a signal handler or another thread may call it."""
        self._stopping.set()
        if self._streams is not None:
            self._streams.stop()

    def reload(self, settings: ServiceSettings) -> None:
        """
        Takes other settings: cameras that are new begin, those that are gone end, those that changed begin anew, and
        the others notice nothing. What is not of cameras needs a new start. Any thread may call it.
        """
        with self._changing:
            if self._streams is None:
                self._later = settings
            else:
                self._streams.call(partial(self._apply, settings))

    def _watched(self, cameras: Mapping[str, CameraSettings]) -> dict[str, WatchedCamera]:
        """The cameras that are to be watched, in the states in which they were left."""
        assert self._engine is not None
        states = self._store.states()
        found = {}
        for name, settings in cameras.items():
            if settings.enabled:
                found[name] = WatchedCamera(name, settings, self._engine.score_kind)
                try:
                    found[name].restore(states)
                except ValueError as error:
                    logger.warning(f"The camera '{name}' begins without a state ({error}).")
        return found

    def _begin(self, engine: StreamEngine) -> VideoStreams:
        """The streams, each from where it was left if it is the same."""
        folder = SnapshotFolder(os.path.join(self.settings.data, SNAPSHOTS))
        origins = {place: text for camera in self._cameras.values() for place, text in camera.origins.items()}
        same = folder.same(origins)
        folder.forget(folder.names - same)
        for tracker in self._trackers:
            if tracker.place not in same:
                tracker.begin_anew()
        # Before the folder says that they go on: results that are numbered anew would be taken for old ones.
        self._keep()
        try:
            return self._made(engine, folder.folder, origins, resume=True)
        except SnapshotError as error:
            logger.warning(f"All cameras begin anew: {shown(error, None)}")
        for tracker in self._trackers:
            tracker.begin_anew()
        self._keep()
        for name in engine.names:
            engine.remove(name)
        return self._made(engine, folder.folder, origins, resume=False)

    def _made(self, engine: StreamEngine, folder: str, origins: dict[str, str], resume: bool) -> VideoStreams:
        cameras = self._cameras
        return VideoStreams(
            engine,
            {name: camera.opener for name, camera in cameras.items()},
            capacity=CAPACITY,
            snapshots=folder,
            snapshot_every=self.settings.snapshot_every_s,
            resume=resume,
            kept={tracker.place: tracker.results for tracker in self._trackers},
            keeps_all=False,
            origins=origins,
            crops={name: camera.crops for name, camera in cameras.items()},
            stays=True,
        )

    # What follows runs on the thread of `run`, unless it says otherwise.

    def _take(self, result: StreamResult) -> None:
        camera = self._cameras.get(result.stream.partition("/")[0])
        tracker = None if camera is None else camera.trackers.get(result.stream)
        if camera is None or tracker is None:
            return
        self._metrics.result(
            camera.name,
            latency_s=result.latency_ms / 1000,
            computed_share=result.computed_share,
            threshold=result.threshold,
            divergence=None if result.divergence is None else result.divergence.kl,
        )
        change = tracker.update(result)
        if change is None:
            return
        picture = self._picture(camera, result)
        change = tracker.last = replace(change, has_picture=picture is not None)
        kept = self._receivers.picture_of(change, picture)
        self._store.commit({tracker.place: tracker.to_dict()}, [(change, kept)], self._receivers.of)
        self._metrics.state_changed(camera.name)
        if self._receivers.mqtt is not None:
            self._receivers.mqtt.show(change, picture)
        logger.info(_sentence(change))

    def _picture(self, camera: WatchedCamera, result: StreamResult) -> bytes | None:
        wanted = camera.settings.picture
        frame = None if wanted is None or self._streams is None else self._streams.frame_of(result)
        return None if wanted is None or frame is None else jpeg_of(frame.pixels, wanted.quality, wanted.width)

    def _keep(self) -> None:
        """Writes all states, before snapshots that are behind them."""
        self._store.commit({tracker.place: tracker.to_dict() for tracker in self._trackers})
        give_back_memory()

    def _tell_state(self, name: str, statistics: StreamStatistics) -> None:
        state = statistics.state
        self._states[name] = state
        self._say_available(name, state in AVAILABLE)
        why = "" if statistics.fault is None else f" ({shown(reason_of(statistics.fault, name), None)})"
        if state == FAILED:
            logger.error(shown(statistics.error, None))
        else:
            level = logging.INFO if state in AVAILABLE else logging.WARNING
            logger.log(level, f"{label(name)} is {state}{why}.")

    def _say_available(self, name: str, is_available: bool) -> None:
        if self._receivers.mqtt is not None:
            self._receivers.mqtt.set_available(name, is_available)

    def _count(self) -> None:
        """Tells the metrics what became of the frames so far."""
        assert self._streams is not None
        now = time.monotonic()
        for name, statistics in self._streams.statistics.items():
            if name not in self._cameras:
                # It was taken out, and ends with the next turn.
                continue
            taken = statistics.frames - statistics.dropped
            before, count = self._taken.get(name, (now, taken))
            self._taken[name] = now, taken
            self._metrics.frames(
                name,
                received=statistics.received,
                decoded=statistics.decoded,
                classified=taken,
                dropped=statistics.dropped,
                reconnections=statistics.reconnections,
                fps=(taken - count) / (now - before) if now > before else None,
                up=statistics.state in AVAILABLE,
            )
        self._store.flush()

    def _apply(self, settings: ServiceSettings) -> None:
        """Ends, changes and begins cameras."""
        streams = self._streams
        assert streams is not None
        settings = self._with_known_labels(settings)
        changes = changed(self.settings, settings)
        self._keep()
        try:
            made = self._watched({name: settings.cameras[name] for name in (*changes.added, *changes.changed)})
        except StoreError as error:
            logger.error(f"The settings stay as they are: {shown(error, None)}")
            return
        if changes.needs_restart:
            logger.warning(f"What changed of {', '.join(changes.needs_restart)} holds from the next start on.")
        for name in (*changes.removed, *changes.changed):
            streams.remove(name)
            self._states.pop(name, None)
            # Behind the end of its stream, which is counted until then.
            streams.call(partial(self._forget_numbers, name))
        for name, camera in made.items():
            for tracker in camera.trackers.values():
                tracker.begin_anew()
            self._store.commit({place: tracker.to_dict() for place, tracker in camera.trackers.items()})
            streams.add(name, camera.opener, camera.crops, camera.origins)
        gone = {*changes.removed, *changes.changed}
        self._cameras = {name: one for name, one in self._cameras.items() if name not in gone} | made
        self.settings = self.settings.model_copy(update={"cameras": settings.cameras})
        self._receivers.set_cameras(self._cameras)
        for name in self._cameras:
            self._say_available(name, self._states.get(name) in AVAILABLE)
        counts = [f"{len(names)} {what}" for what, names in vars(changes).items() if what != "needs_restart"]
        logger.info(f"The settings were read again: cameras {', '.join(counts)}.")

    def _with_known_labels(self, settings: ServiceSettings) -> ServiceSettings:
        """The settings; cameras with labels that the model has from the next start on stay as they are."""
        assert self._engine is not None
        known = set(self._engine.model.config.id2label.values())
        cameras: dict[str, CameraSettings] = {}
        for name, camera in settings.cameras.items():
            before = self.settings.cameras.get(name)
            if all(known.issuperset(place.labels or ()) for place in camera.places.values()):
                cameras[name] = camera
                continue
            logger.warning(f"The camera '{name}' has labels that are there from the next start on, and waits for it.")
            if before is not None:
                cameras[name] = before
        return settings.model_copy(update={"cameras": cameras})

    def _forget_numbers(self, name: str) -> None:
        self._taken.pop(name, None)
        self._metrics.remove(name)

    # Other threads.

    def _tell_numbers(self) -> None:
        is_due = threading.Event()
        is_due.set()

        def count() -> None:
            self._count()
            is_due.set()

        while not self._stopping.wait(TELL_EVERY):
            if is_due.is_set() and self._streams is not None:
                is_due.clear()
                self._streams.call(count)

    def _heartbeat(self) -> float:
        # Loading takes as long as it takes.
        return time.monotonic() if self._streams is None else self._streams.turned

    def _missing(self) -> dict[str, Any]:
        """What is not ready yet, and why."""
        if self._streams is None:
            return {"model": "is being loaded"}
        missing = {
            f"camera {name}": "is being opened" for name in list(self._cameras) if self._states.get(name) is None
        }
        mqtt = self._receivers.mqtt
        return missing if mqtt is None or mqtt.problem is None else {**missing, "mqtt": mqtt.problem}


def _sentence(change: StateChange) -> str:
    before = "" if change.previous is None else f", after {shown(change.previous)}"
    return f"{change.place}: {shown(change.label)} ({change.score:.2f}){before}."


__all__ = ["CameraService"]
