"""Changes of states, as tests need them."""

from __future__ import annotations

from hf_ttr.cameras.events import StateChange


NOW = "2026-01-01T12:00:00.000+00:00"


def change(number: int, camera: str = "door", zone: str | None = None, label: str = "a parcel") -> StateChange:
    """The change of a camera with a number; all else is of no matter."""
    previous = None if number == 0 else "nobody"
    since = None if number == 0 else NOW
    return StateChange(camera, zone, number, label, 0.9, previous, since, NOW, NOW, 1.0, 1.4, 25, 35, 0.2)
