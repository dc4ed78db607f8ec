"""What is said when the state of a camera changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class StateChange:
    """
    The state of a camera, or of one of its zones, has changed.

    Attributes:
        camera, zone: of which; `zone` is `None` for the camera as a whole.
        number: of the change, counted from 0 for each camera and zone, also across restarts of the service.
        label: the new state.
        score: mean score of the label in the results that agreed on it.
        previous: the state before; `None` for the first.
        previous_since: when that began, as ISO 8601 has it; `None` for the first.
        start, end: when the first and the last of the results that agreed arrived: date, time to the millisecond and
            offset of the local time zone, as ISO 8601 has it.
        start_time, end_time: timestamps of the same two in the stream, in seconds.
        first_frame, last_frame: the same two, counted in the source from 0.
        computed_share: share of the tokens of those results that were computed.
        has_picture: whether there is a JPEG of the last frame.
    """

    camera: str
    zone: str | None
    number: int
    label: str
    score: float
    previous: str | None
    previous_since: str | None
    start: str
    end: str
    start_time: float
    end_time: float
    first_frame: int
    last_frame: int
    computed_share: float
    has_picture: bool = False

    @property
    def place(self) -> str:
        """The camera, or camera and zone, as the name of a stream."""
        return place_of(self.camera, self.zone)

    @property
    def id(self) -> str:
        """What no other change of a service has, however often this one is sent."""
        return f"{self.place}/{self.number}"

    def to_dict(self) -> dict[str, Any]:
        """All of it with its id, as JSON can hold it."""
        return {"id": self.id, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StateChange:
        """What `to_dict` gave."""
        return cls(**{one.name: values[one.name] for one in fields(cls)})


def place_of(camera: str, zone: str | None) -> str:
    """The name of the stream of a camera, or of one of its zones; names have no slash."""
    return camera if zone is None else f"{camera}/{zone}"
