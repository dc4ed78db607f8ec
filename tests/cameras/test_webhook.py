"""Webhooks reach a real receiver, whatever it answers, and tell nobody their secrets."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from hf_ttr.cameras import backoff
from hf_ttr.cameras.delivery import Delivery, SendError
from hf_ttr.cameras.store import Counts, Store
from hf_ttr.cameras.webhook import Webhook, seconds_of

from .changes import change
from .services import Receiver, free_port, wait_until


DOOR = "webhook:door"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def refusal(webhook: Webhook) -> SendError:
    with pytest.raises(SendError) as caught:
        webhook.send(change(0))
    # A traceback shows nothing of a library, which may quote the address.
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


def test_a_change_is_posted_as_json_with_a_key_and_the_headers_of_the_user(receiver: Receiver) -> None:
    one = replace(change(3, zone="mat", label="Päckchen"), has_picture=True)
    Webhook(f"{receiver.url}/api/hook?token=1", {"X-Own": "yes"}).send(one, b"\xff\xd8jpeg")
    (request,) = receiver.requests
    assert request.path == "/api/hook?token=1" and request.content == one.to_dict()
    assert request.headers["idempotency-key"] == "door/mat/3" and request.headers["x-own"] == "yes"
    assert request.headers["content-type"] == "application/json"


def test_a_picture_is_sent_where_it_is_wanted(receiver: Receiver) -> None:
    webhook = Webhook(receiver.url, picture=True)
    webhook.send(replace(change(0), has_picture=True), b"\xff\xd8jpeg")
    webhook.send(change(1), None)
    assert base64.b64decode(receiver.requests[0].content["picture"]) == b"\xff\xd8jpeg"
    assert "picture" not in receiver.requests[1].content


def test_user_and_password_of_the_address_become_a_header(receiver: Receiver) -> None:
    Webhook(f"http://us%40er:pass:word@127.0.0.1:{receiver.port}/").send(change(0))
    said = receiver.requests[0].headers["authorization"]
    assert base64.b64decode(said.removeprefix("Basic ")) == b"us@er:pass:word"


@pytest.mark.parametrize("status", [200, 201, 204])
def test_success_is_received(receiver: Receiver, status: int) -> None:
    receiver.answers = [(status, {})]
    Webhook(receiver.url).send(change(0))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 304])
def test_what_may_pass_is_sent_again(receiver: Receiver, status: int) -> None:
    receiver.answers = [(status, {"Retry-After": "7"} if status == 429 else {})]
    error = refusal(Webhook(receiver.url))
    assert not error.is_final and error.retry_after == (7.0 if status == 429 else None)
    assert str(error).startswith(f"{receiver.url} answers with {status}")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
def test_what_does_not_pass_is_given_up(receiver: Receiver, status: int) -> None:
    receiver.answers = [(status, {})]
    error = refusal(Webhook(f"{receiver.url}/secret-path"))
    assert error.is_final
    assert str(error) == f"{receiver.url} answers with {status}; look whether `url` and `headers` are right."


def test_a_redirection_is_followed_on_the_same_host_alone(receiver: Receiver) -> None:
    receiver.answers = [(308, {"Location": "/there"})]
    Webhook(f"{receiver.url}/here", {"Authorization": "Bearer secret"}).send(change(0))
    assert [request.path for request in receiver.requests] == ["/here", "/there"]
    assert receiver.requests[1].content == change(0).to_dict()
    with Receiver() as other:
        # The same name with another port is another host.
        receiver.answers = [(307, {"Location": f"{other.url}/there"})]
        error = refusal(Webhook(receiver.url, {"Authorization": "Bearer secret"}))
        assert not error.is_final and "which leads elsewhere; set `url` to the address" in str(error)
        assert other.requests == []
    receiver.answers = [(302, {"Location": "/there"})]
    assert not refusal(Webhook(receiver.url)).is_final
    receiver.answers = [(308, {"Location": "/again"})] * 50
    assert not refusal(Webhook(receiver.url)).is_final and len(receiver.answers) > 40


def test_who_is_not_there_or_does_not_answer_is_asked_again(receiver: Receiver) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    assert str(refusal(Webhook(gone))).startswith(f"{gone} cannot be reached (")
    receiver.delay_s = 1.0
    error = refusal(Webhook(receiver.url, timeout_s=0.2))
    assert str(error) == f"{receiver.url} did not answer within 0.2 s; it is sent again." and not error.is_final
    error = refusal(Webhook("http://no-such-host.invalid/"))
    assert str(error).startswith("http://no-such-host.invalid cannot be reached") and not error.is_final


def test_what_is_no_web_server_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with listening.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=answer, daemon=True).start()
        error = refusal(Webhook(f"http://127.0.0.1:{listening.getsockname()[1]}/"))
        assert "broke off" in str(error) and not error.is_final


@pytest.mark.parametrize(
    "url", ["", "door", "ftp://door/", "http://", "http://door:port/", "http://[::1/", "http:///x"]
)
def test_an_address_that_is_none_is_one_sentence(url: str) -> None:
    with pytest.raises(
        ValueError, match=r"^The `url` of the webhook is no address; write it as http://host:port/path\.$"
    ):
        Webhook(url)


def test_headers_that_cannot_be_sent_are_one_sentence_without_their_values() -> None:
    with pytest.raises(ValueError, match=r"header 'X-Own' cannot be sent; .* without spaces around it\.$") as caught:
        Webhook("http://door/", {"X-Own": "secret\r\nHost: other"})
    assert "secret" not in str(caught.value)
    for name in ("Idempotency-Key", "content-length", "X Own", ""):
        with pytest.raises(ValueError, match="cannot have a header"):
            Webhook("http://door/", {name: "1"})


def test_no_secret_is_logged_or_raised(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    address = f"http://SECRET1:SECRET2@127.0.0.1:{receiver.port}/SECRET3?key=SECRET4"
    with caplog.at_level(logging.DEBUG):
        webhook = Webhook(address, {"Authorization-Of-Mine": "SECRET5"}, timeout_s=0.5)
        said = [webhook.name, repr(webhook)]
        webhook.send(change(0))
        receiver.answers = [(500, {}), (404, {}), (307, {"Location": "http://other/elsewhere"})]
        said += [repr(refusal(webhook)) for _ in range(3)]
        receiver.delay_s = 1.5
        said.append(repr(refusal(webhook)))
        receiver.kill()
        said.append(repr(refusal(webhook)))
    logged = "".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
    assert len(receiver.requests) == 5 and "SECRET" not in logged + "".join(said)


def test_the_environment_names_a_proxy(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", receiver.url)
    Webhook("http://far-away.invalid/hook").send(change(0))
    assert receiver.requests[0].path == "http://far-away.invalid/hook"
    monkeypatch.setenv("no_proxy", "far-away.invalid")
    assert "cannot be reached" in str(refusal(Webhook("http://far-away.invalid/hook")))


def test_a_proxy_may_be_written_without_its_protocol(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"127.0.0.1:{receiver.port}")
    Webhook("http://far-away.invalid/hook").send(change(0))
    assert receiver.requests[0].path == "http://far-away.invalid/hook"


@pytest.mark.parametrize("proxy", ["ftp://u:SECRET@h:1", "http://u:SECRET@h:99999", "http://", "socks5://u:SECRET@h"])
def test_a_proxy_that_cannot_be_used_is_one_sentence(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(
        ValueError, match=r"^The proxy in the environment variable HTTP_PROXY cannot be used; .* to NO_PROXY\.$"
    ):
        Webhook("http://far-away.invalid/hook")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed.")
    folder = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout key.pem "
        "-out certificate.pem -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


def test_a_receiver_with_https_has_to_be_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver(certificate=certificate) as receiver:
        address = f"https://127.0.0.1:{receiver.port}/hook"
        error = refusal(Webhook(address))
        assert "cannot be reached" in str(error) and "certificate verify failed" in str(error) and not error.is_final
        assert receiver.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "certificate.pem"))
        Webhook(address).send(change(0))
        assert receiver.ids == ["door/0"]


class Dripping(Receiver):
    """Answers without an end."""

    drop = b""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        for _ in range(100):
            request.wfile.write(self.drop)
            time.sleep(0.05)


@pytest.mark.parametrize("drop", [b"HTTP/1.1 100 Continue\r\n\r\n", b"H"])
@pytest.mark.parametrize("protocol", ["http", "https"])
def test_who_answers_drop_by_drop_has_no_more_time_than_others(
    protocol: str, drop: bytes, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "certificate.pem"))
    with Dripping(certificate=certificate if protocol == "https" else None) as receiver:
        receiver.drop = drop
        name = f"{protocol}://127.0.0.1:{receiver.port}"
        webhook = Webhook(name, timeout_s=0.5)
        begin = time.monotonic()
        error = refusal(webhook)
        assert time.monotonic() - begin < 3.0
        assert str(error) == f"{name} did not answer within 0.5 s; it is sent again." and not error.is_final


def test_times_to_wait_are_numbers_or_dates() -> None:
    assert seconds_of("0") == 0.0 and seconds_of("120") == 120.0 and seconds_of(None) is None
    assert 1e8 < (seconds_of("Fri, 31 Dec 2100 23:59:59 GMT") or 0) < 1e11
    absurd = ("Thu, 01 Jan 99999999999 00:00:00 GMT", f"Thu, 01 Jan 2030 00:00:00 +{'9' * 20}")
    for nonsense in ("", "soon", "-1", "1e9", "Fri, 99 Dec 2100 23:59:59 GMT", *absurd):
        assert seconds_of(nonsense) is None


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_receiver_that_is_killed_and_started_again_misses_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff.Backoff, "next_pause", lambda self: 0.02)
    count, number = 5, 0
    with Receiver() as receiver, Store(tmp_path) as store, Delivery(store, DOOR, Webhook(receiver.url).send):

        def commit(times: int) -> None:
            nonlocal number
            for _ in range(times):
                store.commit({"door": {"n": number}}, [(change(number), None)], lambda change: {DOOR: 1000})
                number += 1

        files = 0
        for _ in range(count):
            commit(5)
            wait_until(lambda: receiver.requests, "a change")
            receiver.kill()
            commit(5)
            receiver.start()
            wait_until(lambda: store.counts()[DOOR].waiting == 0, "delivery")
            files = files or open_files()
        assert open_files() <= files + 2
        assert list(dict.fromkeys(receiver.ids)) == [f"door/{index}" for index in range(10 * count)]
        assert store.counts()[DOOR] == Counts(delivered=10 * count)


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("httpx", "httpx2"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"httpx, which is not installed; pip install 'hf-ttr\[cameras\]'\.$"):
        Webhook("http://door/")
