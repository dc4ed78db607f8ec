"""What a camera service meets outside: brokers, receivers and cameras, which can be killed and started again."""

from __future__ import annotations

import getpass
import http.server
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from benchmarks.rtsp_server import free_port, has_gstreamer, replace_pictures, server_command


def wait_until(holds: Callable[[], Any], what: str, limit_s: float = 30.0) -> Any:
    """What a condition gives once it gives something; a test that waits in vain fails and says for what."""
    end = time.monotonic() + limit_s
    while not (found := holds()):
        assert time.monotonic() < end, f"{what} did not happen within {limit_s:g} s."
        time.sleep(0.01)
    return found


def is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (96, 64)) -> bytes:
    """A picture of one colour, with some noise, so that frames are not all alike."""
    noise = np.random.default_rng(0).integers(-8, 8, (size[1], size[0], 1))
    pixels = np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


class Program:
    """A program that listens at a port of this machine; a context manager that ends it."""

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Starts it, also again after an end, at the same port; it listens then."""
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self.command(), stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
        wait_until(lambda: self._is_up(self.process), f"that {type(self).__name__} listens")

    def _is_up(self, process: Any) -> bool:
        assert process.poll() is None, f"{type(self).__name__} ended with {process.returncode}."
        return is_listening(self.port)

    def kill(self) -> None:
        """Ends it without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def terminate(self) -> None:
        """Lets it write what it has, and end."""
        if self.process is not None:
            self.process.terminate()
            self.process.communicate(timeout=20)
            self.process = None

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *arguments: Any) -> None:
        self.kill()


class Mosquitto(Program):
    """
    A broker; the test is skipped where there is none.

    Args:
        folder: for its files.
        username, password: which it wants, if given.
        keeps: whether retained messages and sessions outlive `terminate`.
        certificates: a folder with `ca.pem`, `broker.pem` and `broker.key`, for TLS.
    """

    def __init__(
        self,
        folder: Path,
        username: str | None = None,
        password: str | None = None,
        keeps: bool = False,
        certificates: Path | None = None,
    ) -> None:
        if shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip("mosquitto is not installed: apt-get install mosquitto mosquitto-clients to run this.")
        super().__init__()
        self.config = folder / f"mosquitto-{self.port}.conf"
        lines = [f"listener {self.port} 127.0.0.1", f"user {getpass.getuser()}", "log_dest none"]
        if keeps:
            lines += ["persistence true", f"persistence_location {folder}/", f"persistence_file {self.port}.db"]
        if username is None:
            lines.append("allow_anonymous true")
        else:
            passwords = folder / f"passwords-{self.port}"
            subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, username, str(password)], check=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        if certificates is not None:
            lines += [f"certfile {certificates / 'broker.pem'}", f"keyfile {certificates / 'broker.key'}"]
        self.config.write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        found = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
        return [str(found), "-c", str(self.config)]

    def retained(self, topics: str = "#") -> dict[str, bytes]:
        """All that is retained, as the client of mosquitto sees it."""
        mark = f"mark/{time.monotonic_ns()}"
        common = ["-h", "127.0.0.1", "-p", str(self.port)]
        # What is retained comes in any order: who gets the mark, published after it has subscribed, has it all.
        with subprocess.Popen(
            ["mosquitto_sub", *common, "-t", topics, "-t", mark, "-F", "%r %t %x"], stdout=subprocess.PIPE, text=True
        ) as reader:
            assert reader.stdout is not None
            stop = threading.Event()

            def publish() -> None:
                while not stop.wait(0.05):
                    subprocess.run(["mosquitto_pub", *common, "-t", mark, "-m", "end"], check=True)

            publisher = threading.Thread(target=publish)
            publisher.start()
            found = {}
            for line in reader.stdout:
                is_retained, topic, payload = line.rstrip("\n").split(" ", 2)
                if topic == mark:
                    break
                if is_retained == "1":
                    found[topic] = bytes.fromhex(payload)
            stop.set()
            publisher.join()
            reader.kill()
        return found


class Listener:
    """A client that keeps what it hears, and comes back to a broker that was gone; a context manager."""

    def __init__(self, port: int, topics: str = "#", client_id: str | None = None) -> None:
        paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed.")
        self.messages: list[tuple[str, bytes]] = []
        self.is_subscribed = threading.Event()
        # One with an id is remembered by the broker while it is away.
        self._client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=client_id or "", clean_session=client_id is None
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *rest: client.subscribe(topics, qos=1)
        self._client.on_subscribe = lambda *rest: self.is_subscribed.set()
        self._client.on_disconnect = lambda *rest: self.is_subscribed.clear()
        self._client.on_message = lambda client, userdata, one: self.messages.append((one.topic, one.payload))
        self._client.connect_async("127.0.0.1", port)

    def publish(self, topic: str, payload: str, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def of(self, topic: str) -> list[Any]:
        """What came at a topic, as JSON."""
        return [json.loads(payload) for one, payload in list(self.messages) if one == topic]

    def __enter__(self) -> Listener:
        self._client.loop_start()
        assert self.is_subscribed.wait(20)
        return self

    def __exit__(self, *arguments: Any) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@dataclass
class Request:
    """What a receiver got."""

    path: str
    headers: dict[str, str]
    content: Any
    at: float = field(default_factory=time.monotonic)


class WebServer:
    """
    A web server at one port of this machine, which can be killed and started again; a context manager.

    Args:
        port: at which it listens.
        certificate: a folder with `certificate.pem` and `key.pem`, for HTTPS.
    """

    def __init__(self, port: int | None = None, certificate: Path | None = None) -> None:
        self.port = port or free_port()
        self._certificate = certificate
        self._server: http.server.ThreadingHTTPServer | None = None
        self._connections: list[socket.socket] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        raise NotImplementedError

    def start(self) -> None:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer._connections.append(self.request)
                super().setup()

            def answer(self) -> None:
                with suppress(OSError):  # it was killed, or the client went away
                    outer.answer(self)

            do_GET = do_POST = answer

            def log_message(self, *arguments: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *arguments: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate / "certificate.pem", self._certificate / "key.pem")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def kill(self) -> None:
        """Ends it, and breaks off its connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *arguments: Any) -> None:
        self.kill()


class Receiver(WebServer):
    """
    What a webhook leads to: it keeps what comes, and answers what a test wants.

    Attributes:
        requests: what came.
        answers: statuses, with headers, of the next answers; 200 after them.
        delay_s: seconds until it answers.
    """

    def __init__(self, port: int | None = None, certificate: Path | None = None) -> None:
        super().__init__(port, certificate)
        self.requests: list[Request] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.delay_s = 0.0

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length", 0))
        content = json.loads(request.rfile.read(length)) if length else None
        self.requests.append(Request(request.path, {key.lower(): it for key, it in request.headers.items()}, content))
        time.sleep(self.delay_s)
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    @property
    def ids(self) -> list[str]:
        """Of the changes that came, in order."""
        return [request.content["id"] for request in list(self.requests)]


class MjpegCamera(WebServer):
    """A camera that pushes pictures over HTTP, at `url`; what it shows can be changed by `show`."""

    def __init__(self, jpegs: Sequence[bytes], fps: float = 10.0, port: int | None = None) -> None:
        super().__init__(port)
        self.jpegs = list(jpegs)
        self.fps = fps

    def show(self, jpegs: Sequence[bytes]) -> None:
        self.jpegs = list(jpegs)

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        number = 0
        while True:
            jpegs = self.jpegs
            picture = jpegs[number % len(jpegs)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            request.wfile.write(head.encode() + picture + b"\r\n")
            number += 1
            time.sleep(1 / self.fps)


class RtspCamera(Program):
    """
    A camera that sends pictures as H.264 over RTSP, at `url`; the test is skipped without GStreamer.

    Args:
        folder: for its pictures.
        jpegs: which it shows again and again; they can be changed by `show`.
        fps: pictures per second.
        user, password: which it wants, if given.
    """

    def __init__(
        self, folder: Path, jpegs: Sequence[bytes], fps: int = 10, user: str = "", password: str = ""
    ) -> None:
        if not has_gstreamer():
            pytest.skip(
                "GStreamer's RTSP server is not installed: apt-get install gir1.2-gst-rtsp-server-1.0 "
                "gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly to run this."
            )
        super().__init__()
        self.folder = folder / f"rtsp-{self.port}"
        self.folder.mkdir()
        self.count = len(jpegs)
        self.fps, self.user, self.password = fps, user, password
        self.show(jpegs)

    @property
    def url(self) -> str:
        who = f"{self.user}:{self.password}@" if self.user else ""
        return f"rtsp://{who}127.0.0.1:{self.port}/live"

    def show(self, jpegs: Sequence[bytes]) -> None:
        """Shows other pictures, of the same size, from the next one on."""
        replace_pictures(self.folder, [jpegs[number % len(jpegs)] for number in range(self.count)])

    def command(self) -> list[str]:
        return server_command(self.port, self.folder, self.count, self.fps, self.user, self.password)
