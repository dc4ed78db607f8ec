"""What goes wrong in a process that decodes, on demand. Nothing here needs torch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_ttr.archive.cut import Piece
from hf_ttr.video import VideoDecodingError, VideoInfo


@dataclass(frozen=True)
class Script:
    """
    A cut for videos that are texts: `"name: 3 kill 11"` gives three pieces, and then kills its process.

    A piece holds its number and the process that made it.
    """

    def pieces(self, processor: Any, source: str) -> Generator[Piece, None, VideoInfo]:
        count, *action = source.partition(": ")[2].split()
        for number in range(int(count)):
            yield Piece(np.array([number, os.getpid()], np.float32).reshape(1, 1, 1, 1, 2))
        if action == ["large"]:
            yield Piece(np.tile(np.arange(2, dtype=np.float32), 2**20).reshape(1, -1, 1, 1, 2))
        elif action:
            act(*action)
        return VideoInfo(int(count), 25.0, 2, 1)


def act(what: str, argument: str = "") -> None:
    if what == "kill":
        os.kill(os.getpid(), int(argument))
    elif what == "exit":
        print("one thing", "the last thing", sep="\n", file=sys.stderr, flush=True)
        os._exit(int(argument))
    elif what == "hang":
        if argument:
            Path(f"{argument}.new").write_text(str(os.getpid()))
            os.rename(f"{argument}.new", argument)
        time.sleep(1000)
    elif what == "wait":
        time.sleep(float(argument))
    elif what == "memory":
        np.ones(2**34, np.uint8)
    elif what == "hidden-memory":
        try:
            raise MemoryError
        except MemoryError as error:
            raise VideoDecodingError("The video is damaged; replace it.") from error
    elif what == "print":
        print("noise on stdout")
        print("noise on stderr" * 10000, file=sys.stderr)
        os.system("echo noise of another process; echo and its errors >&2; cat")
    elif what == "no-torch":
        assert sys.modules["torch"] is None
    elif what == "raise":
        raise RuntimeError("it is broken")
    else:
        raise AssertionError(what)


class Deadly:
    """A source that acts as it is unpickled."""

    def __init__(self, *action: str) -> None:
        self.action = action
        self.name = "deadly"

    def __reduce__(self) -> Any:
        return act, self.action


class NotHere:
    """A processor that cannot be unpickled."""

    def __reduce__(self) -> Any:
        return act, ("raise",)
