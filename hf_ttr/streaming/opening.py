"""Sources that are opened in the background, so that nobody waits for one that does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..display import scrub
from .base import FrameSource, SourceError, label, one_line
from .reconnection import FIRST_PAUSE, LONGEST_PAUSE


class Opening:
    """
    A source that is being opened by a thread of its own, again and again while its fault may pass.

    Args:
        opener (`Callable[[], FrameSource]`): Opens the source, however long that takes.
        name (`str`): What the stream is called in messages.
        wake (`threading.Event`): Set once `source` or `error` is there.

    Attributes:
        source (`FrameSource`, *optional*): The source, once it is open.
        error (`Exception`, *optional*): Why it could not be opened, and is not tried again.
        passing (`SourceError`, *optional*): Why it could not be opened last, while it is tried again.
    """

    def __init__(self, opener: Callable[[], FrameSource], name: str, wake: threading.Event) -> None:
        self.source: FrameSource | None = None
        self.error: Exception | None = None
        self.passing: SourceError | None = None
        self._opener = opener
        self._name = name
        self._wake = wake
        self._closing = threading.Event()
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name=f"opening of {name}", daemon=True).start()

    @property
    def ready(self) -> bool:
        """Whether the source is open, or will not be."""
        return self.source is not None or self.error is not None

    @property
    def fault(self) -> SourceError:
        """Why it could not be opened, as the fault of its stream."""
        if isinstance(self.error, SourceError):
            return self.error
        assert self.error is not None
        fault = SourceError(f"{label(self._name)} cannot be opened ({one_line(self.error)}); check it.")
        fault.__cause__ = scrub(self.error)
        return fault

    def _run(self) -> None:
        began, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                source = self._opener()
            except Exception as error:
                remaining = getattr(error, "retry_seconds", 0.0) - (time.monotonic() - began)
                if remaining > 0 and not self._closing.is_set():
                    assert isinstance(error, SourceError)
                    self.passing = error
                    self._closing.wait(min(pause, remaining))
                    pause = min(2 * pause, LONGEST_PAUSE)
                    continue
                self.error = error
            else:
                with self._lock:
                    self.source = source
                    is_late = self._closing.is_set()
                if is_late:
                    source.close()
            break
        self._wake.set()

    def close(self) -> None:
        """Close the source, or have it closed as soon as it is open; this waits for nothing."""
        with self._lock:
            self._closing.set()
            source = self.source
        if source is not None:
            source.close()
