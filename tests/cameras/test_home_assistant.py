"""What Home Assistant is told has the fields that it asks for, and names that are nobody else's."""

from __future__ import annotations

import json
import re
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from hf_ttr.cameras.home_assistant import Place, discovery, plain_id


LABELS = ("an empty driveway", "a parcel on the ground")
NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)


def test_a_camera_is_a_sensor_of_its_labels_that_is_there_while_service_and_camera_are() -> None:
    messages = discovery([Place("door", None, LABELS)], "home/ttr")
    ((topic, text),) = messages.items()
    entity = json.loads(text)
    assert topic == "homeassistant/sensor/home-2f-ttr/door/config"
    assert entity["state_topic"] == entity["json_attributes_topic"] == "home/ttr/door/state"
    assert entity["device_class"] == "enum" and entity["options"] == list(LABELS)
    assert entity["value_template"] == "{{ value_json.label }}"
    assert entity["availability"] == [{"topic": "home/ttr/available"}, {"topic": "home/ttr/door/available"}]
    assert entity["availability_mode"] == "all" and entity["device"]["name"] == "door"
    # A sensor of texts has neither unit nor state class.
    assert not {"unit_of_measurement", "state_class"} & set(entity)


def test_zones_and_pictures_belong_to_the_device_of_their_camera() -> None:
    places = [Place("door", "mat", LABELS), Place("door", "step", LABELS[::-1])]
    messages = {topic: json.loads(text) for topic, text in discovery(places, "hf_ttr", "ha", ["door"]).items()}
    assert list(messages) == [
        "ha/sensor/hf_ttr/door-2f-mat/config",
        "ha/sensor/hf_ttr/door-2f-step/config",
        "ha/image/hf_ttr/door/config",
    ]
    assert len({json.dumps(entity["device"]) for entity in messages.values()}) == 1
    assert [entity["name"] for entity in messages.values()] == ["mat", "step", "Picture"]
    image = messages["ha/image/hf_ttr/door/config"]
    assert image["image_topic"] == "hf_ttr/door/picture" and image["content_type"] == "image/jpeg"


@given(st.lists(st.tuples(NAMES, st.none() | NAMES), min_size=2, max_size=6, unique=True))
def test_no_two_places_share_a_topic_or_an_id(names: list[tuple[str, str | None]]) -> None:
    places = [Place(camera, zone, LABELS) for camera, zone in names]
    messages = discovery(places, "hf_ttr")
    assert len(messages) == len(places) == len({json.loads(text)["unique_id"] for text in messages.values()})
    assert all(re.fullmatch(r"homeassistant/sensor/hf_ttr/[A-Za-z0-9_-]+/config", topic) for topic in messages)


def test_different_prefixes_stay_different() -> None:
    prefixes = ["a/b", "a_b", "a-b", "a-2f-b", "a b", "ä", "a"]
    assert all(plain_id(one) != plain_id(other) for one, other in combinations(prefixes, 2))
