"""Which hosts and folders a video may lie on: of what a user typed all, of what data name only some."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ..display import shown
from .errors import VideoDecodingError


@dataclass(frozen=True)
class Reach:
    """Where videos may be read from.

    Args:
        hosts (`tuple[str, ...]`, *optional*): Hosts whose `http(s)` addresses may be fetched, with those below them
            (`"hf.co"` allows `"cdn.hf.co"`). All are allowed without it.
        roots (`tuple[str, ...]`, *optional*): Folders whose files may be read, wherever links lead; and beginnings of
            `hf://` paths. All are allowed without it.
    """

    hosts: tuple[str, ...] | None = None
    roots: tuple[str, ...] | None = None

    def check_url(self, url: str, name: str) -> None:
        """Refuse an address on a host that is not allowed, with a `VideoDecodingError`."""
        host = host_of(url)
        if self.hosts is None or any(host == own or host.endswith(f".{own}") for own in map(str.lower, self.hosts)):
            return
        raise VideoDecodingError(
            f"{name} leads to the host '{shown(host)}', which is not allowed here "
            f"({', '.join(map(shown, self.hosts)) or 'no host is'}); allow it if you trust it, or leave the video out."
        )

    def check_path(self, path: str, name: str) -> None:
        """Refuse a file that lies in none of the folders, with a `VideoDecodingError`."""
        if self.roots is None:
            return
        if path.startswith("hf://"):
            if any(root.startswith("hf://") and path.startswith(root) for root in self.roots):
                return
        elif any(_is_in(path, root) for root in self.roots if not root.startswith("hf://")):
            return
        raise VideoDecodingError(
            f"{name} is not in the folder of the data that name it; allow its folder if you trust it, or leave the "
            "video out."
        )


def _is_in(path: str, folder: str) -> bool:
    try:
        real, root = os.path.realpath(path), os.path.realpath(folder)
    except (OSError, ValueError):
        return False
    return real == root or real.startswith(os.path.join(root, ""))


EVERYWHERE = Reach()
NOWHERE = Reach(hosts=(), roots=())


class ConfinedVideo(dict[str, Any]):
    """A row of a data set, `{"path": ..., "bytes": ...}`, with what it may lead to.

    Args:
        row (`Mapping[str, Any]`): The row.
        reach (`Reach`): Where its path or URL may lie.
    """

    def __init__(self, row: Mapping[str, Any], reach: Reach) -> None:
        super().__init__(row)
        self.reach = reach


def host_of(url: str) -> str:
    """The host of an address, in small letters; empty where there is none."""
    try:
        return (urlsplit(url).hostname or "").lower().rstrip(".")
    except ValueError:
        return ""


def is_public(host: str) -> bool:
    """Whether a name or an address of a host leads to the public network alone; also where it leads nowhere."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return True
    return all(is_public_address(address) for address in found)


def is_public_address(address: str) -> bool:
    """Whether an IP address is one of the public network."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global and not parsed.is_multicast
