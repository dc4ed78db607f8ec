"""A small web server that tells how the service is: numbers for Prometheus, and whether it lives and is ready."""

from __future__ import annotations

import http.server
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any

from ..checks import first_line
from ..display import shown
from .metrics import Metrics


logger = logging.getLogger(__name__)

LONGEST_TURN_S = 30.0
"""Seconds after which a loop that has not come round is taken for dead."""

MOST_CONNECTIONS = 16
"""Connections at a time; for one more the oldest is closed."""

_REQUEST_S = 5.0
_PLAIN = "text/plain; charset=utf-8"


class StatusServer:
    """
    Answers `/metrics`, `/healthz` and `/readyz` in threads of its own; a context manager that ends it.

    `/healthz` is 200 while the loop of the service comes round, and 503 with a sentence if it does not. `/readyz` is
    200 once nothing is missing, and 503 with what is, as JSON.

    Args:
        metrics: what is told at `/metrics`.
        heartbeat (`Callable[[], float]`): when the loop came round last, by `time.monotonic()`.
        missing (`Callable[[], Mapping[str, str]]`): what is not ready, and why, such as
            `{"model": "is being loaded"}`.
        host (`str`): address to listen at.
        port (`int`): port to listen at; 0 for any that is free.
        longest_turn_s (`float`): seconds after which the loop is taken for dead.

    Attributes:
        port: at which it listens.

    Raises:
        OSError: if the port is in use, or the address is not of this machine; the message is one sentence.
    """

    def __init__(
        self,
        metrics: Metrics,
        heartbeat: Callable[[], float],
        missing: Callable[[], Mapping[str, str]],
        host: str = "127.0.0.1",
        port: int = 9464,
        longest_turn_s: float = LONGEST_TURN_S,
    ) -> None:
        self._metrics = metrics
        self._heartbeat = heartbeat
        self._missing = missing
        self._longest_turn_s = longest_turn_s
        try:
            self._server = _Server(host, port, self._answer)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or first_line(error)
            raise OSError(
                f"The metrics cannot be served at {shown(host)}:{port} ({shown(why)}); set another `port` or `host` "
                "in `metrics`."
            ) from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name=f"status at {self.port}", daemon=True
        )
        self._thread.start()

    def _answer(self, path: str, accepts: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, kind and content of a page."""
        if path == "/metrics":
            from prometheus_client.exposition import choose_encoder

            encode, kind = choose_encoder(accepts)
            return HTTPStatus.OK, kind, encode(self._metrics.registry)
        if path == "/healthz":
            quiet = time.monotonic() - self._heartbeat()
            if quiet <= self._longest_turn_s:
                return HTTPStatus.OK, _PLAIN, b"ok\n"
            return (
                HTTPStatus.SERVICE_UNAVAILABLE,
                _PLAIN,
                f"The loop of the service has not come round for {quiet:.0f} s; restart it.\n".encode(),
            )
        if path == "/readyz":
            missing = dict(self._missing())
            status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
            content = json.dumps({"ready": not missing, "missing": missing})
            return status, "application/json", f"{content}\n".encode()
        return HTTPStatus.NOT_FOUND, _PLAIN, b"There are /metrics, /healthz and /readyz here.\n"

    def close(self) -> None:
        """Ends the server and its connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> StatusServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread for each connection, and no more of them than `MOST_CONNECTIONS`."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, answer: Callable[[str, str], tuple[HTTPStatus, str, bytes]]) -> None:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        self.answer = answer
        self._turn = threading.Lock()
        self._open: dict[socket.socket, None] = {}
        super().__init__((str(address[0]), port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._turn:
            self._open[request] = None
            oldest = next(iter(self._open)) if len(self._open) > MOST_CONNECTIONS else None
        if oldest is not None:
            _break_off(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._turn:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        with self._turn:
            left = list(self._open)
        for connection in left:
            _break_off(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to be told of."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_S
    server_version = "hf-ttr"
    sys_version = ""

    def do_GET(self) -> None:
        self._reply(with_content=True)

    def do_HEAD(self) -> None:
        self._reply(with_content=False)

    def _reply(self, with_content: bool) -> None:
        try:
            status, kind, content = self.server.answer(self.path.partition("?")[0], self.headers.get("Accept", ""))
        except Exception as error:
            logger.warning(f"The page {shown(self.path)} cannot be made: {type(error).__name__}: {first_line(error)}.")
            status, kind, content = HTTPStatus.SERVICE_UNAVAILABLE, _PLAIN, b"This cannot be told; see the log.\n"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Each scrape would be a line."""


def _break_off(connection: socket.socket) -> None:
    with suppress(OSError):  # it has ended just now
        connection.shutdown(socket.SHUT_RDWR)


__all__ = ["StatusServer"]
