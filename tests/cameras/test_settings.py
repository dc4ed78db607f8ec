"""Settings of cameras: what is taken and what is not, what is shown of them, and what changed from one to the next."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
import typing
from typing import Any

import pytest


pytest.importorskip("pydantic", reason="pydantic is not installed; hf-ttr[cameras] brings it.")

from pydantic import ValidationError

from hf_ttr.cameras.changes import Changes, changed
from hf_ttr.cameras.secrets import Address, FromEnvironment, WebhookAddress, has_environment, plain, said
from hf_ttr.cameras.settings import (
    CameraSettings,
    MqttSettings,
    Place,
    Protocol,
    ServiceSettings,
    StateSettings,
    WebhookSettings,
    protocol_of,
)
from hf_ttr.cli.options import DTYPES
from hf_ttr.streaming import StreamOptions
from hf_ttr.streaming.address import PROTOCOLS, read_address


SECRET = "Xq7-secret-9"
CAMERA = {"source": "rtsp://10.0.0.5/stream"}


def service(cameras: dict[str, Any] | None = None, **settings: Any) -> ServiceSettings:
    return ServiceSettings.model_validate(
        {"model": "some/model", "cameras": {"door": CAMERA} if cameras is None else cameras, **settings}
    )


def faults(**settings: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as caught:
        service(**settings)
    return [(".".join(map(str, one["loc"])), one["msg"]) for one in caught.value.errors()]


def everything(text: Any) -> dict[str, Any]:
    """All that can hold a secret, by a function that makes it."""
    return {
        "model": "some/model",
        "labels": ["empty", text("LABEL")],
        "template": text("TEMPLATE"),
        "device": text("DEVICE"),
        "data": text("DATA"),
        "mqtt": {
            "host": text("HOST"),
            "username": text("USER"),
            "password": text("PASSWORD"),
            "topic_prefix": text("PREFIX"),
            "client_id": text("CLIENT"),
            "tls": {"ca_file": text("CA")},
        },
        "cameras": {
            "door": {
                "source": text("SOURCE"),
                "labels": ["empty", text("LABEL")],
                "zones": {"gate": {"crop": [0, 0, 1, 1], "labels": ["empty", text("LABEL")]}},
                "webhook": {"url": text("URL"), "headers": {"Authorization": text("TOKEN")}},
            }
        },
    }


def test_defaults_are_those_of_the_engine() -> None:
    settings = service()
    assert settings.stream_options == StreamOptions()
    assert settings.temporal_reuse == {"mode": "causal"}
    camera = settings.cameras["door"]
    assert camera.states == StateSettings(agree=3, min_score=0.5) and camera.timeout_s == 10
    assert camera.protocols == PROTOCOLS and camera.picture is None and camera.webhook is None
    assert settings.mqtt is None and settings.metrics is None
    mqtt = MqttSettings(host="localhost", topic_prefix="home/cameras")
    assert (mqtt.port, mqtt.client, mqtt.tls, mqtt.discovery) == (1883, "home-cameras", None, None)


def test_dtypes_and_protocols_are_those_of_the_package() -> None:
    dtypes, _ = typing.get_args(ServiceSettings.model_fields["dtype"].annotation)
    assert typing.get_args(dtypes) == DTYPES
    assert set(PROTOCOLS) < set(typing.get_args(Protocol))


@pytest.mark.parametrize(
    "source",
    [
        "clip.mp4",
        "/dev/video0",
        "camera:0",
        "camera:Some Name",
        "http://h/x",
        "HTTPS://h/x",
        "rtsp://h/x",
        "live:http://h/x",
    ],
)
def test_the_protocol_of_a_source_is_that_which_opening_it_finds(source: str) -> None:
    text = source.removeprefix("live:")
    found = read_address(text, [protocol_of(source)])
    assert found is not None or protocol_of(source) == "file"
    others = [one for one in typing.get_args(Protocol) if one != protocol_of(source)]
    with pytest.raises(ValueError, match="not allowed"):
        read_address(text, others)
    with pytest.raises(ValidationError, match="uses a protocol that is not allowed"):
        CameraSettings.model_validate({"source": source, "protocols": others})


def test_short_forms_stand_for_long_ones() -> None:
    short = service(
        {"door": {**CAMERA, "picture": True, "zones": {"gate": [0, 0, 0.5, 1]}}}, mqtt={"host": "h", "tls": True}
    )
    long = service(
        {"door": {**CAMERA, "picture": {}, "zones": {"gate": {"crop": [0.0, 0.0, 0.5, 1.0]}}}},
        mqtt={"host": "h", "tls": {}},
    )
    assert short == long and short.cameras["door"].picture is not None
    off = service({"door": {**CAMERA, "picture": False}}, mqtt={"host": "h", "tls": False})
    assert off.cameras["door"].picture is None and off.mqtt is not None and off.mqtt.tls is None


def test_a_zone_has_what_its_camera_has_unless_it_says_otherwise() -> None:
    camera = {
        **CAMERA,
        "labels": ["a", "b"],
        "states": {"agree": 7},
        "zones": {
            "gate": [0, 0, 0.5, 1],
            "steps": {"crop": [0.5, 0, 1, 1], "labels": ["b", "c"], "states": {"agree": 1}},
        },
    }
    places = service({"door": camera}, labels=["a", "b", "c"]).cameras["door"].places
    assert places == {
        "gate": Place((0, 0, 0.5, 1), ("a", "b"), StateSettings(agree=7)),
        "steps": Place((0.5, 0, 1, 1), ("b", "c"), StateSettings(agree=1)),
    }
    assert service().cameras["door"].places == {None: Place((0, 0, 1, 1), None, StateSettings())}
    cropped = service({"door": {**CAMERA, "crop": [0, 0, 0.5, 0.5]}}).cameras["door"]
    assert cropped.places[None].crop == (0, 0, 0.5, 0.5)


@pytest.mark.parametrize(
    ("camera", "place", "message"),
    [
        ({"crop": [0, 0, 640, 480]}, "crop", "divide pixels"),
        ({"crop": [0, 0, 1]}, "crop", "four numbers"),
        ({"crop": "all"}, "crop", "left below right"),
        ({"crop": [0.5, 0, 0.5, 1]}, "crop", "left below right"),
        ({"crop": [-0.1, 0, 1, 1]}, "crop", "from 0 to 1"),
        ({"crop": [0, 0, 1, float("nan")]}, "crop", "four numbers"),
        ({"crop": [0, 0, 1, True]}, "crop", "four numbers"),
        ({"labels": ["a"]}, "labels", "at least two labels"),
        ({"labels": ["a", " a"]}, "labels", "twice"),
        ({"fps": 0}, "fps", "greater than 0"),
        ({"fps": True}, "fps", "valid number"),
        ({"fps": float("inf")}, "fps", "less than or equal|finite"),
        ({"source": ""}, "source", "in one line"),
        ({"source": "a\nb"}, "source", "in one line"),
        ({"source": "ftp://h/x"}, "protocols", "protocol that is not allowed"),
        ({"webhook": {"url": "ftp://h/x"}}, "webhook.url", "http://"),
        ({"webhook": {"url": "http://"}}, "webhook.url", "http://"),
        ({"webhook": {"url": "http://h:x/"}}, "webhook.url", "port"),
        ({"webhook": {"url": "http://h:70000"}}, "webhook.url", "port"),
        ({"webhook": {"url": "http://10.0.0.256/x"}}, "webhook.url", "host that cannot be one"),
        ({"webhook": {"url": "http://\u2603.net/"}}, "webhook.url", "host that cannot be one"),
        ({"webhook": {"url": "http://:80/x"}}, "webhook.url", "host that cannot be one"),
        ({"webhook": {"url": "http://@/x"}}, "webhook.url", "host that cannot be one"),
        ({"webhook": {"url": "http://[::1]x/"}}, "webhook.url", "host that (cannot be one|is none)"),
        ({"webhook": {"url": f"http://h/{'a' * 70_000}"}}, "webhook.url", "too long"),
        ({"webhook": {"url": "http://h/a b"}}, "webhook.url", "without spaces"),
        ({"webhook": {"url": "http://h", "headers": {"a b": "c"}}}, "webhook.headers", "no name of a header"),
        ({"webhook": {"url": "http://h", "headers": {"a": "c\r\nd: e"}}}, "webhook.headers", "in one line"),
        ({"webhook": {"url": "http://h", "headers": {"a": "\xe9"}}}, "webhook.headers", "ASCII"),
        ({"webhook": {"url": "http://h", "headers": {"Host": "x"}}}, "webhook.headers", "each request has already"),
        ({"webhook": {"url": "http://h", "picture": True}}, "webhook", "no picture is made"),
        ({"webhook": {"url": "http://h", "cooldown_s": 1e10}}, "webhook.cooldown_s", "less than or equal to"),
        ({"webhook": {"url": "http://h", "timeout_s": 1e300}}, "webhook.timeout_s", "less than or equal to"),
        ({"timeout_s": 1e7}, "timeout_s", "less than or equal to"),
        ({"states": {"agree": 1.5}}, "states.agree", "valid integer"),
        ({"zones": {"a b": [0, 0, 1, 1]}}, "zones.a b.[key]", "no name"),
        ({"nothing": 1}, "nothing", "Extra inputs"),
    ],
)
def test_what_a_camera_cannot_be(camera: dict[str, Any], place: str, message: str) -> None:
    found = faults(cameras={"door": {**CAMERA, **camera}}, labels=["a", "b"])
    assert [where for where, _ in found] == [f"cameras.door.{place}"]
    assert re.search(message, found[0][1])


@pytest.mark.parametrize(
    ("settings", "place", "message"),
    [
        ({"cameras": {}}, "cameras", "at least 1"),
        ({"cameras": {"a/b": CAMERA}}, "cameras.a/b.[key]", "no name"),
        ({"labels": ["a"]}, "labels", "at least two"),
        ({"temporal_reuse": {"mode": "bidirectional"}}, "temporal_reuse", "must be one of causal, off"),
        ({"temporal_reuse": {"threshold": -1}}, "temporal_reuse", "at least 0"),
        ({"temporal_reuse": {"treshold": 1}}, "temporal_reuse", "did you mean threshold"),
        ({"max_divergence": 0.1}, "max_divergence", "add verify_every"),
        ({"max_threshold": 0.1}, "max_threshold", "add latency_budget_ms"),
        ({"template": "a {}"}, "template", "has no meaning without labels, as it is what they are put into"),
        ({"template": "a photo", "labels": ["a", "b"]}, "template", "is 'a photo', but must be a text with one {}"),
        ({"template": "{} {}", "labels": ["a", "b"]}, "template", "must be a text with one {} in it"),
        ({"template": 3, "labels": ["a", "b"]}, "template", "valid string"),
        ({"mqtt": {"host": "h", "port": 0}}, "mqtt.port", "greater than or equal to 1"),
        ({"mqtt": {"host": "h:1883/"}}, "mqtt.host", "host alone"),
        ({"mqtt": {"host": "h", "password": "x"}}, "mqtt.password", "add username"),
        ({"mqtt": {"host": "h", "topic_prefix": "a/+"}}, "mqtt.topic_prefix", "without"),
        ({"mqtt": {"host": "h", "topic_prefix": "/a"}}, "mqtt.topic_prefix", "without"),
        ({"mqtt": {"host": "h", "tls": {"key_file": "k"}}}, "mqtt.tls.key_file", "add cert_file"),
    ],
)
def test_what_a_service_cannot_be(settings: dict[str, Any], place: str, message: str) -> None:
    found = faults(**settings)
    assert [where for where, _ in found] == [place] and message in found[0][1]


def test_labels_of_cameras_and_zones_are_some_of_the_services() -> None:
    assert service({"door": {**CAMERA, "labels": ["c", "a"]}}, labels=["a", "b", "c"])
    for camera in ({"labels": ["a", "x"]}, {"zones": {"gate": {"crop": [0, 0, 1, 1], "labels": ["a", "x"]}}}):
        assert "not among the labels" in faults(cameras={"door": {**CAMERA, **camera}}, labels=["a", "b"])[0][1]
    assert "has none" in faults(cameras={"door": {**CAMERA, "labels": ["a", "b"]}})[0][1]


def test_settings_are_fixed_and_equal_by_value() -> None:
    settings = service()
    with pytest.raises(ValidationError, match="frozen"):
        settings.batch_size = 2  # type: ignore[misc]
    assert settings == service() and settings != service(batch_size=2)
    assert settings == ServiceSettings.model_validate(settings.model_dump())
    assert copy.deepcopy(settings) == pickle.loads(pickle.dumps(settings)) == settings


def test_what_came_out_of_the_environment_is_not_shown() -> None:
    def text(name: str) -> FromEnvironment:
        value = f"{'http://h/' if name in ('SOURCE', 'URL') else ''}{SECRET}{' {}' if name == 'TEMPLATE' else ''}"
        return FromEnvironment(value, f"${{{name}}}")

    settings = ServiceSettings.model_validate(everything(text))
    assert settings.mqtt is not None and settings.mqtt.password is not None
    camera = settings.cameras["door"]
    # It is there, as it is to be used, and stays hidden in copies.
    assert settings.mqtt.password.get_secret_value() == settings.mqtt.host == camera.labels[1] == SECRET  # type: ignore[index]
    assert camera.webhook is not None and camera.webhook.url.get_secret_value() == f"http://h/{SECRET}"
    copies = [settings, copy.copy(settings), copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))]
    parts = [
        camera,
        camera.places,
        camera.webhook,
        camera.source,
        settings.mqtt,
        settings.mqtt.password,
        settings.cameras,
    ]
    for one in [*copies, *parts]:
        for shown in (repr(one), str(one), f"{one}", f"{one!s:>5}"):
            assert SECRET not in shown
    for one in copies:
        assert SECRET not in json.dumps(one.as_shown())
    assert settings.as_shown()["mqtt"]["host"] == "${HOST}" and settings.as_shown()["labels"] == ["empty", "${LABEL}"]


def test_secrets_in_the_file_itself_are_not_shown() -> None:
    values = everything(lambda name: SECRET)
    values |= {"labels": ["empty", "full"], "template": None, "device": None, "data": "data"}
    values["mqtt"] = {"host": "h", "username": "me", "password": SECRET}
    values["cameras"]["door"] = {
        "source": f"rtsp://me:{SECRET}@h/live?token={SECRET}",
        "webhook": {"url": f"http://me:{SECRET}@h:80/{SECRET}?x={SECRET}", "headers": {"A": SECRET}},
    }
    settings = ServiceSettings.model_validate(values)
    assert SECRET not in f"{settings!r}{settings}{settings.as_shown()}{settings.cameras['door'].webhook}"
    assert str(settings.cameras["door"].source) == "rtsp://h/live?token=***"
    webhook = settings.cameras["door"].webhook
    assert webhook is not None and str(webhook.url) == "http://h:80/***"


def test_errors_show_no_value_that_is_secret() -> None:
    def text(name: str) -> FromEnvironment:
        return FromEnvironment(f"\n{SECRET}/@#", f"${{{name}}}")

    for values in (everything(text), everything(lambda name: f"\n{SECRET}/@#"), everything(lambda name: [SECRET])):
        with pytest.raises(ValidationError) as caught:
            ServiceSettings.model_validate(values)
        assert caught.value.error_count() >= 5
        # What stands in the file itself, where nobody has a secret.
        public = rf"is '\\n{SECRET}/@#', but must be (the beginning|a text with one)"
        assert SECRET not in re.sub(public, "", str(caught.value))


def test_addresses() -> None:
    assert Address("a") == Address("a") != Address("b") and hash(Address("a")) == hash(Address("a"))
    assert str(WebhookAddress("https://hooks.example/T0/B0/x")) == "https://hooks.example/***"
    filled = FromEnvironment("rtsp://u:p@h/x", "rtsp://u:${PW}@${HOST}/x")
    assert str(Address(filled)) == "rtsp://${HOST}/x" and Address(filled).get_secret_value() == "rtsp://u:p@h/x"
    assert isinstance(WebhookSettings.model_validate({"url": "http://h"}).url, WebhookAddress)


def test_values_of_the_environment_are_read_as_yaml_where_no_text_is_meant() -> None:
    texts = {"5": 5, "0.5": 0.5, "true": True, "false": False, "": None, " 7 ": 7, "word": "word"}
    assert {text: plain(FromEnvironment(text, "${X}")) for text in texts} == texts
    assert plain("5") == "5" and not has_environment({"a": ["5"]})
    assert has_environment({"a": [{"b": FromEnvironment("5", "${X}")}]})
    settings = service({"door": {**CAMERA, "fps": FromEnvironment("2.5", "${X}")}})
    assert settings.cameras["door"].fps == 2.5 and settings.as_shown()["cameras"]["door"]["fps"] == "${X}"
    # A number in quotes is none, and a password of digits is a text.
    assert faults(batch_size="5")
    mqtt = service(mqtt={"host": "h", "username": "me", "password": FromEnvironment("123", "${X}")}).mqtt
    assert mqtt is not None and mqtt.password is not None and mqtt.password.get_secret_value() == "123"


def test_what_is_said_of_a_value() -> None:
    values = {"empty": None, "true": True, "'a'": "a", "3": 3, "a mapping": {"a": 1}, "[1, 'a', ...]": [1, "a", [2]]}
    assert {said(value): value for value in values.values()} == values
    assert said([FromEnvironment(SECRET, "${X}")]) == "['${X}']"


def test_changes_name_the_cameras_that_are_to_be_touched() -> None:
    one, two = {"source": "rtsp://a/x"}, {"source": "rtsp://b/x"}
    before = service({"same": one, "gone": two, "other": one, "off": two})
    assert changed(before, service({"same": one, "gone": two, "other": one, "off": two})) == Changes()
    assert not Changes()
    after = service(
        {"new": two, "other": {**one, "states": {"agree": 4}}, "same": one, "off": {**two, "enabled": False}}
    )
    assert changed(before, after) == Changes(added=("new",), removed=("gone", "off"), changed=("other",))
    assert changed(after, before) == Changes(added=("gone", "off"), removed=("new",), changed=("other",))


def test_changes_of_the_service_need_a_restart() -> None:
    before = service(mqtt={"host": "a"})
    after = service(mqtt={"host": "b"}, batch_size=3)
    assert changed(before, after) == Changes(needs_restart=("batch_size", "mqtt"))
    # What the environment gives is compared by its value.
    filled = {"host": FromEnvironment("a", "${HOST}")}
    assert changed(before, service(mqtt=filled)) == Changes()
    assert changed(before, service(mqtt={"host": FromEnvironment("b", "${HOST}")})).needs_restart == ("mqtt",)


def test_settings_load_no_torch() -> None:
    code = (
        "import sys; from hf_ttr.cameras import changes, reading, settings; "
        "settings.ServiceSettings(model='m', temporal_reuse={'mode': 'off'}, cameras={'a': {'source': 'x'}}); "
        "print([name for name in ('torch', 'transformers', 'numpy', 'av') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
