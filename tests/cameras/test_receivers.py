"""Who hears of changes can be other ones while the service runs, and nobody waits for those who go."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


pytest.importorskip("pydantic", reason="pydantic is not installed; hf-ttr[cameras] brings it.")

from hf_ttr.cameras.receivers import Receivers
from hf_ttr.cameras.settings import CameraSettings, MqttSettings
from hf_ttr.cameras.store import Store, StoreError
from hf_ttr.cameras.watched import WatchedCamera

from .changes import change
from .services import Mosquitto, Receiver, free_port, wait_until


NAMES = ("door", "gate", "yard", "shed")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as store:
        yield store


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def cameras(url: str, *names: str, **webhook: Any) -> dict[str, WatchedCamera]:
    settings = CameraSettings.model_validate({"source": "rtsp://h/x", "webhook": {"url": url, **webhook}})
    return {name: WatchedCamera(name, settings, "softmax") for name in names}


def slow(receiver: Receiver, store: Store, receivers: Receivers, seconds: float) -> None:
    """A request of each camera is on its way, and takes its time."""
    receiver.delay_s = seconds
    receivers.set_cameras(cameras(receiver.url, *NAMES))
    for name in NAMES:
        store.commit({}, [(change(0, name), None)], receivers.of)
    wait_until(lambda: len(receiver.requests) == len(NAMES), "requests")


def test_settings_that_change_wait_for_no_request_and_nothing_of_it_is_lost(
    store: Store, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Receivers(store, None, ()) as receivers:
        slow(receiver, store, receivers, 1.0)
        store.commit({}, [(change(1, "door"), None), (change(1, "gate"), None)], receivers.of)
        begin = time.monotonic()
        # One stays, and is another one than before; the others go.
        receivers.set_cameras(cameras(f"{receiver.url}/other", "door"))
        assert time.monotonic() - begin < 0.5
        receiver.delay_s = 0.0
        wait_until(lambda: list(store.counts()) == ["webhook:door"], "that the others are forgotten")
        wait_until(lambda: store.counts()["webhook:door"].delivered == 2, "delivery")
        assert sorted(receiver.ids[:-1]) == [f"{name}/0" for name in sorted(NAMES)] and receiver.ids[-1] == "door/1"
        assert receiver.requests[-1].path == "/other"
        assert caplog.messages == ["1 changes waited for webhook:gate, which is not in the settings any more."]


def test_a_camera_that_comes_back_sends_nothing_beside_what_is_on_its_way(store: Store, receiver: Receiver) -> None:
    with Receivers(store, None, ()) as receivers:
        slow(receiver, store, receivers, 0.5)
        for names in ((), NAMES, (), NAMES):
            receivers.set_cameras(cameras(receiver.url, *names))
        store.commit({}, [(change(1, "door"), None)], receivers.of)
        wait_until(lambda: store.counts().get("webhook:door", None) and "door/1" in receiver.ids, "the next change")
        times = {request.content["id"]: request.at for request in receiver.requests}
        assert times["door/1"] - times["door/0"] >= 0.5 and len(receiver.ids) == len(NAMES) + 1


def test_the_end_waits_for_all_at_once(store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_ttr.cameras.receivers.PATIENCE", 0.4)
    with Receivers(store, None, ()) as receivers:
        slow(receiver, store, receivers, 2.0)
        begin = time.monotonic()
    assert time.monotonic() - begin < 0.4 * len(NAMES)
    assert {one.waiting for one in store.counts().values()} == {1}


def test_a_proxy_that_cannot_be_used_ends_no_service_that_runs(
    store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "ftp://10.0.0.1:1")
    both = cameras(receiver.url, "door", "gate")
    with (
        Receivers(store, None, ()) as receivers,
        pytest.raises(ValueError, match="variable http_proxy cannot be used"),
    ):
        receivers.set_cameras(both)
    with caplog.at_level(logging.ERROR), Receivers(store, None, ()) as receivers:
        receivers.set_cameras({})
        receivers.set_cameras(both)
        assert [one.partition(" in ")[0] for one in caplog.messages] == [
            f"Changes wait for webhook:{name}: The proxy" for name in both
        ]
        store.commit({}, [(change(0), None)], receivers.of)
        monkeypatch.delenv("http_proxy")
        receivers.set_cameras(both)
        wait_until(lambda: receiver.ids == ["door/0"], "delivery")


def test_a_broker_keeps_nothing_of_former_cameras_and_no_state_that_a_camera_cannot_have(
    store: Store, tmp_path: Path
) -> None:
    pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed.")
    labels = ("a parcel", "nobody", "a cat")

    def watched(name: str, *own: str) -> dict[str, WatchedCamera]:
        settings = CameraSettings.model_validate({"source": "rtsp://h/x", "labels": own or None})
        camera = WatchedCamera(name, settings, "softmax")
        store.commit({place: tracker.to_dict() for place, tracker in camera.trackers.items()})
        camera.trackers[name].last = change(0, name)
        return {name: camera}

    with Mosquitto(tmp_path) as broker:
        settings = MqttSettings(host="127.0.0.1", port=broker.port)

        def retained(cameras: dict[str, WatchedCamera], *names: str) -> None:
            with Receivers(store, settings, labels) as receivers:
                receivers.set_cameras(cameras)
                expected = {f"hf_ttr/{name}" for name in ("available", *names)}
                wait_until(lambda: set(broker.retained()) == expected, f"that {expected} are retained", 15)

        nothing_yet = watched("old")
        nothing_yet["old"].trackers["old"].last = None
        retained(nothing_yet, "old/available")
        retained(watched("new"), "new/available", "new/state")
        retained(watched("new", "nobody", "a cat"), "new/available")


def test_a_picture_is_kept_for_who_gets_it_alone(store: Store) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Receivers(store, None, ()) as receivers:
        with_picture = CameraSettings.model_validate(
            {"source": "rtsp://h/x", "picture": True, "webhook": {"url": url, "picture": True}}
        )
        receivers.set_cameras({"yard": WatchedCamera("yard", with_picture, "softmax"), **cameras(url, "door")})
        kept = {name: receivers.picture_of(change(0, name), b"jpeg") for name in ("door", "yard", "gate")}
        assert kept == {"door": None, "yard": b"jpeg", "gate": None}
        # The broker has it by then, in a topic of its own.
        assert receivers.picture_of(change(0, "yard"), None) is None


def test_a_full_disk_does_not_end_who_reads_other_settings(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = cameras(f"http://127.0.0.1:{free_port()}", "door")
    with caplog.at_level(logging.ERROR), Receivers(store, None, ()) as receivers:
        receivers.set_cameras(gone)
        store.commit({}, [(change(0), None)], receivers.of)
        with monkeypatch.context() as full:

            def forget(destination: str) -> int:
                raise StoreError("The disk is full.")

            full.setattr(store, "forget", forget)
            receivers.set_cameras({})
            wait_until(lambda: caplog.messages, "the sentence")
            receivers.set_cameras({})
        assert caplog.messages == ["The disk is full. What waited for receivers that are gone is let go another time."]
        assert store.counts()["webhook:door"].waiting == 1
        receivers.set_cameras({})
        assert store.counts() == {}
