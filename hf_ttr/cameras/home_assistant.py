"""What Home Assistant is told of a camera, so that its sensors are there without being set up by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .events import place_of


@dataclass(frozen=True)
class Place:
    """
    A camera, or one of its zones, as those outside know it.

    Attributes:
        camera, zone: which; `zone` is `None` for the camera as a whole.
        labels: all states that it can have.
    """

    camera: str
    zone: str | None
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        """The camera, or camera and zone, as the name of a stream."""
        return place_of(self.camera, self.zone)


def plain_id(name: str) -> str:
    """
    A name of the letters that topics of discovery may have; different names stay different.

    Example:

    ```python
    >>> from hf_ttr.cameras.home_assistant import plain_id

    >>> plain_id("front_door"), plain_id("door/mat")
    ('front_door', 'door-2f-mat')

    ```
    """
    return re.sub(r"[^A-Za-z0-9_]", lambda found: f"-{ord(found[0]):x}-", name)


def discovery(
    places: Sequence[Place], prefix: str, discovery_prefix: str = "homeassistant", pictures: Sequence[str] = ()
) -> dict[str, str]:
    """
    The retained messages of MQTT discovery: a sensor for each place, and an image for each camera with pictures.

    Args:
        places (`Sequence[Place]`): all there are.
        prefix (`str`): of the topics of the service.
        discovery_prefix (`str`): under which Home Assistant looks.
        pictures (`Sequence[str]`): the cameras whose picture is published.

    Returns:
        `dict[str, str]`: JSON by topic.

    Example:

    ```python
    >>> from hf_ttr.cameras.home_assistant import Place, discovery

    >>> messages = discovery([Place("door", None, ("nobody", "a person"))], prefix="hf_ttr")
    >>> list(messages)
    ['homeassistant/sensor/hf_ttr/door/config']

    ```
    """
    node = plain_id(prefix)
    messages: dict[str, str] = {}
    for place in places:
        topic = f"{prefix}/{place.name}/state"
        entity: dict[str, object] = {
            "name": "State" if place.zone is None else place.zone,
            "device_class": "enum",
            "options": list(place.labels),
            "state_topic": topic,
            "value_template": "{{ value_json.label }}",
            "json_attributes_topic": topic,
            "icon": "mdi:cctv",
        }
        own = plain_id(place.name)
        messages[f"{discovery_prefix}/sensor/{node}/{own}/config"] = _message(entity, prefix, place.camera, own)
    for camera in pictures:
        entity = {"name": "Picture", "image_topic": f"{prefix}/{camera}/picture", "content_type": "image/jpeg"}
        own = plain_id(camera)
        messages[f"{discovery_prefix}/image/{node}/{own}/config"] = _message(entity, prefix, camera, own)
    return messages


def _message(entity: dict[str, object], prefix: str, camera: str, own: str) -> str:
    from .. import __version__

    node = plain_id(prefix)
    whole = {
        **entity,
        "unique_id": f"{node}/{own}",
        "availability": [{"topic": f"{prefix}/available"}, {"topic": f"{prefix}/{camera}/available"}],
        "availability_mode": "all",
        "device": {
            "identifiers": [f"{node}/{plain_id(camera)}"],
            "name": camera,
            "manufacturer": "hf-ttr",
            "model": "Camera",
            "sw_version": __version__,
        },
        "origin": {"name": "hf-ttr", "sw_version": __version__},
    }
    return json.dumps(whole)


__all__ = ["Place", "discovery", "plain_id"]
