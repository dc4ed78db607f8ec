"""A process that decodes, seen from the one that started it: it is asked, and may die or hang meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..display import shown
from ..video.errors import one_line
from .messages import HEAD, Buffer, packed


START_LIMIT = 300.0
"""Seconds in which a process has to begin: it imports libraries, perhaps with many others from a slow disk."""

LONGEST_ANSWER = 2**20
"""Bytes of an answer without its pixels."""

_PIPE_SIZE = 2**20
_KEPT = 4096
_END = 5.0
# In case that something else holds the other end of a pipe.
_LOOK = 0.5


class ChildDied(Exception):
    """The process ended; the message says how."""


class KilledAtStart(RuntimeError):
    """A signal ended the process before it could be asked; the message is one sentence."""


class ChildHung(Exception):
    """The process did not answer in time, and was killed."""


@dataclass(frozen=True)
class SetUp:
    """
    What a process is told before all else.

    Attributes:
        payload: the pickled processor and cut.
        time_limit: seconds of a request.
        memory_limit: bytes beside what it begins with.
        needs_torch: whether the processor does.
    """

    payload: bytes
    time_limit: float
    memory_limit: int
    needs_torch: bool


class ChildProcess:
    """
    A process that runs `hf_ttr.archive.decoder`, for one thread, which has to live as long as the process is to.

    Args:
        set_up: what it is told before all else.

    Raises:
        RuntimeError: if it cannot be started; one sentence.
    """

    def __init__(self, set_up: SetUp) -> None:
        self._set_up = set_up
        # What can be imported here can be imported there.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        safe_path = ["-P"] if sys.version_info >= (3, 11) else []
        try:
            self._process = subprocess.Popen(
                [sys.executable, *safe_path, "-m", "hf_ttr.archive.decoder"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={**os.environ, **threads, "PYTHONPATH": path},
                # Ctrl-C in a terminal is for those in its session.
                start_new_session=True,
            )
        except OSError as error:
            raise _not_started(one_line(error)) from error
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._requests, self._answers, self._errors = (pipe.fileno() for pipe in pipes if pipe is not None)
        for pipe in (self._requests, self._answers, self._errors):
            os.set_blocking(pipe, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):  # there is a limit for each user
                fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        self._selector.register(self._errors, selectors.EVENT_READ)
        self._said = b""
        self._is_killed = False

    def wait_until_ready(self) -> None:
        """
        Waits until it can be asked.

        Raises:
            RuntimeError: if that does not come, `KilledAtStart` where a signal ended it; one sentence.
        """
        settings = {key: value for key, value in asdict(self._set_up).items() if key != "payload"}
        try:
            (kind, *about), _ = self.ask(("set-up", settings), START_LIMIT, self._set_up.payload)
        except (ChildDied, ChildHung) as error:
            why = str(error) or f"it did not begin within {START_LIMIT:g} s"
        else:
            if kind == "ready":
                self._said = b""  # what libraries say as they are imported
                return
            why = about[1]
        raise _not_started(why, KilledAtStart if self._is_killed else RuntimeError)

    def ask(self, message: Any, limit: float, payload: Buffer = b"") -> tuple[tuple[Any, ...], np.ndarray]:
        """
        Sends a message, and waits for the answer.

        Args:
            message, payload: see `hf_ttr.archive.decoder`.
            limit: seconds.

        Returns:
            `tuple[tuple, np.ndarray]`: the answer, and its `float32` pixels in one row.

        Raises:
            ChildDied: if the process ended; one sentence without its beginning.
            ChildHung: if it did not answer in time. It is ended.
        """
        try:
            return self._exchange(message, payload, time.monotonic() + limit)
        except BaseException:
            # An answer that came later would be taken for that of another request.
            self.end()
            raise

    def _exchange(self, message: Any, payload: Buffer, deadline: float) -> tuple[tuple[Any, ...], np.ndarray]:
        unsent = [memoryview(part) for part in packed(message, payload) if len(part)]
        self._selector.register(self._requests, selectors.EVENT_WRITE)
        answer = _answer(self._set_up.memory_limit)
        room = next(answer)
        is_last_look = False
        while True:
            ready = {key.fd for key, _ in self._selector.select(min(_LOOK, max(0.0, deadline - time.monotonic())))}
            if self._errors in ready:
                self._listen()
            if self._requests in ready:
                self._send(unsent)
                if not unsent:
                    self._selector.unregister(self._requests)
            if self._answers in ready:
                count = os.readv(self._answers, [room])
                if count == 0:
                    raise ChildDied(self._how_it_ended())
                room = room[count:]
                if len(room) == 0:
                    try:
                        room = answer.send(None)
                    except StopIteration as end:
                        result: tuple[tuple[Any, ...], np.ndarray] = end.value
                        return result
            elif is_last_look:
                raise ChildDied(self._how_it_ended())
            is_last_look = self._process.poll() is not None
            if time.monotonic() > deadline and not is_last_look:
                raise ChildHung

    def _send(self, unsent: list[memoryview]) -> None:
        try:
            count = os.write(self._requests, unsent[0])
        except BlockingIOError:
            return
        except BrokenPipeError:
            raise ChildDied(self._how_it_ended()) from None
        unsent[0] = unsent[0][count:]
        if len(unsent[0]) == 0:
            del unsent[0]

    def _listen(self) -> None:
        """Takes what it printed, of which the end is kept."""
        try:
            text = os.read(self._errors, 2**16)
        except BlockingIOError:
            return
        if not text:
            self._selector.unregister(self._errors)
        self._said = (self._said + text)[-_KEPT:]

    def _how_it_ended(self) -> str:
        """The signal or the exit status, and what it said last."""
        try:
            code = self._process.wait(_END)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        self._is_killed = code < 0
        with contextlib.suppress(OSError):
            self._said += os.read(self._errors, 2**16)
        lines = [line.strip() for line in self._said.decode(errors="replace").splitlines() if line.strip()]
        last = f": {shown(lines[-1], 200).rstrip('.')}" if lines else ""
        if -code == signal.SIGKILL:
            return "SIGKILL, as where memory runs out"
        return (f"exit status {code}" if code >= 0 else signal_name(-code)) + last

    def kill(self) -> None:
        """Kills the process, from any thread; that which asks finds it dead."""
        self._process.kill()

    def end(self) -> None:
        """Kills the process, and leaves nothing of it behind. Ending it again does nothing."""
        self._process.kill()
        # One that waits for a disk that does not answer is ended by the system when it can be.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END)
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()


def signal_name(number: int) -> str:
    """Such as `"SIGSEGV"`."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _not_started(why: str, kind: type[RuntimeError] = RuntimeError) -> RuntimeError:
    return kind(f"The process that decodes videos cannot be started ({why}); see what it lacks.")


def _answer(most: int) -> Generator[memoryview, None, tuple[Any, np.ndarray]]:
    """The places for the parts of an answer, one after the other as they are filled, and then the answer."""
    head = bytearray(HEAD.size)
    yield memoryview(head)
    body_size, pixels_size = HEAD.unpack(head)
    if body_size > LONGEST_ANSWER or pixels_size > most:
        raise ChildDied("it answered nonsense")
    body, pixels = bytearray(body_size), np.empty(pixels_size // 4, np.float32)
    yield memoryview(body)
    if pixels_size:
        yield pixels.data.cast("B")
    try:
        return pickle.loads(body), pixels
    except Exception:
        raise ChildDied("it answered nonsense") from None
