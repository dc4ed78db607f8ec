"""Tells one receiver of what waits for it: in order, again and again until it was received, in a thread of its own."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from ..checks import first_line
from ..display import shown
from .backoff import Backoff
from .events import StateChange
from .store import Store, StoreError, Waiting


logger = logging.getLogger(__name__)

Send = Callable[[StateChange, "bytes | None"], None]

LONGEST_RETRY_AFTER = 600.0
"""Seconds that a receiver may ask for before the next attempt."""

PATIENCE = 2.0
"""Seconds that the end waits for a change which is being sent."""

_IDLE_S = 60.0
_MOST_AT_ONCE = 100
_MOST_TO_FOLD = 100_000


class SendError(Exception):
    """
    A change was not received.

    Args:
        sentence (`str`): why, without secrets.
        is_final (`bool`): whether it will never be received, so that it is given up.
        retry_after (`float`, *optional*): seconds after which the receiver wants to be asked again.
        is_known (`bool`): whether the sender has logged it itself.
    """

    def __init__(
        self, sentence: str, is_final: bool = False, retry_after: float | None = None, is_known: bool = False
    ) -> None:
        super().__init__(sentence)
        self.is_final = is_final
        self.retry_after = retry_after
        self.is_known = is_known


class Delivery:
    """
    The thread that hands what waits for a destination to a function; a context manager that ends it.

    A change waits until it was received, so it is sent at least once; changes go out in the order in which they were
    committed. One that is not received is sent again, after pauses that grow from half a second to a minute, and the
    later ones wait behind it. One that is refused for good is logged, counted and given up.

    With a cool-down, `cooldown_s` seconds pass between one change that was received and the next. What changes
    meanwhile is folded: of each place (the camera, or each of its zones) the newest change alone is sent, the place
    that waits longest first; the others are counted as folded in the moment in which the newest was received. So the
    last state of a place is always told. The cool-down holds across restarts.

    Args:
        store: where the changes wait.
        destination (`str`): for whom, such as `"mqtt"` or `"webhook:door"`.
        send (`Callable[[StateChange, bytes | None], None]`): sends a change and its picture, and returns once they
            were received. Raises `SendError` if they were not; after anything else it is called again.
        cooldown_s (`float`): seconds from one change to the next.
        chance (`random.Random`, *optional*): for the pauses.
        after (`Delivery`, *optional*): to the same destination, which is ending: nothing is sent before it has ended.
    """

    def __init__(
        self,
        store: Store,
        destination: str,
        send: Send,
        cooldown_s: float = 0.0,
        chance: random.Random | None = None,
        after: Delivery | None = None,
    ) -> None:
        self.destination = destination
        self._store = store
        self._send = send
        self._cooldown_s = cooldown_s
        self._cool_at: float | None = None
        self._backoff = Backoff(chance=chance)
        self._news = store.event(destination)
        self._hurry = threading.Event()
        self._closing = False
        self._is_failing = False
        self._after = after
        self._at_end: Callable[[], None] | None = None
        self._thread = threading.Thread(target=self._run, name=f"delivery to {destination}", daemon=True)
        self._thread.start()

    def retry_now(self) -> None:
        """Does not wait any longer: the receiver is back."""
        self._hurry.set()

    def end(self, then: Callable[[], None] | None = None) -> None:
        """
        Lets the thread end behind the change that is being sent, and does not wait for that.

        Args:
            then (`Callable[[], None]`, *optional*): called on the thread in the end.
        """
        self._at_end = then or self._at_end
        self._closing = True
        self._hurry.set()
        self._news.set()

    def wait(self, seconds: float) -> bool:
        """Waits for the end of the thread, so many seconds at most; whether it has ended."""
        if threading.current_thread() is not self._thread:
            self._thread.join(max(seconds, 0.0))
        return not self._thread.is_alive()

    def close(self, patience: float = PATIENCE) -> None:
        """
        Ends the thread; what was not received yet waits in the store.

        Args:
            patience (`float`): seconds that a change may take which is being sent. Left alone after that, it is sent
                again another time.
        """
        self.end()
        self.wait(patience)

    def _run(self) -> None:
        # Two at once could send an old change behind a newer one.
        if self._after is not None:
            self._after._thread.join()
            self._after = None
        self._send_all()
        if self._at_end is not None:
            self._at_end()

    def _send_all(self) -> None:
        while not self._closing:
            self._news.clear()
            if self._closing:  # just before that
                break
            try:
                if (wait := self._cooling_down()) > 0:
                    self._pause(min(wait, _IDLE_S))  # no thread waits for any time
                    continue
                batch = self._batch()
            except StoreError as error:
                self._wait_for_another_try(str(error))
                continue
            if not batch:
                self._news.wait(_IDLE_S)
            for waiting, folded in batch:
                if self._closing or not self._deliver(waiting, folded):
                    break

    def _batch(self) -> list[tuple[Waiting, Sequence[int]]]:
        """What is to be sent next, each with the numbers of those that it stands for."""
        if not self._cooldown_s:
            return [(waiting, ()) for waiting in self._store.waiting(self.destination, _MOST_AT_ONCE)]
        changes = self._store.waiting(self.destination, _MOST_TO_FOLD)
        if not changes:
            return []
        of_place = [waiting for waiting in changes if waiting.change.place == changes[0].change.place]
        return [(of_place[-1], [waiting.number for waiting in of_place[:-1]])]

    def _cooling_down(self) -> float:
        """Seconds until the next change may be sent."""
        if not self._cooldown_s:
            return 0.0
        if self._cool_at is None:
            last = self._store.last_delivery(self.destination)
            left = 0.0 if last is None else last + self._cooldown_s - time.time()
            # The clock of the machine may have been set since; the one used here cannot.
            self._cool_at = time.monotonic() + min(left, self._cooldown_s)
        return self._cool_at - time.monotonic()

    def _deliver(self, waiting: Waiting, folded: Sequence[int]) -> bool:
        """Whether the next one may be sent, as this one has been received or was given up."""
        change = waiting.change
        try:
            self._send(change, self._store.picture(waiting.number) if change.has_picture else None)
        except SendError as error:
            if not error.is_final:
                self._wait_for_another_try(None if error.is_known else str(error), error.retry_after)
                return False
            self._backoff.reset()
            logger.error(f"The change '{shown(change.id)}' for {shown(self.destination)} is given up: {error}")
            return self._note(lambda: self._store.given_up(self.destination, waiting.number))
        # Whatever is wrong with one destination, the others and the cameras go on.
        except Exception as error:
            what = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {first_line(error)}."
            self._wait_for_another_try(shown(what, None))
            return False
        self._cool_at = time.monotonic() + self._cooldown_s
        self._backoff.reset()
        if self._is_failing:
            self._is_failing = False
            logger.warning(f"Changes are delivered to {shown(self.destination)} again.")
        return self._note(lambda: self._store.delivered(self.destination, waiting.number, folded))

    def _note(self, write: Callable[[], None]) -> bool:
        """Writes what became of a change, which is not sent again only because the disk takes nothing."""
        while True:
            try:
                write()
                return True
            except StoreError as error:
                self._wait_for_another_try(str(error))
                if self._closing:
                    return False

    def _wait_for_another_try(self, why: str | None, at_least: float | None = None) -> None:
        if self._closing:
            return
        if why is not None and not self._is_failing:
            self._is_failing = True
            logger.warning(f"Changes wait for {shown(self.destination)}: {why}")
        self._pause(max(self._backoff.next_pause(), min(at_least or 0.0, LONGEST_RETRY_AFTER)))

    def _pause(self, seconds: float) -> None:
        if self._hurry.wait(seconds) and not self._closing:
            self._hurry.clear()
            self._backoff.reset()

    def __enter__(self) -> Delivery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


__all__ = ["Delivery", "SendError"]
