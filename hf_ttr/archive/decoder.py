"""
`python -m hf_ttr.archive.decoder`: a process that decodes videos piece by piece, as the one that started it asks for.

What it is asked comes in on stdin, what it answers goes out on stdout; whatever libraries print goes to stderr. It has
no torch, which would take most of its memory and of the time in which it starts.

| message | answer |
|---|---|
| `("set-up", settings)`, with the pickled processor and cut | `("ready",)` |
| `("open", number)`, with the pickled source | `("opened",)` |
| `("next", number, wanted)` | `("piece", shape)` with its pixels, if they are wanted, or `("end", facts)` |
| `("close", number)` | `("closed",)` |

Any may be answered by `("error", kind, sentence)`, of kind `"unreadable"`, `"memory"`, or `"unprepared"` where the
fault is not one of reading; the video is closed then, as it is at its end. Behind an answer stand the seconds that it
took.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import signal
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from typing import Any, BinaryIO

from ..display import chain_of, shown
from .messages import read, write


GRACE = 10.0
"""Seconds beyond the limit of a request after which a process ends by itself, that nobody ended."""

_LONGEST = 10.0**9
"""Seconds: timers of the system take no more than some centuries."""

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Answers until the other end is closed."""
    requests, answers = _own_pipes()
    _leave_nothing_behind()
    setting_up = read(requests)
    if setting_up is None:
        return
    (_, settings), payload = setting_up
    try:
        videos = _Videos(settings, payload)
    except Exception as error:
        write(answers, ("error", "set-up", _one_line(error), 0.0))
        return
    write(answers, ("ready", 0.0))
    while (request := read(requests)) is not None:
        began = time.perf_counter()
        _alarm_in(settings["time_limit"] + GRACE)
        answer, pixels = videos.answer(*request)
        _alarm_in(0)
        write(answers, (*answer, time.perf_counter() - began), pixels)
        del pixels


class _Videos:
    """
    The videos that are open, each a generator of pieces.

    Args:
        settings: `"memory_limit"` in bytes, and `"needs_torch"`.
        payload: the pickled processor and cut.
    """

    def __init__(self, settings: dict[str, Any], payload: bytes) -> None:
        if not settings["needs_torch"]:
            # An import of it fails, and transformers goes on without.
            sys.modules["torch"] = None  # type: ignore[assignment]
        self.processor, self.cut = pickle.loads(payload)
        self.open: dict[int, Generator[Any, None, Any]] = {}
        # The last of what is imported; without it, videos say so.
        with suppress(ImportError):
            import av  # noqa: F401
        limit_memory(settings["memory_limit"])

    def answer(self, message: Any, payload: bytes) -> tuple[tuple[Any, ...], memoryview | bytes]:
        """What is said to one message, and the pixels that go with it."""
        verb, number = message[:2]
        try:
            if verb == "open":
                self.open[number] = self.cut.pieces(self.processor, pickle.loads(payload))
                return ("opened",), b""
            if verb == "close":
                self._close(number)
                return ("closed",), b""
            return self._next(number, wanted=message[2])
        except Exception as error:
            self._close(number)
            return ("error", *_fault(error)), b""

    def _next(self, number: int, wanted: bool) -> tuple[tuple[Any, ...], memoryview | bytes]:
        try:
            piece = next(self.open[number])
        except StopIteration as end:
            self._close(number)
            return ("end", end.value), b""
        if not wanted:
            return ("piece", None), b""
        return ("piece", piece.pixels.shape), memoryview(piece.pixels).cast("B")

    def _close(self, number: int) -> None:
        if (pieces := self.open.pop(number, None)) is not None:
            pieces.close()


def _own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Where requests come from and answers go to, out of the reach of libraries, which print to stderr."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _leave_nothing_behind() -> None:
    """This process ends with the one that started it, leaves Ctrl-C to it, and is the first to go without memory."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not sys.platform.startswith("linux"):
        return  # elsewhere it notices at its next message, and ends a request that takes too long by itself
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        return


def _alarm_in(seconds: float) -> None:
    """Ends the process in so many seconds, whatever it is at; 0 takes that back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, min(seconds, _LONGEST))


def limit_memory(limit: int) -> None:
    """Lets this process have so many bytes beside what it has, where the system can be told so."""
    try:
        import resource
    except ImportError:
        return
    try:
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[5]) * resource.getpagesize()
    except OSError:
        used = 0
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = min(used + limit, sys.maxsize)
    with suppress(OSError, ValueError):
        resource.setrlimit(
            resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most)
        )


def _fault(error: Exception) -> tuple[str, str]:
    """The kind of a fault, and what is said of it."""
    from ..video import VideoDecodingError

    if _is_memory(error):
        return "memory", shown(error)
    if isinstance(error, VideoDecodingError):
        return "unreadable", str(error)
    return "unprepared", _one_line(error)


def _is_memory(error: BaseException) -> bool:
    """Whether memory was missing, behind whatever it became."""
    return any(
        isinstance(link, MemoryError) or getattr(link, "errno", None) == errno.ENOMEM for link in chain_of(error)
    )


def _one_line(error: Exception) -> str:
    from ..video.errors import one_line

    return one_line(error)


if __name__ == "__main__":
    main()
