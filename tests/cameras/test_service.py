"""The service from end to end: planted changes are told of, whatever is killed meanwhile."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import PIL.Image
import pytest

from hf_ttr.caching.snapshot import SnapshotError
from hf_ttr.cameras.service import CameraService
from hf_ttr.cameras.settings import ServiceSettings
from hf_ttr.cameras.store import Store
from hf_ttr.streaming import SourceError, StreamEngine, StreamOptions
from hf_ttr.streaming.snapshot_folder import SnapshotFolder

from ..forks import forks
from . import colours
from .services import Listener, MjpegCamera, Mosquitto, Receiver, RtspCamera, free_port, jpeg, wait_until


SCENES = (("red", 12), ("green", 20), ("blue", 9), ("red", 15))
STARTS = [0, 12, 32, 41]


def settings_of(folder: Path, cameras: dict[str, Any], **others: Any) -> ServiceSettings:
    return ServiceSettings(model="unused", data=str(folder / "data"), cameras=cameras, **others)


def told(store: Store, destination: str) -> list[Any]:
    return [waiting.change for waiting in store.waiting(destination)]


@contextmanager
def running(service: CameraService) -> Iterator[threading.Thread]:
    """A service in the background, which is stopped in the end; its fault is raised."""
    faults: list[BaseException] = []

    def run() -> None:
        try:
            service.run()
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        service.stop()
        thread.join(60)
    assert not thread.is_alive()
    if faults:
        raise faults[0]


def test_each_planted_change_is_told_of_once_and_no_other(tmp_path: Path) -> None:
    path = colours.video(tmp_path / "door.mkv", colours.frames(*SCENES))
    webhook = {"url": "http://127.0.0.1:9/", "picture": True}
    door = {"source": path, "states": {"agree": 3}, "picture": True, "webhook": webhook}
    service = CameraService(settings_of(tmp_path, {"door": door}), colours.colour_engine())
    service.run()
    assert service.states == {"door": "red"}
    with Store(tmp_path / "data") as store:
        changes = told(store, "webhook:door")
        assert [change.label for change in changes] == [label for label, _ in SCENES]
        assert [change.first_frame for change in changes] == STARTS
        assert [change.last_frame for change in changes] == [start + 2 for start in STARTS]
        assert [change.previous for change in changes] == [None, "red", "green", "blue"]
        assert [change.id for change in changes] == [f"door/{number}" for number in range(4)]
        jpegs = [store.picture(waiting.number) for waiting in store.waiting("webhook:door")]
    for own, (label, _) in zip(jpegs, SCENES):
        picture = PIL.Image.open(io.BytesIO(own or b""))
        assert picture.getpixel((5, 5)) == pytest.approx(colours.COLOURS[label], abs=30)


def test_zones_have_states_of_their_own_from_one_decoded_stream(tmp_path: Path) -> None:
    left, right = colours.frames(("red", 10), ("green", 10)), colours.frames(("blue", 6), ("red", 14))
    path = colours.video(tmp_path / "yard.mkv", [np.concatenate(pair, 1) for pair in zip(left, right)])
    zones = {"left": [0, 0, 0.5, 1], "right": {"crop": [0.5, 0, 1, 1], "states": {"agree": 5}}}
    yard = {"source": path, "zones": zones, "webhook": {"url": "http://127.0.0.1:9/"}}
    service = CameraService(settings_of(tmp_path, {"yard": yard}), colours.colour_engine())
    service.run()
    with Store(tmp_path / "data") as store:
        changes = told(store, "webhook:yard")
    found: dict[Any, list[Any]] = {zone: [] for zone in zones}
    for one in changes:
        found[one.zone].append((one.label, one.first_frame, one.last_frame))
    assert found == {"left": [("red", 0, 2), ("green", 10, 12)], "right": [("blue", 0, 4), ("red", 6, 10)]}


def test_what_begins_anew_is_on_disk_before_the_streams_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = colours.video(tmp_path / "door.mkv", colours.frames(("red", 20)))
    CameraService(settings_of(tmp_path, {"door": {"source": path}}), colours.colour_engine()).run()
    made, seen = CameraService._made, []

    def noting(self: CameraService, *arguments: Any, **options: Any) -> Any:
        seen.append(self._store.states()["door"]["results"])
        return made(self, *arguments, **options)

    monkeypatch.setattr(CameraService, "_made", noting)
    for others in ({}, {"fps": 5}, {"fps": 5}, {"crop": [0, 0, 0.5, 1]}):
        settings = settings_of(tmp_path, {"door": {"source": path, **others}})
        CameraService(settings, colours.colour_engine()).run()
    # Killed right there, another one would number what it sees as this one does.
    assert seen == [20, 0, 4, 0]


def test_a_rate_is_kept_and_counted(tmp_path: Path) -> None:
    path = colours.video(tmp_path / "door.mkv", colours.frames(("red", 50), ("green", 50)))
    service = CameraService(settings_of(tmp_path, {"door": {"source": path, "fps": 5}}), colours.colour_engine())
    service.run()
    sample = service._metrics.registry.get_sample_value
    door = {"camera": "door"}
    assert sample("hf_ttr_frames_received_total", door) == 100
    assert sample("hf_ttr_frames_classified_total", door) == sample("hf_ttr_latency_seconds_count", door) == 20
    assert sample("hf_ttr_state_changes_total", door) == 2 and sample("hf_ttr_camera_up", door) == 0


def scraped(port: int) -> dict[tuple[str, str], float]:
    """What Prometheus reads, by name and camera or destination."""
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is not installed.")
    text = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    samples = [sample for family in parser.text_string_to_metric_families(text) for sample in family.samples]
    return {(one.name, one.labels.get("camera") or one.labels.get("destination", "")): one.value for one in samples}


def status(port: int, page: str) -> int:
    try:
        return urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10).status
    except HTTPError as error:
        return error.code


def coloured(label: str) -> list[bytes]:
    return [jpeg(colours.COLOURS[label])]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_whoever_is_killed_comes_back_and_nothing_is_lost(tmp_path: Path) -> None:
    with (
        Mosquitto(tmp_path, keeps=True) as broker,
        Receiver() as receiver,
        MjpegCamera(coloured("red"), fps=20) as door,
        RtspCamera(tmp_path, coloured("red") * 2, fps=10) as yard,
        Listener(broker.port, client_id="test") as listener,
    ):
        port = free_port()
        webhook = {"url": f"http://127.0.0.1:{receiver.port}/"}
        cameras = {"door": {"source": f"live:{door.url}", "webhook": webhook}, "yard": {"source": yard.url}}
        mqtt = {"host": "127.0.0.1", "port": broker.port, "discovery": "homeassistant"}
        service = CameraService(
            settings_of(tmp_path, cameras, mqtt=mqtt, metrics={"port": port}), colours.colour_engine()
        )

        def are(**states: str) -> bool:
            return service.states == states

        def retained(place: str) -> Any:
            found = broker.retained("hf_ttr/#").get(f"hf_ttr/{place}")
            return json.loads(found)["label"] if found and found.startswith(b"{") else (found or b"").decode()

        with running(service):
            wait_until(lambda: are(door="red", yard="red"), "that both are red", 60)
            wait_until(lambda: status(port, "readyz") == 200, "that it is ready")
            assert status(port, "healthz") == 200
            files = open_files()
            receiver.kill()
            for label in ("green", "blue"):
                door.show(coloured(label))
                wait_until(lambda: are(door=label, yard="red"), f"that the door is {label}")  # noqa: B023
            receiver.start()
            wait_until(lambda: len(set(receiver.ids)) == 3, "that the receiver hears of all")
            broker.terminate()
            door.show(coloured("red"))
            yard.show(coloured("green") * 2)
            wait_until(lambda: are(door="red", yard="green"), "that both change without a broker")
            broker.start()
            wait_until(lambda: retained("door/state") == "red", "that the broker knows of the door", 60)
            wait_until(lambda: retained("yard/state") == "green", "that the broker knows of the yard")
            for camera, name in ((door, "door"), (yard, "yard")):
                camera.kill()
                wait_until(lambda: retained(f"{name}/available") == "offline", f"that {name} is gone", 60)  # noqa: B023
                camera.start()
                wait_until(lambda: retained(f"{name}/available") == "online", f"that {name} is back", 60)  # noqa: B023
            heard = {(one["id"], one["label"]) for name in cameras for one in listener.of(f"hf_ttr/{name}/event")}
            again = [("hf_ttr_reconnections_total", name) for name in cameras]
            wait_until(lambda: min(scraped(port)[one] for one in again) >= 1, "that reconnections are counted")
            numbers = scraped(port)
            wait_until(lambda: open_files() <= files + 4, "that no file stays open")
    expected = {f"door/{number}": label for number, label in enumerate(("red", "green", "blue", "red"))}
    assert heard == set(expected.items()) | {("yard/0", "red"), ("yard/1", "green")}
    assert {one.content["id"]: one.content["label"] for one in receiver.requests} == expected
    for name in cameras:
        assert numbers["hf_ttr_camera_up", name] == 1
    assert numbers["hf_ttr_state_changes_total", "door"] == 4
    assert numbers["hf_ttr_events_waiting", "mqtt"] == numbers["hf_ttr_events_waiting", "webhook:door"] == 0


def test_other_settings_touch_only_what_changed(tmp_path: Path) -> None:
    with (
        MjpegCamera(coloured("red"), fps=20) as stays,
        MjpegCamera(coloured("green"), fps=20) as changes,
        MjpegCamera(coloured("blue"), fps=20) as comes,
    ):
        connections: Counter[str] = Counter()
        for name, camera in (("stays", stays), ("changes", changes), ("comes", comes)):
            camera.answer = partial(counting, connections, name, camera.answer)  # type: ignore[method-assign]

        def settings(**cameras: MjpegCamera) -> ServiceSettings:
            own = {name: {"source": f"live:{camera.url}"} for name, camera in cameras.items()}
            return settings_of(tmp_path, own)

        service = CameraService(settings(stays=stays, changes=changes, goes=changes), colours.colour_engine())
        with running(service):
            before = {"stays": "red", "changes": "green", "goes": "green"}
            wait_until(lambda: service.states == before, "that all have a state", 60)
            service.reload(settings(stays=stays, changes=comes, comes=comes))
            after = {"stays": "red", "changes": "blue", "comes": "blue"}
            wait_until(lambda: service.states == after, "that all have their new state", 60)
            stays.show(coloured("blue"))
            wait_until(lambda: service.states["stays"] == "blue", "that the others go on")
        assert connections == {"stays": 1, "changes": 2, "comes": 2}
    with Store(tmp_path / "data") as store:
        found = store.states()
    assert found["goes"]["last"]["label"] == "green" and found["changes"]["last"]["number"] == 1


def test_labels_that_the_model_does_not_know_wait_for_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = list(colours.COLOURS)
    with MjpegCamera(coloured("red"), fps=20) as camera:

        def settings(labels: list[str], **cameras: list[str]) -> ServiceSettings:
            own = {name: {"source": f"live:{camera.url}", "labels": some} for name, some in cameras.items()}
            return settings_of(tmp_path, own, labels=labels)

        engine = StreamEngine(
            colours.colour_model(), colours.processor(), StreamOptions(top_k=3, function_to_apply="softmax")
        )
        service = CameraService(settings(labels, door=labels), engine)
        with running(service):
            wait_until(lambda: service.states == {"door": "red"}, "that the door is red", 60)
            others = ["green", "yellow", "red"]
            service.reload(settings(others, door=["green", "yellow"], yard=["red", "yellow"], gate=["green", "red"]))
            wait_until(lambda: service.states.get("gate") == "red", "that the gate is watched", 60)
            seen = service._streams.statistics["door"].results  # type: ignore[union-attr]
            wait_until(
                lambda: service._streams.statistics["door"].results > seen + 6,  # type: ignore[union-attr]
                "that more frames come",
            )
            assert service.states == {"door": "red", "gate": "red"}
    warnings = [record.getMessage() for record in caplog.records if "the next start on, and waits" in record.message]
    assert [warning.split("'")[1] for warning in warnings] == ["door", "yard"]
    with Store(tmp_path / "data") as store:
        assert store.states()["door"]["last"]["number"] == 0


def test_cameras_begin_though_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise SnapshotError("the folder of the snapshots cannot be written (No space left on device); make room.")

    with MjpegCamera(coloured("red"), fps=20) as door, MjpegCamera(coloured("blue"), fps=20) as yard:
        one = {"source": f"live:{door.url}"}
        service = CameraService(settings_of(tmp_path, {"door": one}), colours.colour_engine())
        with running(service):
            wait_until(lambda: service.states == {"door": "red"}, "that the door is red", 60)
            monkeypatch.setattr(SnapshotFolder, "begin", full)
            changed = {"door": {**one, "states": {"agree": 2}}, "yard": {"source": f"live:{yard.url}"}}
            service.reload(settings_of(tmp_path, changed))
            wait_until(lambda: service.states == {"door": "red", "yard": "blue"}, "that both are watched", 60)
            door.show(coloured("green"))
            wait_until(lambda: service.states["door"] == "green", "that the door is green", 60)


def test_a_service_without_cameras_waits_for_some(tmp_path: Path) -> None:
    with MjpegCamera(coloured("red"), fps=20) as door:
        one = {"source": f"live:{door.url}"}
        service = CameraService(settings_of(tmp_path, {"door": one}), colours.colour_engine())
        with running(service) as thread:
            for enabled in (True, False, True):
                service.reload(settings_of(tmp_path, {"door": {**one, "enabled": enabled}}))
                expected = {"door": "red"} if enabled else {}
                wait_until(lambda: service.states == expected, f"that it is watched: {enabled}", 60)  # noqa: B023
                assert thread.is_alive()


def test_numbers_of_a_camera_end_with_it_and_begin_anew(tmp_path: Path) -> None:
    with MjpegCamera(coloured("red"), fps=60) as door, MjpegCamera(coloured("blue"), fps=20) as yard:
        slow = settings_of(tmp_path, {"door": {"source": f"live:{door.url}"}, "yard": {"source": f"live:{yard.url}"}})
        engine = colours.colour_engine()
        step = engine.step

        def slowly() -> Any:
            time.sleep(0.1)
            return step()

        engine.step = slowly  # type: ignore[method-assign]
        for _ in range(2):
            service = CameraService(slow, engine)
            with running(service):
                wait_until(lambda: service._streams is not None, "that it begins", 60)  # noqa: B023
                wait_until(lambda: service.states == {"door": "red", "yard": "blue"}, "both states", 60)  # noqa: B023
                sample = service._metrics.registry.get_sample_value
                name = "hf_ttr_frames_classified_total"
                wait_until(lambda: sample(name, {"camera": "door"}), "a count")  # noqa: B023
                counts = [
                    sample(f"hf_ttr_frames_{what}_total", {"camera": "door"}) or 0.0
                    for what in ("received", "classified", "dropped")
                ]
                assert counts[0] >= counts[1] + counts[2] and min(counts[:2]) > 0 <= counts[2]
            for one in engine.names:
                engine.remove(one)
        service = CameraService(slow, engine)
        with running(service):
            wait_until(lambda: service._states == {"door": "live", "yard": "live"}, "that both are there", 60)
            is_done = threading.Event()

            def change() -> None:
                # In one turn, before the stream ends.
                service._apply(slow.model_copy(update={"cameras": {"yard": slow.cameras["yard"]}}))
                service._count()
                service._streams.call(is_done.set)  # type: ignore[union-attr]

            service._streams.call(change)  # type: ignore[union-attr]
            assert is_done.wait(20)
            service._count()
            assert service._metrics.registry.get_sample_value("hf_ttr_camera_up", {"camera": "door"}) is None
            assert service._metrics.registry.get_sample_value("hf_ttr_camera_up", {"camera": "yard"}) == 1


def counting(
    connections: Counter[str], name: str, answer: Callable[[BaseHTTPRequestHandler], None], request: Any
) -> None:
    connections[name] += 1
    answer(request)


def test_a_service_that_is_stopped_goes_on_with_its_state(tmp_path: Path) -> None:
    with MjpegCamera(coloured("red"), fps=20) as door, Receiver() as receiver:
        webhook = {"url": f"http://127.0.0.1:{receiver.port}/"}
        settings = settings_of(tmp_path, {"door": {"source": f"live:{door.url}", "webhook": webhook}})
        for label, number in (("red", 1), ("red", 1), ("green", 2)):
            door.show(coloured(label))
            service = CameraService(settings, colours.colour_engine())
            with running(service):
                wait_until(lambda: service._streams is not None, "that it begins")  # noqa: B023
                seen = service._streams.statistics["door"].results  # type: ignore[union-attr]
                wait_until(lambda: service.states.get("door") == label, f"that it is {label}")  # noqa: B023
                wait_until(
                    lambda: service._streams.statistics["door"].results > seen + 6,  # type: ignore[union-attr]  # noqa: B023
                    "that more frames come",
                )
                wait_until(lambda: len(receiver.ids) == number, "that the receiver heard of it")  # noqa: B023
        assert receiver.ids == ["door/0", "door/1"]


@pytest.mark.parametrize(
    ("source", "others", "kind", "words"),
    [
        ("missing.mp4", {}, SourceError, "The stream 'door' does not exist; check the path"),
        (
            "camera:0",
            {"metrics": {"port": 1}},
            OSError,
            "metrics cannot be served at 127.0.0.1:",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(source: str, others: Any, kind: Any, words: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        if others:
            others = {"metrics": {"port": taken.getsockname()[1]}}
        with pytest.raises(kind, match=words):
            settings = settings_of(tmp_path, {"door": {"source": source}}, **others)
            CameraService(settings, colours.colour_engine()).run()


def test_a_second_service_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with MjpegCamera(coloured("red"), fps=20) as door:
        settings = settings_of(tmp_path, {"door": {"source": f"live:{door.url}"}})
        first = CameraService(settings, colours.colour_engine())
        with running(first):
            wait_until(lambda: first.states.get("door") == "red", "that the first one runs", 60)
            with pytest.raises(OSError, match="data folder"):
                CameraService(settings, colours.colour_engine()).run()


def test_killed_at_any_moment_a_service_tells_of_each_change_and_makes_none_up(tmp_path: Path) -> None:
    generator = random.Random(7)
    labels = list(colours.COLOURS)
    scenes = [(labels[number % 3], generator.randint(6, 14)) for number in range(40)]
    path = colours.video(tmp_path / "door.mkv", colours.frames(*scenes))
    model = colours.save_model(tmp_path / "model")

    with Receiver() as expected, Receiver() as found:

        def begin(folder: str, receiver: Receiver) -> Any:
            webhook = {"url": f"http://127.0.0.1:{receiver.port}/"}
            text = {
                "model": model,
                "data": str(tmp_path / folder),
                "snapshot_every_s": 0.05,
                "cameras": {"door": {"source": path, "webhook": webhook}},
            }
            file = tmp_path / f"{folder}.yaml"
            file.write_text(json.dumps(text))
            return started.start(WATCH, str(file))

        with forks(IMPORTS) as started:
            assert begin("whole", expected).communicate(120)[1].count("is ended") == 1
            kills, is_over = 0, False
            while not is_over:
                process = begin("killed", found)
                try:
                    process.wait(generator.uniform(0.1, 0.75) if kills < 20 else 120)
                    is_over = True
                except subprocess.TimeoutExpired:
                    kills += 1
            # On a slow machine many of them come before the first frame.
            assert kills == 20 or len(found.requests) >= len(scenes)
    assert [one["label"] for one in facts(expected)] == [label for label, _ in scenes]
    first_times = {one["id"]: one for one in facts(found)}
    assert list(first_times.values()) == facts(expected)
    assert all(one == first_times[one["id"]] for one in facts(found))


def facts(receiver: Receiver) -> list[dict[str, Any]]:
    """What was told, but for when and how surely."""
    names = ("id", "label", "previous", "first_frame", "last_frame", "start_time", "end_time")
    return [{name: request.content[name] for name in names} for request in receiver.requests]


IMPORTS = """
import transformers, hf_ttr, hf_ttr.cli, hf_ttr.cameras.service, hf_ttr.cameras.reading, av
import hf_ttr.models.vit.modeling_temporal_reuse_vit
"""
WATCH = "import sys; from hf_ttr.cli import app; app(['watch', sys.argv[1]], prog_name='hf-ttr')"
