"""Changes, states and availability of cameras to an MQTT broker, and through it to Home Assistant."""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from ..checks import first_line
from ..display import shown
from .backoff import Backoff
from .delivery import SendError
from .events import StateChange
from .home_assistant import Place, discovery, plain_id


logger = logging.getLogger(__name__)

ONLINE = "online"
OFFLINE = "offline"

_ANSWER_S = 10.0
_PATIENCE_S = 3.0
_SHORT_S = 10.0
_BIRTH = "online"


class Mqtt:
    """
    One service at an MQTT broker: it is looked for until it is there, and again when it is lost.

    | topic | retained | what |
    |---|---|---|
    | `<prefix>/available` | yes | `online`, or `offline` once the service has ended, however it did |
    | `<prefix>/<camera>/available` | yes | `online` or `offline` |
    | `<prefix>/<camera>/state`, `<prefix>/<camera>/<zone>/state` | yes | JSON: `label`, `score`, `since`, `id` |
    | `<prefix>/<camera>/picture` | yes | the JPEG of the last change, where pictures are wanted |
    | `<prefix>/<camera>/event` | no | JSON of `StateChange.to_dict()`, with QoS 1 |

    After each connection availability, discovery, states and pictures are published anew, and what is retained of
    cameras that are gone is removed, also of those that went while the service did not run. Messages to Home Assistant
    come again when it says that it has started. Events do not come from here: `send` is for a `Delivery`.

    Any thread may call. What is wrong with the broker is in `problem`, and logged once until it is something else.

    Args:
        host (`str`): of the broker.
        port (`int`): of the broker.
        username, password (`str`, *optional*): for the broker.
        client_id (`str`, *optional*): by default made of the prefix; no two services at a broker have the same.
        topic_prefix (`str`): in front of all topics, without wildcards.
        discovery_prefix (`str`): where Home Assistant looks.
        is_discovered (`bool`): whether it is told of the cameras; if not, what it was told before is removed.
        tls (`bool`): whether the connection is encrypted.
        ca_file, cert_file, key_file (`str`, *optional*): certificates of the broker's authority, and of this client.
        keepalive_s (`int`): seconds after which a silent broker is asked whether it is there.
        on_connected (`Callable[[], None]`, *optional*): called after each connection, such as `Delivery.retry_now`.

    Raises:
        ImportError: if paho-mqtt is not installed.
        ValueError: if a certificate cannot be used; the message is one sentence.
    """

    def __init__(
        self,
        host: str,
        port: int = 1883,
        username: str | None = None,
        password: str | None = None,
        client_id: str | None = None,
        topic_prefix: str = "hf_ttr",
        discovery_prefix: str = "homeassistant",
        is_discovered: bool = True,
        tls: bool = False,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        keepalive_s: int = 30,
        on_connected: Callable[[], None] | None = None,
    ) -> None:
        try:
            import paho.mqtt.client as paho
        except ImportError:
            raise ImportError(
                "MQTT needs the package paho-mqtt, which is not installed; pip install 'hf-ttr[cameras]'."
            ) from None
        self._paho = paho
        self.name = shown(f"{host}:{port}")
        self.problem: str | None = f"The MQTT broker {self.name} was not asked yet."
        self.prefix = topic_prefix
        self.on_connected = on_connected
        self._host, self._port, self._keepalive_s = host, port, keepalive_s
        self._username, self._password = username, password
        self._client_id = client_id or plain_id(topic_prefix)
        self._discovery_prefix, self._is_discovered = discovery_prefix, is_discovered
        self._tls = _tls_context(ca_file, cert_file, key_file) if tls else None
        self._turn = threading.RLock()
        self._client: Any = None
        self._is_connected = False
        self._retained: dict[str, str | bytes] = {}
        self._discovery: dict[str, str] = {}
        self._places: tuple[Place, ...] | None = None
        self._without_picture: tuple[str, ...] = ()
        self._without_state: set[str] = set()
        self._former: frozenset[str] = frozenset()
        self._asked = threading.Event()
        self._lost = threading.Event()
        self._closing = threading.Event()
        self._said: str | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Looks for the broker from now on."""
        self._thread = threading.Thread(target=self._run, name=f"MQTT {self.name}", daemon=True)
        self._thread.start()

    def first_answer(self, timeout: float = 2 * _ANSWER_S) -> str | None:
        """
        Waits until the first attempt to connect is over.

        Args:
            timeout (`float`): seconds.

        Returns:
            `str`, *optional*: what is wrong, in one sentence; `None` if the broker was there.
        """
        self._asked.wait(timeout)
        return self.problem

    def set_places(
        self,
        places: Sequence[Place],
        pictures: Sequence[str] = (),
        without_state: Iterable[str] = (),
        former: Iterable[str] = (),
    ) -> None:
        """
        Says which cameras and zones there are; what is retained of others is removed.

        Args:
            places (`Sequence[Place]`): all of them.
            pictures (`Sequence[str]`): the cameras whose picture is published.
            without_state (`Iterable[str]`): names of places whose state is not known, or not meant any more.
            former (`Iterable[str]`): names of cameras that this service has ever had. The topic of another service,
                with a longer prefix, can look like that of a camera.
        """
        cameras = dict.fromkeys(place.camera for place in places)
        with self._turn:
            self._places = tuple(places)
            self._without_picture = tuple(camera for camera in cameras if camera not in pictures)
            self._without_state = set(without_state)
            self._former = frozenset(former) - set(cameras)
            before = set(self._discovery)
            self._discovery = (
                discovery(places, self.prefix, self._discovery_prefix, pictures) if self._is_discovered else {}
            )
            for camera in cameras:
                self._retained.setdefault(f"{self.prefix}/{camera}/available", OFFLINE)
            stateless = {f"{self.prefix}/{place}/state" for place in self._without_state}
            known = self._topics() - stateless | {f"{self.prefix}/{camera}/picture" for camera in pictures}
            for topic in [topic for topic in self._retained if topic not in known]:
                del self._retained[topic]
                self._publish(topic, "")
            for topic in before - set(self._discovery):
                self._publish(topic, "")
            self._publish_all(self._discovery)
            self._publish_all({topic: text for topic, text in self._retained.items() if topic.endswith("/available")})
            self._remove_pictures(self._without_picture)
            self._look_for_leftovers()

    def show(self, change: StateChange, picture: bytes | None = None) -> None:
        """
        The state of a place from now on; published if it is another one than before, and the place is still there.

        Args:
            change (`StateChange`): that led to it. After a restart, the last one.
            picture (`bytes`, *optional*): its JPEG, if it is wanted.
        """
        state = {"label": change.label, "score": change.score, "since": change.start, "id": change.id}
        with self._turn:
            if change.place in {place.name for place in self._places or ()}:
                if picture is not None and change.camera not in self._without_picture:
                    self._retain(f"{self.prefix}/{change.camera}/picture", picture)
                self._without_state.discard(change.place)
                self._retain(f"{self.prefix}/{change.place}/state", json.dumps(state))

    def set_available(self, camera: str, is_available: bool) -> None:
        """Whether a camera gives frames; published if that has changed."""
        with self._turn:
            if camera in self._cameras():
                self._retain(f"{self.prefix}/{camera}/available", ONLINE if is_available else OFFLINE)

    def send(self, change: StateChange, picture: bytes | None = None) -> None:
        """
        Publishes a change as an event, and returns once the broker has it.

        Args:
            change (`StateChange`): the change.
            picture (`bytes`, *optional*): not part of it; it is in a topic of its own.

        Raises:
            SendError: if the broker is not there, or did not say that it has it.
        """
        with self._turn:
            client, lost = self._client, self._lost
            if not self._is_connected:
                raise SendError(f"The MQTT broker {self.name} is not connected; it is looked for.", is_known=True)
            received = client.publish(f"{self.prefix}/{change.camera}/event", json.dumps(change.to_dict()), qos=1)
        end = time.monotonic() + _ANSWER_S
        while not _is_received(received, 0.1):
            if received.rc or lost.is_set() or self._closing.is_set():
                raise SendError(f"The MQTT broker {self.name} was lost; it is looked for.", is_known=True)
            if time.monotonic() > end:
                # A connection on which nothing comes back is none; a new one begins with nothing half-sent.
                lost.set()
                raise SendError(f"The MQTT broker {self.name} did not acknowledge an event within {_ANSWER_S:g} s.")

    def _topics(self) -> set[str]:
        """What may be retained of the cameras that there are."""
        own = {f"{self.prefix}/{camera}/available" for camera in self._cameras()}
        return own | {f"{self.prefix}/{place.name}/state" for place in self._places or ()}

    def _cameras(self) -> set[str]:
        return {place.camera for place in self._places or ()}

    def _retain(self, topic: str, payload: str | bytes) -> None:
        if self._retained.get(topic) != payload:
            self._retained[topic] = payload
            self._publish(topic, payload)

    def _publish_all(self, messages: dict[str, str] | dict[str, str | bytes]) -> None:
        for topic, payload in messages.items():
            self._publish(topic, payload)

    def _publish(self, topic: str, payload: str | bytes) -> None:
        # Without QoS, as nothing of it may come late: it is lost with its connection alone, and then published anew.
        if self._is_connected:
            self._client.publish(topic, payload, qos=0, retain=True)

    def _run(self) -> None:
        backoff = Backoff()
        while not self._closing.is_set():
            self._lost, gone = threading.Event(), threading.Event()
            client, problem = self._connect(gone)
            if problem is None:
                begin = time.monotonic()
                while not (self._lost.wait(0.5) or gone.is_set() or self._closing.is_set()):
                    pass
                problem = f"The MQTT broker {self.name} was lost; it is looked for again."
                if time.monotonic() - begin > _SHORT_S:
                    backoff.reset()
                else:
                    problem += f" See that no other client there has the client_id '{shown(self._client_id)}'."
            if not self._closing.is_set():
                self._say(problem)
            self._leave(client, gone)
            self._closing.wait(backoff.next_pause())

    def _connect(self, gone: threading.Event) -> tuple[Any, str | None]:
        """A client that is connected, or why it is not. Each connection has a new one: nothing is left over."""
        paho, lost = self._paho, self._lost
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=self._client_id, reconnect_on_failure=False)
        client.suppress_exceptions = True
        if self._username is not None:
            client.username_pw_set(self._username, self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.will_set(f"{self.prefix}/available", OFFLINE, qos=1, retain=True)
        refusal: list[str] = []
        answered = threading.Event()

        def on_connect(client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure:
                refusal.append(str(reason))
            else:
                self._begin(client)
            answered.set()

        def on_disconnect(client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
            gone.set()
            lost.set()
            answered.set()

        client.on_connect, client.on_disconnect = on_connect, on_disconnect
        client.on_message = self._on_message
        try:
            client.connect(self._host, self._port, keepalive=self._keepalive_s)
        except ssl.SSLError as error:
            return client, (
                f"The MQTT broker {self.name} has no TLS connection for us ({shown(first_line(error))}); look at "
                "`tls` and its certificates."
            )
        except (OSError, ValueError) as error:
            return client, (
                f"The MQTT broker {self.name} cannot be reached ({shown(first_line(error))}); look at `host` and "
                "`port`, and whether it runs."
            )
        client.loop_start()
        end = time.monotonic() + _ANSWER_S
        while not answered.wait(0.1) and not self._closing.is_set() and time.monotonic() < end:
            pass
        if refusal:
            return client, (
                f"The MQTT broker {self.name} refuses the connection ({shown(refusal[0])}); look at `username`, "
                "`password` and `client_id`."
            )
        if not self._is_connected:
            return client, (
                f"At {self.name} nothing answers like an MQTT broker; look at `host` and `port`, and whether it wants "
                "`tls`."
            )
        return client, None

    def _begin(self, client: Any) -> None:
        """Publishes all there is to know, at the beginning of a connection."""
        with self._turn:
            self._client, self._is_connected = client, True
            self._publish(f"{self.prefix}/available", ONLINE)
            self._publish_all(self._discovery)
            self._publish_all(self._retained)
            self._remove_pictures(self._without_picture)
            if self._is_discovered:
                client.subscribe(f"{self._discovery_prefix}/status")
            self._look_for_leftovers()
        if self._said is not None:
            logger.warning(f"The MQTT broker {self.name} is connected.")
        self.problem = self._said = None
        self._asked.set()
        if self.on_connected is not None:
            self.on_connected()

    def _on_message(self, client: Any, userdata: Any, message: Any) -> None:
        if message.topic == f"{self._discovery_prefix}/status":
            # A retained one is of before this connection, which has just published all of it.
            if message.payload.decode("utf-8", "replace") == _BIRTH and not message.retain:
                with self._turn:
                    self._publish_all(self._discovery)
            return
        if message.retain and message.payload:
            with self._turn:
                self._remove_leftover(message.topic, message.payload)

    def _look_for_leftovers(self) -> None:
        """Lets all come back that is retained under the topics of this service: what is left over is removed then."""
        # Before it is known which places there are, all would be.
        if self._is_connected and self._places is not None:
            topics = [f"{self.prefix}/{levels}" for levels in ("+/state", "+/+/state", "+/available")]
            topics.append(f"{self._discovery_prefix}/+/{plain_id(self.prefix)}/+/config")
            self._client.subscribe([(topic, 0) for topic in topics])

    def _remove_leftover(self, topic: str, payload: bytes) -> None:
        """Removes what an earlier run of this service has retained of a place that is no more, and nothing else."""
        if topic.endswith("/available"):
            camera = topic[len(self.prefix) + 1 : -len("/available")]
            if camera in self._former and payload in (ONLINE.encode(), OFFLINE.encode()):
                self._publish(topic, "")
                self._remove_pictures([camera])
            return
        try:
            content = json.loads(payload)
            if topic.endswith("/config"):
                service, camera_topic = (entry["topic"] for entry in content["availability"])
                place = camera_topic[len(self.prefix) + 1 : -len("/available")]
                is_left = topic not in self._discovery and service == f"{self.prefix}/available"
            else:
                # With another prefix, that begins like this one, the topic can be that of another service.
                place = topic[len(self.prefix) + 1 : -len("/state")]
                is_known = topic in self._topics() and place not in self._without_state
                is_left = not is_known and content["id"].rpartition("/")[0] == place
        except (ValueError, LookupError, TypeError, AttributeError):
            return
        if not is_left:
            return
        self._publish(topic, "")
        camera = place.partition("/")[0]
        if camera not in self._cameras():
            self._publish(f"{self.prefix}/{camera}/available", "")
            self._remove_pictures([camera])

    def _remove_pictures(self, cameras: Sequence[str]) -> None:
        for camera in cameras:
            self._publish(f"{self.prefix}/{camera}/picture", "")

    def _say(self, problem: str) -> None:
        self.problem = problem
        # The first answer is for who asks; what is the same as before was said.
        if problem != self._said:
            self._said = problem
            logger.warning(problem)
        self._asked.set()

    def _leave(self, client: Any, gone: threading.Event) -> None:
        with self._turn:
            was_connected, self._is_connected = self._is_connected, False
            self._client = None
        if was_connected and not gone.is_set():
            if self._closing.is_set():
                received = client.publish(f"{self.prefix}/available", OFFLINE, qos=1, retain=True)
                _is_received(received, _PATIENCE_S / 3)
            client.disconnect()
            gone.wait(_PATIENCE_S / 3)
        # A connection on which nothing moves would hold the thread of the client.
        if (connection := client.socket()) is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        client.loop_stop()

    def close(self) -> None:
        """Says that the service is gone, and leaves the broker."""
        self._closing.set()
        self._lost.set()
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE_S)

    def __enter__(self) -> Mqtt:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _is_received(message: Any, timeout: float) -> bool:
    """Whether the broker has a message, at the latest after some seconds."""
    try:
        message.wait_for_publish(timeout)
        return message.is_published()
    except (RuntimeError, ValueError):  # it could not even be sent
        return False


def _tls_context(ca_file: str | None, cert_file: str | None, key_file: str | None) -> ssl.SSLContext:
    for name, path in (("ca_file", ca_file), ("cert_file", cert_file), ("key_file", key_file)):
        if path is not None and not os.path.isfile(path):
            raise ValueError(f"`{name}` of `tls` is '{shown(path)}', which is no file; name one in PEM format.")
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if cert_file is not None:
            # A key with a password would be asked for on the terminal.
            context.load_cert_chain(cert_file, key_file, password=lambda: "")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The certificates of `tls` cannot be used ({shown(first_line(error))}); name files in PEM format, and a "
            "key without a password."
        ) from None
    return context


__all__ = ["OFFLINE", "ONLINE", "Mqtt"]
