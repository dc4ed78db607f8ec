"""The cameras of a long run, and who hears of them: servers of this machine that stall, break off and come back."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from .camera_scenes import PICTURES, Loops
from .rtsp_server import free_port, replace_pictures, server_command


FPS = 10
"""Pictures a second that a camera sends."""


class Camera(Protocol):
    """What can befall any camera."""

    @property
    def source(self) -> str:
        """Where a service finds it."""

    def show(self, label: str) -> None:
        """Shows another scene from the next picture on."""

    def stall(self) -> None:
        """Sends nothing, and leaves connections open."""

    def flow(self) -> None:
        """Ends a stall."""

    def break_off(self) -> None:
        """Breaks its connections, and accepts none."""

    def accept(self) -> None:
        """Accepts connections again."""

    def close(self) -> None:
        """Ends it."""


class Server:
    """HTTP at a port of this machine; a request is answered by `answer`, in a thread of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._server: ThreadingHTTPServer | None = None

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answers a request; ends with `OSError` when the client is gone."""
        raise NotImplementedError

    def start(self) -> None:
        """Listens, also again."""
        answer = self.answer

        # Of HTTP/1.0, so that no connection outlives its answer.
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with suppress(OSError):
                    answer(self)

            do_POST = do_GET

            def log_message(self, *arguments: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *arguments: Any) -> None:
                pass

        self._server = Quiet(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class MjpegCamera(Server):
    """A camera that pushes JPEGs over HTTP."""

    def __init__(self, loops: Loops, label: str) -> None:
        super().__init__()
        self._loops, self._label = loops, label
        self._is_stalled = self._is_broken = False
        self.start()

    @property
    def source(self) -> str:
        """See `Camera`."""
        return f"live:http://127.0.0.1:{self.port}/"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Pushes pictures until the connection breaks."""
        boundary = "frame"
        begun, due, number = False, time.monotonic(), 0
        while not self._is_broken:
            if not self._is_stalled:
                if not begun:
                    request.send_response(200)
                    request.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={boundary}")
                    request.end_headers()
                    begun = True
                picture = self._loops[self._label][number % PICTURES]
                head = f"--{boundary}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                request.wfile.write(head.encode() + picture + b"\r\n")
                number += 1
            # One that is behind by more than a picture does not make up for it.
            due = max(due + 1 / FPS, time.monotonic() - 1 / FPS)
            time.sleep(max(0.0, due - time.monotonic()))

    def show(self, label: str) -> None:
        """See `Camera`."""
        self._label = label

    def stall(self) -> None:
        """See `Camera`."""
        self._is_stalled = True

    def flow(self) -> None:
        """See `Camera`."""
        self._is_stalled = False

    def break_off(self) -> None:
        """See `Camera`."""
        self._is_broken = True

    def accept(self) -> None:
        """See `Camera`."""
        self._is_broken = False

    def close(self) -> None:
        """See `Camera`."""
        self._is_broken = True
        super().close()


class RtspCamera:
    """A camera that sends H.264 over RTSP: a process of GStreamer that reads its pictures from a folder."""

    def __init__(self, loops: Loops, label: str, folder: Path) -> None:
        self.port = free_port()
        self._loops, self._folder = loops, folder
        self._process: subprocess.Popen[bytes] | None = None
        self.show(label)
        self.accept()

    @property
    def source(self) -> str:
        """See `Camera`."""
        return f"rtsp://127.0.0.1:{self.port}/live"

    def show(self, label: str) -> None:
        """See `Camera`."""
        replace_pictures(self._folder, self._loops[label])

    def stall(self) -> None:
        """See `Camera`."""
        self._send(signal.SIGSTOP)

    def flow(self) -> None:
        """See `Camera`."""
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def break_off(self) -> None:
        """See `Camera`."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def accept(self) -> None:
        """See `Camera`."""
        command = server_command(self.port, self._folder, PICTURES, FPS, threads=1)
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)

    def close(self) -> None:
        """See `Camera`."""
        self.break_off()

    @property
    def pid(self) -> int | None:
        """Of its process, while it accepts connections."""
        return None if self._process is None else self._process.pid


class Receiver(Server):
    """
    What the webhooks lead to.

    Attributes:
        heard: what was posted, each with the time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[float, dict[str, Any]]] = []
        self.start()

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.port}/"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Keeps what came, and says so."""
        content = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        self.heard.append((time.time(), content))
        request.send_response(200)
        request.send_header("Content-Length", "0")
        request.end_headers()
