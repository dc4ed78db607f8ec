"""The service from end to end: planted changes are told of, whatever is killed meanwhile."""

from __future__ import annotations

import io
import json
import logging
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import PIL.Image
import pytest

from hf_ttr.cameras.service import CameraService
from hf_ttr.cameras.settings import ServiceSettings
from hf_ttr.cameras.store import Store
from hf_ttr.streaming import SourceError

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
    door = {"source": path, "states": {"agree": 3}, "picture": True, "webhook": {"url": "http://127.0.0.1:9/"}}
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
        pictures = [PIL.Image.open(io.BytesIO(store.picture(one.number) or b"")) for one in store.waiting("webhook:door")]
    for picture, (label, _) in zip(pictures, SCENES):
        assert picture.getpixel((5, 5)) == pytest.approx(colours.COLOURS[label], abs=30)


def test_zones_have_states_of_their_own_from_one_decoded_stream(tmp_path: Path) -> None:
    left, right = colours.frames(("red", 10), ("green", 10)), colours.frames(("blue", 6), ("red", 14))
    import numpy as np

    path = colours.video(tmp_path / "yard.mkv", [np.concatenate(pair, 1) for pair in zip(left, right)])
    zones = {"left": [0, 0, 0.5, 1], "right": {"crop": [0.5, 0, 1, 1], "states": {"agree": 5}}}
    yard = {"source": path, "zones": zones, "webhook": {"url": "http://127.0.0.1:9/"}}
    service = CameraService(settings_of(tmp_path, {"yard": yard}), colours.colour_engine())
    service.run()
    with Store(tmp_path / "data") as store:
        changes = told(store, "webhook:yard")
    found = {zone: [(one.label, one.first_frame, one.last_frame) for one in changes if one.zone == zone] for zone in zones}
    assert found == {"left": [("red", 0, 2), ("green", 10, 12)], "right": [("blue", 0, 4), ("red", 6, 10)]}


def test_a_rate_is_kept_and_counted(tmp_path: Path) -> None:
    path = colours.video(tmp_path / "door.mkv", colours.frames(("red", 50), ("green", 50)))
    service = CameraService(settings_of(tmp_path, {"door": {"source": path, "fps": 5}}), colours.colour_engine())
    service.run()
    sample = service._metrics.registry.get_sample_value
    door = {"camera": "door"}
    assert sample("hf_ttr_frames_received_total", door) == 100
    assert sample("hf_ttr_frames_classified_total", door) == sample("hf_ttr_latency_seconds_count", door) == 20
    assert sample("hf_ttr_state_changes_total", door) == 2 and sample("hf_ttr_camera_up", door) == 0


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
