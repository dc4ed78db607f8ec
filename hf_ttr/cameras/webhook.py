"""Changes to a web address: each is a POST of JSON, and whoever answers with success has received it."""

from __future__ import annotations

import base64
import importlib
import os
import re
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.request import getproxies, proxy_bypass

from ..checks import first_line
from ..display import shown
from .delivery import SendError
from .events import StateChange


RETRIED = (408, 425, 429)
"""Of the answers that say "no", those that do not mean it for ever."""

_REDIRECTIONS = (307, 308)
_MOST_REDIRECTIONS = 3
OWN_HEADERS = ("content-length", "content-type", "host", "idempotency-key", "transfer-encoding")
"""That are not for settings to say."""


class Webhook:
    """
    Sends the changes of a camera to a web address.

    The body is the JSON of `StateChange.to_dict()`, with the JPEG as base64 in `picture` where there is one and it is
    wanted; the header `Idempotency-Key` has the id of the change, which stays the same if it is sent again. An answer
    of 2xx means that it was received. After 408, 425, 429, 5xx, a redirection to another host, or none at all it is
    sent again, not before the time in `Retry-After`; after any other answer it is given up.

    Neither the address, but for scheme, host and port, nor the headers are in any message: they hold secrets.

    Args:
        url (`str`): the address, `http` or `https`; a user and password in it become a header.
        headers (`Mapping[str, str]`): sent with each change.
        timeout_s (`float`): seconds from the beginning of a request to its answer.
        picture (`bool`): whether the picture is sent.

    Raises:
        ImportError: if no HTTP library is installed.
        ValueError: if the address, a header or the proxy of the environment cannot be used; one sentence.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str] | None = None, timeout_s: float = 10.0, picture: bool = False
    ) -> None:
        self._http = _http_library()
        self._url = _url(self._http, url)
        self.name = shown(f"{self._url.scheme}://{self._url.netloc.decode('ascii', 'replace').rpartition('@')[2]}")
        self._headers = {"Content-Type": "application/json", "User-Agent": "hf-ttr", **_checked(headers or {})}
        if self._url.userinfo:
            pair = f"{self._url.username}:{self._url.password}".encode()
            self._headers.setdefault("Authorization", f"Basic {base64.b64encode(pair).decode()}")
            self._url = self._url.copy_with(username=None, password=None)
        self._timeout_s = timeout_s
        self._picture = picture
        # A client would write the address with its secrets into the log at INFO; what it is made of does not.
        self._transport = _transport(self._http, self._url)

    def send(self, change: StateChange, picture: bytes | None = None) -> None:
        """
        Sends a change, and returns once it was received.

        Raises:
            SendError: if it was not; the message is one sentence, and says whether it is to be sent again.
        """
        content = change.to_dict()
        if self._picture and picture is not None:
            content["picture"] = base64.b64encode(picture).decode("ascii")
        status, headers = self._post(content, change.id)
        if 200 <= status < 300:
            return
        said = f"{self.name} answers with {status}"
        if 300 <= status < 400:
            raise SendError(f"{said}, which leads elsewhere; set `url` to the address where the webhook is.")
        is_final = status < 500 and status not in RETRIED
        what = "look whether `url` and `headers` are right" if is_final else "it is sent again"
        raise SendError(f"{said}; {what}.", is_final=is_final, retry_after=seconds_of(headers.get("retry-after")))

    def _post(self, content: Mapping[str, Any], key: str) -> tuple[int, Mapping[str, str]]:
        with _Deadline(self._timeout_s) as deadline:
            return self._answer(content, key, deadline)

    def _answer(self, content: Mapping[str, Any], key: str, deadline: _Deadline) -> tuple[int, Mapping[str, str]]:
        http = self._http
        url = self._url
        late = f"{self.name} did not answer within {self._timeout_s:g} s; it is sent again."
        for _ in range(_MOST_REDIRECTIONS + 1):
            left = deadline.left
            request = http.Request(
                "POST",
                url,
                headers={**self._headers, "Idempotency-Key": key},
                json=content,
                extensions={
                    "timeout": {"connect": left, "read": left, "write": left, "pool": left},
                    "trace": deadline.trace,
                },
            )
            try:
                response = self._transport.handle_request(request)
                # What it says beside that is nobody's concern.
                response.close()
            except http.TimeoutException:
                raise SendError(late) from None
            except http.ConnectError as error:
                raise SendError(
                    f"{self.name} cannot be reached ({shown(first_line(error))}); it is sent again."
                ) from None
            except (http.HTTPError, OSError, RuntimeError) as error:
                if deadline.is_over:
                    raise SendError(late) from None
                raise SendError(f"{self.name} broke off ({type(error).__name__}); it is sent again.") from None
            if response.status_code not in _REDIRECTIONS:
                break
            try:
                target = url.join(response.headers.get("location", ""))
            except http.InvalidURL:
                break
            if _origin(target) != _origin(url):
                break
            url = target
        return response.status_code, response.headers

    def close(self) -> None:
        """Closes its connections."""
        self._transport.close()


class _Deadline:
    """
    Breaks off a request at its time, whatever comes until then: the timeouts of a connection are of each wait.

    Args:
        seconds (`float`): from now on.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._end = time.monotonic() + seconds
        self._connection: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._break_off)
        self._timer.name, self._timer.daemon = "deadline of a webhook", True

    @property
    def left(self) -> float:
        """Seconds that are left; some, as 0 would mean not to wait at all."""
        return max(self._end - time.monotonic(), 0.001)

    def trace(self, event: str, details: Mapping[str, Any]) -> None:
        """Hears of the connections of the request, the last of which is the one that answers."""
        stream = details.get("return_value")
        if stream is not None and hasattr(stream, "get_extra_info"):
            self._connection = stream.get_extra_info("socket")
            if self.is_over:
                self._break_off()

    def _break_off(self) -> None:
        self.is_over = True
        if self._connection is not None:
            with suppress(OSError):
                # Not that of TLS, which would take away what another thread reads with.
                socket.socket.shutdown(self._connection, socket.SHUT_RDWR)

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._timer.cancel()


def seconds_of(retry_after: str | None) -> float | None:
    """
    The seconds that a header `Retry-After` asks for, as a number or as a date.

    Example:

    ```python
    >>> from hf_ttr.cameras.webhook import seconds_of

    >>> seconds_of("120"), seconds_of("Thu, 01 Jan 1970 00:00:00 GMT"), seconds_of("soon")
    (120.0, 0.0, None)

    ```
    """
    if retry_after is None:
        return None
    if re.fullmatch(r"\d{1,9}", retry_after.strip()):
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except (TypeError, ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
    return max((moment - datetime.fromtimestamp(time.time(), timezone.utc)).total_seconds(), 0.0)


def check_address(url: str) -> None:
    """
    Looks whether a webhook can have an address; without an HTTP library nothing is known of that.

    Raises:
        ValueError: if it cannot.
    """
    try:
        http = _http_library()
    except ImportError:
        return
    _url(http, url)


def _url(http: Any, text: str) -> Any:
    try:
        url = http.URL(text)
    except (http.InvalidURL, TypeError, UnicodeError):
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise ValueError("The `url` of the webhook is no address; write it as http://host:port/path.")
    return url


def _http_library() -> Any:
    """The HTTP library that huggingface_hub came with; it has two names."""
    for name in ("httpx2", "httpx"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError("Webhooks need the package httpx, which is not installed; pip install 'hf-ttr[cameras]'.")


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or name.lower() in OWN_HEADERS:
            raise ValueError(f"The webhook cannot have a header '{shown(name)}'; take it out of `headers`.")
        if not re.fullmatch(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?|", value):
            raise ValueError(
                f"The value of the webhook's header '{shown(name)}' cannot be sent; write it in ASCII, in one line, "
                "without spaces around it."
            )
    return dict(headers)


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _transport(http: Any, url: Any) -> Any:
    """What requests to an address go through: the proxy that the environment names for its host, if there is one."""
    proxy = None if proxy_bypass(url.host) else getproxies().get(url.scheme)
    # Without TLS there is nothing to verify, and reading the authorities takes long.
    verify = url.scheme == "https"
    if proxy is None:
        return http.HTTPTransport(verify=verify)
    if "://" not in proxy:
        proxy = f"http://{proxy}"  # as curl has it
    try:
        if not 0 < (http.URL(proxy).port or 80) < 65536 or not http.URL(proxy).host:
            raise ValueError
        return http.HTTPTransport(verify=verify, proxy=proxy)
    except (http.InvalidURL, ImportError, UnicodeError, ValueError):
        name = f"{url.scheme}_proxy"
        name = name if os.environ.get(name) else name.upper()
        raise ValueError(
            f"The proxy in the environment variable {name} cannot be used; write it as http://host:port, or add the "
            "host of the webhook to NO_PROXY."
        ) from None


__all__ = ["Webhook", "seconds_of"]
