"""What the text that names a source means, and which protocols FFmpeg needs for it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..display import shown
from .base import SourceError, label


PROTOCOLS = ("file", "http", "https", "rtsp")

# The protocols that another one is carried by.
_CARRIERS = {
    "http": ("tcp",),
    "https": ("tls", "tcp"),
    "rtsp": ("rtp", "rtcp", "udp", "tcp"),
    "rtsps": ("rtp", "rtcp", "udp", "tls", "tcp"),
}
_CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


@dataclass(frozen=True)
class Address:
    """A source that FFmpeg opens by itself.

    Attributes:
        url (`str`): What FFmpeg is given.
        name (`str`): What the stream is called: the address as it may be shown, unless it has another name.
        format (`str`, *optional*): The FFmpeg format; found from the content without it.
        whitelist (`tuple[str, ...]`): All the protocols that FFmpeg may use, also for what a playlist or a
            redirection names.
        is_live (`bool`): Whether it is live unless the caller says otherwise.
        options (`dict[str, str]`): Other options of FFmpeg.
    """

    url: str
    name: str
    format: str | None = None
    whitelist: tuple[str, ...] = ()
    is_live: bool = False
    options: dict[str, str] = field(default_factory=dict)


def read_address(
    text: str, protocols: Sequence[str], platform: str = sys.platform, name: str | None = None
) -> Address | None:
    """Find out what FFmpeg has to open for a text.

    Args:
        text (`str`): A path, a URL, or a camera: `/dev/video0`, `camera:0` or `camera:NAME`.
        protocols (`Sequence[str]`): The protocols that are allowed. `"file"` allows the cameras too.
        platform (`str`): The operating system, as in `sys.platform`.
        name (`str`, *optional*): What the stream is called; the address, without its password, by default.

    Returns:
        `Address`, *optional*: What to open; `None` for a local file, which FFmpeg is not given the name of.

    Raises:
        SourceError: The protocol is not allowed or not known.
    """
    name = name or shown(text)
    if camera := re.fullmatch(r"/dev/video(\d+)|camera:(.+)", text):
        _check_allowed("file", name, protocols)
        number = camera[1] or camera[2]
        kind = _CAMERA_FORMATS.get(platform, "v4l2")
        url = {"v4l2": f"/dev/video{number}", "dshow": f"video={number}"}.get(kind, number)
        return Address(url, name, kind, ("none",), is_live=True)
    # Two letters at least, so that a drive such as C: remains a path.
    scheme = re.match(r"([a-z][\w+.-]+)(?:,[^:/]*)?:", text, re.IGNORECASE)
    protocol = scheme[1].lower() if scheme else "file"
    if protocol not in _CARRIERS and os.path.lexists(text):
        protocol = "file"  # a colon in the name of a file
    _check_allowed(protocol, name, protocols)
    if protocol == "file":
        return None
    if protocol not in _CARRIERS:
        raise SourceError(f"{label(name)} uses the protocol '{protocol}', which is not read; pass a file or a URL.")
    if re.search(r"[\x00-\x20\x7f]", text):
        raise SourceError(f"{label(name)} is an address with spaces or control characters; escape them with '%'.")
    text = protocol + text[len(protocol) :]  # FFmpeg knows no capitals
    if protocol.startswith("rtsp"):
        options = {"rtsp_flags": "prefer_tcp"}
        return Address(text, name, "rtsp", (protocol, *_CARRIERS[protocol]), is_live=True, options=options)
    # Either may lead to the other by a redirection.
    web = [protocol, *({"http", "https"} & set(protocols) - {protocol})]
    whitelist = dict.fromkeys([*web, *(carrier for each in web for carrier in _CARRIERS[each])])
    if any(os.environ.get(variable) for variable in ("http_proxy", "https_proxy")):
        whitelist["httpproxy"] = None
    return Address(text, name, whitelist=tuple(whitelist))


def _check_allowed(protocol: str, name: str, protocols: Sequence[str]) -> None:
    if protocol not in protocols:
        raise SourceError(
            f"{label(name)} uses the protocol '{protocol}', which is not allowed; use one of: "
            f"{', '.join(protocols) or 'none'}."
        )
