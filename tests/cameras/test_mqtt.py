"""A broker, and Home Assistant behind it, have what is so: also after they were gone, or the service was."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from hf_ttr.cameras import backoff
from hf_ttr.cameras.delivery import Delivery, SendError
from hf_ttr.cameras.home_assistant import Place
from hf_ttr.cameras.mqtt import Mqtt
from hf_ttr.cameras.store import Counts, Store

from .changes import NOW, change
from .services import Listener, Mosquitto, free_port, wait_until


pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed.")

LABELS = ("nobody", "a parcel")
DOOR, YARD = Place("door", None, LABELS), Place("yard", None, LABELS)
MAT = Place("door", "mat", LABELS)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff.Backoff, "next_pause", lambda self: 0.05)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker that all tests use which do not stop it."""
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def broker(standing: Mosquitto) -> Iterator[Mosquitto]:
    yield standing
    # Nothing is left for the next test.
    with Listener(standing.port, "none") as client:
        for topic in standing.retained():
            client.publish(topic, "", retain=True)


def service(broker: Mosquitto, *places: Place, pictures: tuple[str, ...] = (), **options: object) -> Mqtt:
    mqtt = Mqtt("127.0.0.1", broker.port, **options)  # type: ignore[arg-type]
    mqtt.set_places(places, pictures)
    return mqtt


def becomes(broker: Mosquitto, topics: str, holds: Callable[[dict[str, bytes]], bool]) -> dict[str, bytes]:
    """What is retained, once it is as it should be."""
    found: dict[str, bytes] = {}

    def looks_right() -> bool:
        nonlocal found
        found = broker.retained(topics)
        return holds(found)

    try:
        wait_until(looks_right, "what should be retained", 15)
    except AssertionError:
        pytest.fail(f"retained is {found}")
    return found


def test_states_are_retained_and_availability_ends_with_the_service(broker: Mosquitto) -> None:
    with service(broker, DOOR, MAT) as mqtt:
        assert mqtt.first_answer() is None
        mqtt.set_available("door", True)
        mqtt.show(change(4, label="nobody"))
        mqtt.show(change(2, zone="mat"))
        found = becomes(broker, "hf_ttr/#", lambda found: len(found) == 4)
        assert found["hf_ttr/available"] == found["hf_ttr/door/available"] == b"online"
        assert json.loads(found["hf_ttr/door/state"]) == {
            "label": "nobody",
            "score": 0.9,
            "since": NOW,
            "id": "door/4",
        }
        assert json.loads(found["hf_ttr/door/mat/state"])["id"] == "door/mat/2"
    assert broker.retained("hf_ttr/available") == {"hf_ttr/available": b"offline"}


def test_states_are_published_when_they_change_alone(broker: Mosquitto) -> None:
    with Listener(broker.port, "hf_ttr/door/#") as listener, service(broker, DOOR) as mqtt:
        assert mqtt.first_answer() is None
        mqtt.show(change(0))
        wait_until(lambda: listener.of("hf_ttr/door/state"), "the state")
        for _ in range(3):
            mqtt.show(change(0))
            mqtt.set_available("door", True)
        mqtt.show(change(1))
        wait_until(lambda: len(listener.of("hf_ttr/door/state")) > 1, "the next state")
        assert [state["id"] for state in listener.of("hf_ttr/door/state")] == ["door/0", "door/1"]
        said = [payload for topic, payload in listener.messages if topic == "hf_ttr/door/available"]
        assert said == [b"offline", b"online"]


def test_the_broker_says_that_the_service_is_gone_when_it_was_killed(broker: Mosquitto) -> None:
    child = f"""
from hf_ttr.cameras.mqtt import Mqtt
mqtt = Mqtt("127.0.0.1", {broker.port}, topic_prefix="killed")
mqtt.start()
assert mqtt.first_answer() is None
mqtt._thread.join()
"""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": "."}
    with subprocess.Popen([sys.executable, "-c", child], cwd=root, env=environment) as process:
        becomes(broker, "killed/#", lambda found: found == {"killed/available": b"online"})
        process.kill()
    becomes(broker, "killed/#", lambda found: found == {"killed/available": b"offline"})


def test_home_assistant_is_told_at_the_beginning_and_when_it_has_started(broker: Mosquitto) -> None:
    with Listener(broker.port, "homeassistant/#") as listener, service(broker, DOOR, MAT, pictures=("door",)) as mqtt:
        assert mqtt.first_answer() is None
        topics = [f"homeassistant/{name}/config" for name in ("sensor/hf_ttr/door", "sensor/hf_ttr/door-2f-mat")]
        topics.append("homeassistant/image/hf_ttr/door/config")
        wait_until(lambda: all(listener.of(topic) for topic in topics), "discovery")
        assert set(broker.retained("homeassistant/#")) == set(topics)
        listener.publish("homeassistant/status", "offline")
        listener.publish("homeassistant/status", "online")
        wait_until(lambda: all(len(listener.of(topic)) == 2 for topic in topics), "discovery anew")


def test_home_assistant_is_told_nothing_where_it_is_not_wanted(broker: Mosquitto) -> None:
    with service(broker, DOOR, is_discovered=False) as mqtt:
        assert mqtt.first_answer() is None
        becomes(broker, "#", lambda found: set(found) == {"hf_ttr/available", "hf_ttr/door/available"})


def test_cameras_that_are_gone_are_removed_while_the_service_runs(broker: Mosquitto) -> None:
    with service(broker, DOOR, YARD, pictures=("yard",)) as mqtt:
        assert mqtt.first_answer() is None
        for camera in ("door", "yard"):
            mqtt.set_available(camera, True)
            mqtt.show(change(0, camera), b"\xff\xd8" if camera == "yard" else None)
        full = becomes(broker, "#", lambda found: len(found) == 9)
        assert full["hf_ttr/yard/picture"] == b"\xff\xd8"
        mqtt.set_places([DOOR])
        # Late news of the one that is gone.
        mqtt.show(change(1, "yard"))
        mqtt.set_available("yard", False)
        left = becomes(broker, "#", lambda found: len(found) == 4)
        assert not [topic for topic in left if "yard" in topic]


def test_cameras_that_went_while_the_service_did_not_run_are_removed_and_nothing_else(broker: Mosquitto) -> None:
    pine = Place("pine", "top", LABELS)
    # Services whose prefixes begin alike, or are alike for Home Assistant.
    others = {"hf_ttr/gate": Place("yard", None, LABELS), "other": Place("yard", None, LABELS)}
    with ExitStack() as stack:
        for prefix, place in others.items():
            other = stack.enter_context(service(broker, place, topic_prefix=prefix))
            assert other.first_answer() is None
            other.show(change(0, place.camera))
        with service(broker, DOOR, YARD, pine, pictures=("yard", "door")) as mqtt:
            assert mqtt.first_answer() is None
            mqtt.show(change(0), b"jpeg")
            mqtt.show(change(0, "yard"), b"jpeg")
            # The pine had no state yet.
            becomes(broker, "#", lambda found: len(found) == 1 + 3 + 3 + 1 + 5 + 8)
        with service(broker, DOOR) as mqtt:
            assert mqtt.first_answer() is None
            left = becomes(broker, "#", lambda found: len(found) == 12)
        assert {topic for topic in left if topic.startswith(("hf_ttr/", "homeassistant/"))} == {
            "hf_ttr/available",
            "hf_ttr/door/available",
            "hf_ttr/door/state",
            "homeassistant/sensor/hf_ttr/door/config",
            "hf_ttr/gate/available",
            "hf_ttr/gate/yard/state",
            "hf_ttr/gate/yard/available",
            "homeassistant/sensor/hf_ttr-2f-gate/yard/config",
            "homeassistant/sensor/other/yard/config",
        }


def test_what_home_assistant_was_told_is_removed_where_it_is_not_wanted_any_more(broker: Mosquitto) -> None:
    for is_discovered, count in ((True, 5), (False, 2)):
        with service(broker, *([DOOR, YARD] if is_discovered else [DOOR]), is_discovered=is_discovered) as mqtt:
            assert mqtt.first_answer() is None
            left = becomes(broker, "#", lambda found, count=count: len(found) == count)  # type: ignore[misc]
    assert set(left) == {"hf_ttr/available", "hf_ttr/door/available"}


def test_a_camera_that_never_had_a_state_leaves_nothing_behind_and_other_services_stay(broker: Mosquitto) -> None:
    with service(broker, DOOR, YARD, is_discovered=False) as mqtt:
        assert mqtt.first_answer() is None
        becomes(broker, "#", lambda found: len(found) == 3)
    with service(broker, YARD, topic_prefix="hf_ttr/gate", is_discovered=False) as other:
        assert other.first_answer() is None
        with Mqtt("127.0.0.1", broker.port, is_discovered=False) as mqtt:
            mqtt.set_places([DOOR], former=["door", "yard"])
            names = ("hf_ttr", "hf_ttr/door", "hf_ttr/gate", "hf_ttr/gate/yard")
            becomes(broker, "#", lambda found: set(found) == {f"{name}/available" for name in names})


def test_a_state_that_is_not_meant_any_more_is_not_retained(broker: Mosquitto) -> None:
    state = "hf_ttr/door/state"
    with service(broker, DOOR) as mqtt:
        assert mqtt.first_answer() is None
        mqtt.show(change(0))
        becomes(broker, "#", lambda found: state in found)
        # While it runs, and after it did not.
        mqtt.set_places([DOOR], without_state=["door"])
        becomes(broker, "#", lambda found: state not in found)
        mqtt.show(change(1))
        becomes(broker, "#", lambda found: state in found)
    with Mqtt("127.0.0.1", broker.port) as mqtt:
        mqtt.set_places([DOOR, YARD], without_state=["door", "yard"])
        mqtt.show(change(0, "yard"))
        left = becomes(broker, "#", lambda found: state not in found and "hf_ttr/yard/state" in found)
        assert "homeassistant/sensor/hf_ttr/door/config" in left
        mqtt.show(change(2))
        becomes(broker, "#", lambda found: b"door/2" in found.get(state, b""))


def test_nothing_is_removed_before_it_is_known_which_cameras_there_are(broker: Mosquitto) -> None:
    with service(broker, DOOR, YARD) as mqtt:
        assert mqtt.first_answer() is None
        mqtt.show(change(0))
        before = becomes(broker, "#", lambda found: len(found) == 6)
    # Home Assistant would forget what its user has made of a sensor that is removed and told of anew.
    with Listener(broker.port, "homeassistant/#") as listener, Mqtt("127.0.0.1", broker.port) as mqtt:
        assert mqtt.first_answer() is None
        wait_until(lambda: broker.retained("hf_ttr/available")["hf_ttr/available"] == b"online", "the service")
        mqtt.set_places([DOOR])
        left = becomes(broker, "#", lambda found: len(found) == 4)
        assert set(before) - set(left) == {"hf_ttr/yard/available", "homeassistant/sensor/hf_ttr/yard/config"}
        removed = [topic for topic, payload in listener.messages if not payload]
        assert removed == ["homeassistant/sensor/hf_ttr/yard/config"]
        # Pictures that nobody wants are not shown.
        mqtt.show(change(1), b"jpeg")
        becomes(broker, "hf_ttr/door/#", lambda found: b"door/1" in found["hf_ttr/door/state"] and len(found) == 2)


def test_an_event_is_sent_once_the_broker_has_it(broker: Mosquitto) -> None:
    with Listener(broker.port, "hf_ttr/+/event") as listener, service(broker, DOOR, MAT) as mqtt:
        assert mqtt.first_answer() is None
        mqtt.send(change(0), b"jpeg")
        mqtt.send(change(0, zone="mat"), None)
        wait_until(lambda: len(listener.messages) == 2, "the events")
        assert listener.of("hf_ttr/door/event") == [change(0).to_dict(), change(0, zone="mat").to_dict()]
    with pytest.raises(SendError, match="is not connected; it is looked for"):
        mqtt.send(change(1), None)


def test_states_are_right_and_no_event_is_lost_when_the_broker_is_killed(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker, Store(tmp_path / "data") as store, ExitStack() as stack:
        mqtt = service(broker, DOOR, YARD, pictures=("door",))
        listener = stack.enter_context(Listener(broker.port, "hf_ttr/+/event"))

        def send(one: object, picture: bytes | None) -> None:
            # An event that a broker has while nobody listens is not for this test.
            if not listener.is_subscribed.is_set():
                raise SendError("nobody listens.", is_known=True)
            mqtt.send(one, picture)  # type: ignore[arg-type]

        delivery = stack.enter_context(Delivery(store, "mqtt", send))
        mqtt.on_connected = delivery.retry_now
        stack.enter_context(mqtt)
        assert mqtt.first_answer() is None
        number, files = 0, 0

        def commit(count: int) -> None:
            nonlocal number
            for _ in range(count):
                one = replace(change(number), has_picture=True)
                store.commit({"door": {"n": number}}, [(one, b"jpeg")], lambda change: {"mqtt": 1000})
                mqtt.show(one, f"jpeg {number}".encode())
                number += 1

        mqtt.set_available("door", True)
        for _ in range(3):
            commit(5)
            broker.kill()
            commit(5)
            broker.start()
            wait_until(lambda: store.counts()["mqtt"].waiting == 0, "delivery")
            # This one keeps nothing: all of it is what was published anew.
            found = becomes(broker, "#", lambda found: len(found) == 8)
            assert json.loads(found["hf_ttr/door/state"])["id"] == f"door/{number - 1}"
            assert found["hf_ttr/door/picture"] == f"jpeg {number - 1}".encode()
            assert found["hf_ttr/available"] == found["hf_ttr/door/available"] == b"online"
            assert found["hf_ttr/yard/available"] == b"offline"
            files = files or len(os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/fd")) <= files + 3
        gc.collect()
        kind = type(mqtt._client)
        # Those of earlier connections are gone.
        assert len([one for one in gc.get_objects() if type(one) is kind]) <= 3
        heard = wait_until(
            lambda: (
                (ids := [event["id"] for event in listener.of("hf_ttr/door/event")])[-1:] == [f"door/{number - 1}"]
                and ids
            ),
            "the last event",
        )
        assert list(dict.fromkeys(heard)) == [f"door/{index}" for index in range(number)]
        assert store.counts()["mqtt"] == Counts(delivered=number)
        stack.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith(("MQTT", "paho"))]


def test_events_reach_a_subscriber_that_the_broker_remembers_over_its_restart(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, keeps=True) as broker, Store(tmp_path / "data") as store:
        with Listener(broker.port, "hf_ttr/+/event", client_id="remembered"):
            pass
        with service(broker, DOOR) as mqtt, Delivery(store, "mqtt", mqtt.send):
            for number in range(10):
                store.commit({}, [(change(number), None)], lambda change: {"mqtt": 1000})
                if number == 5:
                    broker.terminate()
                    broker.start()
            wait_until(lambda: store.counts()["mqtt"].waiting == 0, "delivery")
        with Listener(broker.port, "hf_ttr/+/event", client_id="remembered") as listener:
            wait_until(lambda: any(event["id"] == "door/9" for event in listener.of("hf_ttr/door/event")), "the last")
            heard = [event["id"] for event in listener.of("hf_ttr/door/event")]
        assert list(dict.fromkeys(heard)) == [f"door/{number}" for number in range(10)]


def test_a_broker_is_looked_for_until_it_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broker = Mosquitto(tmp_path)
    tries = 0

    def count(*arguments: object) -> float:
        nonlocal tries
        tries += 1
        return 0.05

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING, "hf_ttr"):
        patch.setattr(backoff.Backoff, "next_pause", count)
        with service(broker, DOOR) as mqtt:
            refused = mqtt.first_answer()
            assert refused is not None and refused.startswith(f"The MQTT broker 127.0.0.1:{broker.port} cannot be rea")
            wait_until(lambda: tries > 3, "other attempts")
            # Said once.
            assert caplog.messages == [refused]
            with broker:
                wait_until(lambda: mqtt.problem is None, "the connection")
                assert caplog.messages[1:] == [f"The MQTT broker 127.0.0.1:{broker.port} is connected."]


def test_a_password_is_asked_for_and_wrong_ones_are_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Mosquitto(tmp_path, "camera", "SECRET") as broker, caplog.at_level(logging.DEBUG):
        for options in ({}, {"username": "camera", "password": "SECRET too"}):
            with service(broker, DOOR, **options) as mqtt:
                said = mqtt.first_answer()
                assert said == (
                    f"The MQTT broker 127.0.0.1:{broker.port} refuses the connection (Not authorized); look at "
                    "`username`, `password` and `client_id`."
                )
        with service(broker, DOOR, username="camera", password="SECRET") as mqtt:
            assert mqtt.first_answer() is None
    assert "SECRET" not in caplog.text


def test_what_is_no_broker_is_one_sentence() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with Mqtt("127.0.0.1", port) as mqtt:
            said = mqtt.first_answer()
            assert said == (
                f"At 127.0.0.1:{port} nothing answers like an MQTT broker; look at `host` and `port`, and whether it "
                "wants `tls`."
            )
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and the certificate of a broker at 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed.")
    folder = tmp_path_factory.mktemp("certificates")
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    for command in (
        f"{new} -keyout ca.key -out ca.pem -subj /CN=test",
        f"{new} -CA ca.pem -CAkey ca.key -keyout broker.key -out broker.pem -subj /CN=broker "
        "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


def test_a_broker_with_tls_is_trusted_through_its_authority_alone(tmp_path: Path, certificates: Path) -> None:
    with Mosquitto(tmp_path, certificates=certificates) as broker:
        with service(broker, DOOR, tls=True, ca_file=str(certificates / "ca.pem")) as mqtt:
            assert mqtt.first_answer() is None
            mqtt.send(change(0), None)
        with service(broker, DOOR, tls=True) as mqtt:
            said = mqtt.first_answer()
            assert said is not None and "has no TLS connection for us" in said and said.endswith("its certificates.")
        with service(broker, DOOR) as mqtt:
            said = mqtt.first_answer()
            assert said is not None and said.endswith("and whether it wants `tls`.")


def test_certificates_that_cannot_be_used_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^`ca_file` of `tls` is '/nowhere', which is no file; name one in PEM format\.$"
    ):
        Mqtt("door", tls=True, ca_file="/nowhere")
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(ValueError, match=r"certificates of `tls` cannot be used \(.*\); name files in PEM format"):
        Mqtt("door", tls=True, ca_file=str(tmp_path / "text.pem"))


def test_two_services_with_one_name_are_told_why_they_lose_the_broker(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hf_ttr"), service(broker, DOOR) as one:
        assert one.first_answer() is None
        with service(broker, DOOR):
            wait_until(
                lambda: any("no other client there has the client_id 'hf_ttr'" in it for it in caplog.messages),
                "the sentence",
            )


def test_a_connection_on_which_nothing_comes_back_is_given_up(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hf_ttr.cameras.mqtt._ANSWER_S", 1.0)
    with service(broker, DOOR) as mqtt:
        assert mqtt.first_answer() is None and broker.process is not None
        broker.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(SendError, match="did not acknowledge an event within 1 s"):
                mqtt.send(change(0), None)
            wait_until(lambda: mqtt.problem is not None, "that the loss is known")
        finally:
            broker.process.send_signal(signal.SIGCONT)
        wait_until(lambda: mqtt.problem is None, "another connection")
        mqtt.send(change(0), None)


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(ImportError, match=r"paho-mqtt, which is not installed; pip install 'hf-ttr\[cameras\]'\.$"):
        Mqtt("localhost")
