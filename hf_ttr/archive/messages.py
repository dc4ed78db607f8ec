"""What a process and the one that decodes for it say to each other: an object, and bytes that are not copied."""

from __future__ import annotations

import pickle
import struct
from typing import Any, BinaryIO


HEAD = struct.Struct("<QQ")
"""In front of each message: how many bytes the pickled object has, and how many follow it."""

Buffer = bytes | bytearray | memoryview


def packed(message: Any, payload: Buffer = b"") -> list[Buffer]:
    """The parts of a message, in the order in which they are sent."""
    body = pickle.dumps(message)
    return [HEAD.pack(len(body), len(payload)), body, payload]


def write(file: BinaryIO, message: Any, payload: Buffer = b"") -> None:
    """Sends a message."""
    for part in packed(message, payload):
        file.write(part)
    file.flush()


def read(file: BinaryIO) -> tuple[Any, bytes] | None:
    """Waits for a message: the object and the bytes, or `None` where the other end is closed."""
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    body_size, payload_size = HEAD.unpack(head)
    body, payload = file.read(body_size), file.read(payload_size)
    if len(payload) < payload_size:
        return None
    return pickle.loads(body), payload
