"""Work that is done behind the caller's back, such as decoding what is wanted next."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar


T = TypeVar("T")


class Ahead:
    """
    A thread that does one thing after the other, in the order in which they were asked for; no exit waits for it.

    Args:
        name (`str`): of the thread.
    """

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._stopping = threading.Lock()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, work = job
            if self._stopped:
                future.cancel()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                # Whatever it is, it is raised where the result is taken.
                except BaseException as error:
                    future.set_exception(error)
            # What was done is not kept until the next thing comes.
            del job, future, work

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """
        Puts something behind what waits.

        Args:
            work (`Callable[[], T]`): what is to be done.

        Returns:
            `Future[T]`: its result; cancelled where the thread is stopped before it begins.
        """
        future: Future[T] = Future()
        with self._stopping:
            if self._stopped:
                future.cancel()
                future.set_running_or_notify_cancel()
            else:
                self._jobs.put((future, work))
        return future

    def stop(self) -> None:
        """Ends the thread after what it is at, without waiting; what has not begun is cancelled."""
        with self._stopping:
            if not self._stopped:
                self._stopped = True
                self._jobs.put(None)

    def join(self) -> None:
        """Waits for the end of the thread."""
        self._thread.join()
