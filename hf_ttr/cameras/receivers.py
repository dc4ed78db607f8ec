"""Those who hear of changes: the broker, and the webhooks of cameras."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from ..display import shown
from .delivery import PATIENCE, Delivery
from .events import StateChange
from .home_assistant import Place
from .mqtt import Mqtt
from .store import Store, StoreError
from .watched import WatchedCamera
from .webhook import Webhook


if TYPE_CHECKING:
    from .settings import MqttSettings, WebhookSettings


logger = logging.getLogger(__name__)

MQTT = "mqtt"
WEBHOOK = "webhook:"


class Receivers:
    """
    Hands changes on to all who are to hear of them; a context manager that ends that.

    What waits for a receiver is in the store. What waited for one that is not in the settings any more is let go, once
    what is being sent to it has ended; nobody waits for that.

    Args:
        store: where changes wait.
        mqtt (`MqttSettings`, *optional*): of the broker.
        labels (`tuple[str, ...]`): all states that a camera can have.

    Raises:
        ImportError: if a package is missing; one sentence.
        ValueError: if a certificate or an address cannot be used; one sentence.
    """

    def __init__(self, store: Store, mqtt: MqttSettings | None, labels: tuple[str, ...]) -> None:
        self._store, self._labels = store, labels
        self._webhooks: dict[str, tuple[WebhookSettings, Webhook, Delivery]] = {}
        self._ending: dict[str, Delivery] = {}
        self._most_waiting: dict[str, int] = {}
        self._with_picture: set[str] = set()
        self._turn = threading.RLock()
        self._is_failing = self._is_closed = self._is_running = False
        self.mqtt: Mqtt | None = None
        self._delivery: Delivery | None = None
        if mqtt is not None:
            self.mqtt = _broker(mqtt)
            self._delivery = Delivery(store, MQTT, self.mqtt.send)
            self.mqtt.on_connected = self._delivery.retry_now
            self.mqtt.start()
            self._most_waiting[MQTT] = mqtt.most_waiting

    def set_cameras(self, cameras: Mapping[str, WatchedCamera]) -> None:
        """
        Which cameras there are from now on; receivers of others are let go.

        Raises:
            ImportError: if a package is missing; one sentence. Another time than the first, it is logged.
            ValueError: if the proxy of the environment cannot be used; the same.
        """
        with self._turn:
            for name in list(self._webhooks):
                camera = cameras.get(name)
                if camera is None or camera.settings.webhook != self._webhooks[name][0]:
                    _, webhook, delivery = self._webhooks.pop(name)
                    self._ending[name] = delivery
                    delivery.end(partial(self._ended, name, webhook, delivery))
            wanted = {name: it for name, camera in cameras.items() if (it := camera.settings.webhook) is not None}
            self._with_picture = {name for name, settings in wanted.items() if settings.picture}
            self._most_waiting |= {f"{WEBHOOK}{name}": settings.most_waiting for name, settings in wanted.items()}
            for name, settings in wanted.items():
                if name not in self._webhooks:
                    try:
                        webhook = _webhook(settings)
                    except (ImportError, OSError, ValueError) as error:
                        if not self._is_running:
                            raise
                        logger.error(f"Changes wait for {WEBHOOK}{name}: {shown(error, None)}")
                        continue
                    delivery = Delivery(
                        self._store,
                        f"{WEBHOOK}{name}",
                        webhook.send,
                        settings.cooldown_s,
                        after=self._ending.get(name),
                    )
                    self._webhooks[name] = settings, webhook, delivery
            known = {f"{WEBHOOK}{name}" for name in wanted} | ({MQTT} if self.mqtt is not None else set())
            self._most_waiting = {name: most for name, most in self._most_waiting.items() if name in known}
            self._forget()
            self._is_running = True
        if self.mqtt is not None:
            places = [
                Place(camera.name, tracker.zone, tracker.labels or self._labels)
                for camera in cameras.values()
                for tracker in camera.trackers.values()
            ]
            pictures = [name for name, camera in cameras.items() if camera.settings.picture is not None]
            trackers = [tracker for camera in cameras.values() for tracker in camera.trackers.values()]
            meant = [one.last for one in trackers if one.last and one.label in (one.labels or self._labels)]
            without_state = {one.place for one in trackers} - {change.place for change in meant}
            self.mqtt.set_places(places, pictures, without_state, self._former())
            for change in meant:
                self.mqtt.show(change)

    def _ended(self, name: str, webhook: Webhook, delivery: Delivery) -> None:
        """The thread of a receiver that is let go has ended, on which this runs."""
        webhook.close()
        with self._turn:
            if self._ending.get(name) is delivery:
                del self._ending[name]
            if not self._is_closed:
                self._forget()

    def _forget(self) -> None:
        """Lets go of what waits for those that are gone; what a full disk does not let go is for the next time."""
        kept = {*self._most_waiting, *(f"{WEBHOOK}{name}" for name in self._ending)}
        try:
            for name in self._store.counts().keys() - kept:
                if count := self._store.forget(name):
                    logger.warning(f"{count} changes waited for {name}, which is not in the settings any more.")
        except StoreError as error:
            if not self._is_failing:
                logger.error(f"{error} What waited for receivers that are gone is let go another time.")
            self._is_failing = True
        else:
            self._is_failing = False

    def _former(self) -> set[str]:
        """All cameras that there ever were, as far as it is known."""
        try:
            return {place.partition("/")[0] for place in self._store.states()}
        except StoreError:
            return set()

    def of(self, change: StateChange) -> dict[str, int]:
        """Who is to hear of a change, each with how many may wait for it: see `Store.commit`."""
        wanted = (MQTT, f"{WEBHOOK}{change.camera}")
        return {name: self._most_waiting[name] for name in wanted if name in self._most_waiting}

    def picture_of(self, change: StateChange, picture: bytes | None) -> bytes | None:
        """What is to be kept of a picture: all of it, or nothing where it goes to none of those who are told later."""
        return picture if change.camera in self._with_picture else None

    def close(self) -> None:
        """Ends all of it; what was not received waits for the next time."""
        with self._turn:
            self._is_closed = True
            deliveries = list(self._ending.values())
        for _, webhook, delivery in self._webhooks.values():
            delivery.end(webhook.close)
            deliveries.append(delivery)
        if self._delivery is not None:
            self._delivery.end()
            deliveries.append(self._delivery)
        end = time.monotonic() + PATIENCE
        for delivery in deliveries:
            delivery.wait(end - time.monotonic())
        if self.mqtt is not None:
            self.mqtt.close()

    def __enter__(self) -> Receivers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _broker(settings: MqttSettings) -> Mqtt:
    tls = settings.tls
    return Mqtt(
        settings.host,
        settings.port,
        settings.username,
        None if settings.password is None else settings.password.get_secret_value(),
        settings.client,
        settings.topic_prefix,
        settings.discovery_prefix,
        settings.discovery is not None,
        tls is not None,
        None if tls is None else tls.ca_file,
        None if tls is None else tls.cert_file,
        None if tls is None else tls.key_file,
        settings.keepalive_s,
    )


def _webhook(settings: WebhookSettings) -> Webhook:
    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    return Webhook(settings.url.get_secret_value(), headers, settings.timeout_s, settings.picture)
