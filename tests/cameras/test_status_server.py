"""The pages of a service say how it is, whoever asks and however slowly."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from hf_ttr.cameras import status_server
from hf_ttr.cameras.metrics import Metrics
from hf_ttr.cameras.status_server import MOST_CONNECTIONS, StatusServer

from .services import wait_until


pytest.importorskip("prometheus_client", reason="prometheus-client is not installed.")


@contextmanager
def serving(
    heartbeat: Callable[[], float] = time.monotonic, missing: Callable[[], dict[str, str]] = dict, **options: Any
) -> Iterator[StatusServer]:
    metrics = Metrics()
    metrics.frames("door", received=7)
    with StatusServer(metrics, heartbeat, missing, port=0, **options) as server:
        yield server


def ask(server: StatusServer, path: str, method: str = "GET", accept: str = "*/*") -> tuple[int, str | None, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        connection.request(method, path, headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type"), answer.read().decode()


def test_metrics_are_scraped_as_prometheus_wants_them() -> None:
    with serving() as server:
        status, kind, text = ask(server, "/metrics?name=x")
        assert status == 200 and kind is not None and kind.startswith("text/plain")
        assert 'hf_ttr_frames_received_total{camera="door"} 7.0' in text
        status, kind, text = ask(server, "/metrics", accept="application/openmetrics-text; version=1.0.0")
        assert kind is not None and kind.startswith("application/openmetrics-text") and text.endswith("# EOF\n")


def test_a_service_lives_while_its_loop_comes_round() -> None:
    quiet = 0.0
    with serving(lambda: time.monotonic() - quiet, longest_turn_s=60.0) as server:
        assert ask(server, "/healthz") == (200, "text/plain; charset=utf-8", "ok\n")
        quiet = 100.0
        status, _, text = ask(server, "/healthz")
        assert status == 503 and text == "The loop of the service has not come round for 100 s; restart it.\n"
        quiet = 1.0
        assert ask(server, "/healthz")[0] == 200


def test_a_service_is_ready_once_nothing_is_missing() -> None:
    missing = {"model": "is being loaded", "mqtt": "is not connected"}
    with serving(missing=lambda: missing) as server:
        status, kind, text = ask(server, "/readyz")
        assert status == 503 and kind == "application/json"
        assert json.loads(text) == {"ready": False, "missing": missing}
        missing.clear()
        status, _, text = ask(server, "/readyz")
        assert status == 200 and json.loads(text) == {"ready": True, "missing": {}}


def test_other_pages_and_methods_are_not_there() -> None:
    with serving() as server:
        assert ask(server, "/")[0] == ask(server, "/metrics/door")[0] == 404
        assert ask(server, "/metrics", "POST")[0] == 501
        for path in ("/metrics", "/healthz", "/readyz"):
            status, _, text = ask(server, path, "HEAD")
            assert status == 200 and text == ""


def test_what_cannot_be_told_is_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    def missing() -> dict[str, str]:
        raise RuntimeError("broken")

    with serving(missing=missing) as server:
        assert ask(server, "/readyz") == (503, "text/plain; charset=utf-8", "This cannot be told; see the log.\n")
        assert caplog.messages == ["The page /readyz cannot be made: RuntimeError: broken."]
        assert ask(server, "/healthz")[0] == 200


def test_a_port_in_use_is_one_sentence() -> None:
    with serving() as server, pytest.raises(OSError) as caught:
        StatusServer(Metrics(), time.monotonic, dict, port=server.port)
    assert str(caught.value) == (
        f"The metrics cannot be served at 127.0.0.1:{server.port} (Address already in use); set another `port` or "
        "`host` in `metrics`."
    )
    for host, port in (("203.0.113.1", 0), ("no-such-host.invalid", 0), ("127.0.0.1", 70_000)):
        with pytest.raises(OSError, match="^The metrics cannot be served at"):
            StatusServer(Metrics(), time.monotonic, dict, host=host, port=port)


def test_it_listens_where_it_is_told_to() -> None:
    with serving(host="localhost") as server:
        assert ask(server, "/healthz")[0] == 200
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        with serving(host="::1") as server, closing(http.client.HTTPConnection("::1", server.port)) as connection:
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200


def test_those_who_say_nothing_keep_nobody_from_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = threading.active_count()
    with serving() as server, ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            for _ in range(3 * MOST_CONNECTIONS)
        ]
        for connection in silent[::2]:
            connection.sendall(b"GET /metr")
        assert ask(server, "/healthz")[0] == 200
        # For each that is too many the oldest was left.
        silent[0].settimeout(20)
        assert silent[0].recv(1) == b""
        wait_until(lambda: threading.active_count() <= threads + MOST_CONNECTIONS + 2, "that their threads end")
    wait_until(lambda: threading.active_count() == threads, "the end of all threads")


def test_one_who_says_nothing_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server._Handler, "timeout", 0.1)
    with serving() as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        assert connection.recv(1) == b""


def test_scrapes_leave_nothing_behind() -> None:
    with serving() as server:
        files = 0
        for number in range(60):
            assert ask(server, "/metrics")[0] == 200
            if number == 10:
                files = len(os.listdir("/proc/self/fd"))
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= files + 1, "that connections are closed")
