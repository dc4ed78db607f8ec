"""Fetch a video over HTTP into a file, within limits of size, time and reach."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, cast
from urllib.parse import urljoin

from ..display import scrub, shown
from .errors import VideoDecodingError, one_line
from .limits import VideoLimits
from .reach import Reach, host_of, is_public, is_public_address


IN_MEMORY = 2**24
"""Bytes up to which a download stays in memory; a larger one is put on the disk."""

STALLED = 30.0
"""Seconds without a byte after which a download is given up."""

REDIRECTIONS = (301, 302, 303, 307, 308)


def download(url: str, name: str, limits: VideoLimits, reach: Reach) -> BinaryIO:
    """Fetch what a URL holds.

    The redirections of a public address lead to public addresses only: neither to this machine nor to its network.

    Args:
        url (`str`): An `http(s)` URL.
        name (`str`): The start of sentences about it.
        limits (`VideoLimits`): Of size, time and redirections.
        reach (`Reach`): The hosts that are allowed, at each redirection.

    Returns:
        `BinaryIO`: A temporary file, at its start; gone once it is closed.

    Raises:
        VideoDecodingError: It cannot be fetched, or not within the limits.
    """
    reach.check_url(url, name)
    with _Deadline(limits.seconds) as deadline:
        deadline.only_public = is_public(host_of(url))
        try:
            for _ in range(limits.redirects + 1):
                with _answer(url, deadline) as response:
                    if response.status_code in REDIRECTIONS and "location" in response.headers:
                        url = urljoin(url, response.headers["location"])
                        _check_redirection(url, name, reach, deadline.only_public)
                        continue
                    file = _body(response, name, limits)
                    if deadline.is_over:  # which looks like the end of what has no stated length
                        file.close()
                        raise TimeoutError("the time is over")
                    return file
        except VideoDecodingError:
            raise
        except Exception as error:
            if deadline.is_over:
                raise VideoDecodingError(
                    f"{name} could not be downloaded within {limits.seconds:g} s; download it first, or raise "
                    "`seconds` of the limits."
                ) from scrub(error)
            why = one_line(error) if not str(error) else shown(error, 200).rstrip(".")
            raise VideoDecodingError(f"{name} could not be downloaded ({why}); check the URL and network.") from scrub(
                error
            )
    raise VideoDecodingError(
        f"{name} could not be downloaded (more than {limits.redirects} redirections); check the URL."
    )


def spooled(parts: Iterable[bytes], name: str, limits: VideoLimits) -> BinaryIO:
    """Put parts of a file together in a temporary file, at most as many bytes as the limits allow."""
    file = cast(BinaryIO, tempfile.SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115
    try:
        size = 0
        for part in parts:
            size += len(part)
            if size > limits.bytes:
                raise _too_large(name, limits)
            file.write(part)
        file.seek(0)
        return file
    except BaseException:
        file.close()
        raise


def _too_large(name: str, limits: VideoLimits) -> VideoDecodingError:
    return VideoDecodingError(
        f"{name} is larger than {limits.bytes:,} bytes; cut it into pieces, or raise `bytes` of the limits."
    )


class _Deadline:
    """Ends the connections of a download when its time is over, also while headers come byte by byte."""

    def __init__(self, seconds: float) -> None:
        self.only_public = False
        self.is_over = False
        self._host = ""
        self._sockets: list[Any] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.is_over = True
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def watch(self, host: str) -> Any:
        """What the HTTP client calls at each of its steps."""

        def step(event: str, about: dict[str, Any]) -> None:
            if event.endswith("connect_tcp.started"):
                self._host = str(about.get("host", ""))
            stream = about.get("return_value")
            if not event.endswith((".connect_tcp.complete", ".start_tls.complete")) or stream is None:
                return
            own = stream.get_extra_info("socket")
            if own is None:
                return
            self._sockets.append(own)
            # What a name leads to is known for sure once it is connected; a proxy is the user's own.
            if self.only_public and self._host.lower().rstrip(".") == host and event.endswith("tcp.complete"):
                peer = own.getpeername()[0]
                if not is_public_address(peer):
                    raise OSError(f"the host '{host}' lies at {peer}, which is no public address")

        return step


@contextlib.contextmanager
def _answer(url: str, deadline: _Deadline) -> Iterator[Any]:
    try:  # the client that transformers downloads videos with, under the name that the installed version has for it
        from huggingface_hub.utils import httpx
    except ImportError:
        import httpx  # type: ignore[no-redef]

    if deadline.is_over:
        raise TimeoutError("the time is over")
    # What is compressed can be a thousand times as large.
    headers = {"Accept-Encoding": "identity"}
    extensions = {"trace": deadline.watch(host_of(url))}
    with (
        httpx.Client(timeout=STALLED, follow_redirects=False) as client,
        client.stream("GET", url, headers=headers, extensions=extensions) as response,
    ):
        yield response


def _check_redirection(url: str, name: str, reach: Reach, only_public: bool) -> None:
    if not url.lower().startswith(("http://", "https://")):
        raise VideoDecodingError(
            f"{name} could not be downloaded (it leads to '{shown(url)}', which is no http(s) URL); check the URL."
        )
    reach.check_url(url, name)
    if only_public and not is_public(host_of(url)):
        raise VideoDecodingError(
            f"{name} could not be downloaded (it leads to '{shown(host_of(url))}', a host of this machine or its "
            "network); if you trust it, pass that address itself."
        )


def _body(response: Any, name: str, limits: VideoLimits) -> BinaryIO:
    if response.status_code != 200:
        raise VideoDecodingError(
            f"{name} could not be downloaded (HTTP status {response.status_code}); check the URL."
        )
    if (coding := response.headers.get("content-encoding", "identity").lower()) not in ("identity", ""):
        raise VideoDecodingError(
            f"{name} could not be downloaded (it comes compressed as '{shown(coding, 40)}', which was not asked for); "
            "download it first."
        )
    promised = response.headers.get("content-length", "")
    if promised.isdecimal() and int(promised[:30]) > limits.bytes:
        raise _too_large(name, limits)
    return spooled(response.iter_raw(2**16), name, limits)
