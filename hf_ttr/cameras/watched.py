"""The cameras of a service as streams: where they come from, what is seen in them, and in which states they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ..streaming import open_source
from ..streaming.crop import Crop
from ..streaming.names import origin
from .events import place_of
from .states import StateTracker


if TYPE_CHECKING:
    from ..answers.scores import ScoreKind
    from .settings import CameraSettings


@dataclass
class WatchedCamera:
    """
    A camera with the states of what is watched in it.

    Args:
        name (`str`): of the camera.
        settings: of the camera.
        kind: what makes scores of logits.

    Attributes:
        trackers: by the names of their streams.
    """

    name: str
    settings: CameraSettings
    kind: ScoreKind
    trackers: dict[str, StateTracker] = field(init=False)

    def __post_init__(self) -> None:
        trackers = [
            StateTracker(self.name, zone, place.states.agree, place.states.min_score, place.labels, self.kind)
            for zone, place in self.settings.places.items()
        ]
        self.trackers = {tracker.place: tracker for tracker in trackers}

    @property
    def crops(self) -> dict[str, Crop]:
        """What the streams see of the picture."""
        return {place_of(self.name, zone): Crop(*place.crop) for zone, place in self.settings.places.items()}

    @property
    def origins(self) -> dict[str, str]:
        """What the streams are known by when a service goes on: another source, rate or crop is another stream."""
        source = origin(self.settings.source.get_secret_value()) or ""
        rate = "" if self.settings.fps is None else f", {self.settings.fps:g} frames a second"
        return {
            place_of(self.name, zone): f"{source}{rate}, {', '.join(f'{side:g}' for side in place.crop)}"
            for zone, place in self.settings.places.items()
        }

    @property
    def opener(self) -> Any:
        """Opens the source, in the background."""
        return partial(
            open_source,
            self.settings.source.get_secret_value(),
            name=self.name,
            protocols=self.settings.protocols,
            live=self.settings.live,
            timeout=self.settings.timeout_s,
            max_fps=self.settings.fps,
        )

    def restore(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """
        Takes up the states of a service before.

        Raises:
            ValueError: if one of them is none.
        """
        for place, tracker in self.trackers.items():
            if place in states:
                tracker.restore(states[place])
