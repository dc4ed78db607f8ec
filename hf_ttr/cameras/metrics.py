"""What Prometheus is told of the cameras, in a registry of its own: a process may have several services."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .store import Counts, StoreError


if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

RECEIVED = "hf_ttr_frames_received_total"
DECODED = "hf_ttr_frames_decoded_total"
CLASSIFIED = "hf_ttr_frames_classified_total"
DROPPED = "hf_ttr_frames_dropped_total"
FPS = "hf_ttr_fps"
LATENCY = "hf_ttr_latency_seconds"
COMPUTED_SHARE = "hf_ttr_computed_share"
THRESHOLD = "hf_ttr_threshold"
DIVERGENCE = "hf_ttr_divergence"
RECONNECTIONS = "hf_ttr_reconnections_total"
STATE_CHANGES = "hf_ttr_state_changes_total"
CAMERA_UP = "hf_ttr_camera_up"
EVENTS_WAITING = "hf_ttr_events_waiting"
EVENTS_DELIVERED = "hf_ttr_events_delivered_total"
EVENTS_FOLDED = "hf_ttr_events_folded_total"
EVENTS_DROPPED = "hf_ttr_events_dropped_total"
EVENTS_GIVEN_UP = "hf_ttr_events_given_up_total"

OF_CAMERAS = {
    RECEIVED: "Frames that came from the camera.",
    DECODED: "Frames that were decoded.",
    CLASSIFIED: "Frames that went through the model.",
    DROPPED: "Frames that came faster than they could be looked at.",
    FPS: "Frames that go through the model each second.",
    COMPUTED_SHARE: "Share of the tokens of the last result that were computed.",
    THRESHOLD: "Threshold of reuse that is in force.",
    DIVERGENCE: "Divergence of the last dense check from the dense model, in nats.",
    RECONNECTIONS: "Times that the camera was lost and found again.",
    STATE_CHANGES: "Times that the state changed.",
    CAMERA_UP: "Whether the camera gives frames.",
    LATENCY: "Seconds from the arrival of a frame to its result.",
}
"""Metrics with the label `camera`, and what they are."""

OF_DESTINATIONS = {
    EVENTS_WAITING: "Changes that wait for the destination.",
    EVENTS_DELIVERED: "Changes that the destination received.",
    EVENTS_FOLDED: "Changes that were left out during a cool-down, as a newer one was sent.",
    EVENTS_DROPPED: "Changes that made room for newer ones, and were not sent.",
    EVENTS_GIVEN_UP: "Changes that the destination refused for good.",
}
"""Metrics with the label `destination`, and what they are."""

LATENCIES = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Upper bounds of the buckets of the histogram, in seconds."""

_FIELDS = {
    EVENTS_WAITING: "waiting",
    EVENTS_DELIVERED: "delivered",
    EVENTS_FOLDED: "folded",
    EVENTS_DROPPED: "dropped",
    EVENTS_GIVEN_UP: "given_up",
}


class Metrics:
    """
    Numbers of cameras and of what waits, for Prometheus. Any thread may call.

    Args:
        counts (`Callable[[], Mapping[str, Counts]]`, *optional*): what waits for each destination, such as
            `Store.counts`; asked at each scrape.

    Attributes:
        registry: of `prometheus_client`, with these metrics alone.

    Raises:
        ImportError: if prometheus-client is not installed.

    Example:

    ```python
    >>> from hf_ttr.cameras.metrics import Metrics

    >>> metrics = Metrics()
    >>> metrics.frames("door", received=120, classified=100, dropped=20, up=True)
    >>> metrics.result("door", latency_s=0.03, computed_share=0.2, threshold=0.1)
    >>> metrics.registry.get_sample_value("hf_ttr_frames_classified_total", {"camera": "door"})
    100.0

    ```
    """

    def __init__(self, counts: Callable[[], Mapping[str, Counts]] | None = None) -> None:
        try:
            from prometheus_client import CollectorRegistry, Histogram
        except ImportError:
            raise ImportError(
                "Metrics need the package prometheus-client, which is not installed; pip install 'hf-ttr[cameras]'."
            ) from None
        self.registry: CollectorRegistry = CollectorRegistry()
        self._counts = counts
        self._turn = threading.Lock()
        self._values: dict[str, dict[str, float]] = {}
        self._latency: Any = Histogram(
            LATENCY, OF_CAMERAS[LATENCY], ["camera"], buckets=LATENCIES, registry=self.registry
        )
        self.registry.register(_Collector(self._families))

    def frames(
        self,
        camera: str,
        *,
        received: int | None = None,
        decoded: int | None = None,
        classified: int | None = None,
        dropped: int | None = None,
        reconnections: int | None = None,
        fps: float | None = None,
        up: bool | None = None,
    ) -> None:
        """
        What became of the frames of a camera so far.

        Args:
            camera (`str`): its name.
            received, decoded, classified, dropped, reconnections (`int`, *optional*): counts since its beginning.
            fps (`float`, *optional*): frames that go through the model each second.
            up (`bool`, *optional*): whether it gives frames.
        """
        self._set(
            camera,
            {
                RECEIVED: received,
                DECODED: decoded,
                CLASSIFIED: classified,
                DROPPED: dropped,
                RECONNECTIONS: reconnections,
                FPS: fps,
                CAMERA_UP: up,
            },
        )

    def result(
        self,
        camera: str,
        *,
        latency_s: float,
        computed_share: float,
        threshold: float | None = None,
        divergence: float | None = None,
    ) -> None:
        """
        A result of a camera, as `StreamResult` has it.

        Args:
            camera (`str`): its name.
            latency_s (`float`): seconds from the arrival of the frame to the result.
            computed_share (`float`): share of the tokens that were computed.
            threshold (`float`, *optional*): in force.
            divergence (`float`, *optional*): of a dense check, where there was one.
        """
        self._set(camera, {COMPUTED_SHARE: computed_share, THRESHOLD: threshold, DIVERGENCE: divergence})
        self._latency.labels(camera).observe(latency_s)

    def state_changed(self, camera: str) -> None:
        """The state of a camera, or of one of its zones, has changed."""
        with self._turn:
            values = self._values.setdefault(camera, {})
            values[STATE_CHANGES] = values.get(STATE_CHANGES, 0) + 1

    def remove(self, camera: str) -> None:
        """A camera is gone, and with it all that is said of it."""
        with self._turn:
            self._values.pop(camera, None)
        self._latency.remove_by_labels({"camera": camera})

    def _set(self, camera: str, values: Mapping[str, float | None]) -> None:
        with self._turn:
            own = self._values.setdefault(camera, {})
            # A change counts from 0, so that its first one is seen as an increase.
            own.setdefault(STATE_CHANGES, 0)
            own.update({name: float(value) for name, value in values.items() if value is not None})

    def _families(self) -> Iterable[Metric]:
        with self._turn:
            cameras = {camera: dict(values) for camera, values in self._values.items()}
        for name, what in OF_CAMERAS.items():
            if name != LATENCY:
                of_cameras = {camera: values[name] for camera, values in cameras.items() if name in values}
                yield _family(name, what, "camera", of_cameras)
        if self._counts is not None:
            try:
                counts = self._counts()
            except StoreError:  # the rest is still worth knowing
                return
            for name, what in OF_DESTINATIONS.items():
                numbers = {destination: getattr(count, _FIELDS[name]) for destination, count in counts.items()}
                yield _family(name, what, "destination", numbers)


class _Collector:
    """What the registry asks at each scrape."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self.collect = families

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not ask for the values."""
        return ()


def _family(name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family = kind(name, what, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


__all__ = ["OF_CAMERAS", "OF_DESTINATIONS", "Metrics"]
