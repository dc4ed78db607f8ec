"""What outlives the service: the state of each place, and the changes that wait for those who are told of them."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from ..checks import first_line
from ..display import shown
from ..storage.locks import try_lock
from .events import StateChange


logger = logging.getLogger(__name__)

FILE = "service.sqlite"
LOCK = "service.lock"

MOST_UNWRITTEN = 1000
"""Changes that are held in memory while the disk takes nothing."""

_APPLICATION = 0x48465454  # "HFTT", which tells the file from those of others
_VERSION = 1
_BUSY_S = 5.0
_AGAIN_S = 1.0

_SIGNS_OF_DAMAGE = ("malformed", "no such", "could not decode")

_TABLES = """
CREATE TABLE states (place TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE changes (number INTEGER PRIMARY KEY AUTOINCREMENT, change TEXT NOT NULL, picture BLOB);
CREATE TABLE waiting (destination TEXT, number INTEGER, PRIMARY KEY (destination, number)) WITHOUT ROWID;
CREATE INDEX waiting_numbers ON waiting (number);
CREATE TABLE destinations (
    name TEXT PRIMARY KEY,
    delivered INTEGER NOT NULL DEFAULT 0,
    folded INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    given_up INTEGER NOT NULL DEFAULT 0,
    last_delivery REAL
) WITHOUT ROWID;
"""


class StoreError(OSError):
    """The data folder cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class Waiting:
    """
    A change that waits for a destination.

    Attributes:
        number: of the change in the store; later ones have larger numbers.
        change: what is to be sent.
    """

    number: int
    change: StateChange


@dataclass(frozen=True)
class Counts:
    """
    What became of the changes for a destination since there is the data folder.

    Attributes:
        waiting: how many wait.
        delivered: how many were sent and received.
        folded: how many were left out during a cool-down, as a newer one of the same place was sent.
        dropped: how many had to make room for newer ones.
        given_up: how many the receiver refused for good.
    """

    waiting: int = 0
    delivered: int = 0
    folded: int = 0
    dropped: int = 0
    given_up: int = 0


class Store:
    """
    States and waiting changes on disk, in one SQLite file; a context manager that closes it.

    One transaction writes the states of places and the changes between them. However the process ends, both are there
    or neither is: no change is lost, and none is told twice under two names. Any thread may call: all share one
    connection, and take turns.

    Args:
        folder (`str` or `os.PathLike`): for the data; made if it is not there. One store at a time holds it.

    Attributes:
        problem (`str`, *optional*): why the last `commit` is not on disk yet, in one sentence.

    Raises:
        StoreError: if another service uses the folder, the file is damaged or of something else, or the folder cannot
            be written.

    Example:

    ```python
    >>> from tempfile import TemporaryDirectory

    >>> from hf_ttr.cameras.events import StateChange
    >>> from hf_ttr.cameras.store import Store

    >>> now = "2026-01-01T12:00:00.000+00:00"
    >>> change = StateChange("door", None, 0, "a parcel", 0.9, None, None, now, now, 0.0, 0.4, 0, 2, 0.2)
    >>> with TemporaryDirectory() as folder, Store(folder) as store:
    ...     store.commit({"door": {"label": "a parcel"}}, [(change, None)], lambda change: {"mqtt": 1000})
    ...     store.states(), [event.change.id for event in store.waiting("mqtt")]
    True
    ({'door': {'label': 'a parcel'}}, ['door/0'])

    ```
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.path.abspath(os.fspath(folder))
        self.problem: str | None = None
        self._turn = threading.RLock()
        self._events: dict[str, threading.Event] = {}
        self._unwritten_states: dict[str, str] = {}
        self._unwritten: deque[tuple[StateChange, bytes | None, Mapping[str, int]]] = deque()
        self._unwritten_dropped: Counter[str] = Counter()
        self._tried_at = 0.0
        self._lock_file = self._hold()
        try:
            self._connection = self._open()
        except BaseException:
            self._lock_file.close()
            raise

    def _hold(self) -> Any:
        """Takes the folder for this store alone."""
        try:
            # Pictures of cameras are nobody else's business.
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            file = open(os.path.join(self.folder, LOCK), "a", encoding="ascii")  # noqa: SIM115
        except OSError as error:
            raise self._unusable(error) from None
        try:
            free = try_lock(file)
        except OSError as error:
            file.close()
            raise self._unusable(error) from None
        if not free:
            file.close()
            raise StoreError(
                f"The data folder '{shown(self.folder)}' is used by another service; stop it, or set another folder "
                "in `data`."
            )
        return file

    def _open(self) -> sqlite3.Connection:
        path = os.path.join(self.folder, FILE)
        connection: sqlite3.Connection | None = None
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            # Transactions are begun by hand, and turns are taken by `_turn`.
            connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._prepare(connection)
        except (OSError, sqlite3.Error, StoreError) as error:
            if connection is not None:
                connection.close()
            raise (error if isinstance(error, StoreError) else self._unusable(error)) from None
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        is_new = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        application, version = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if not is_new and application != _APPLICATION:
            raise StoreError(
                f"The file '{shown(os.path.join(self.folder, FILE))}' was not made by hf-ttr; set another folder in "
                "`data`."
            )
        if version > _VERSION:
            raise StoreError(
                f"The file '{shown(os.path.join(self.folder, FILE))}' was made by a newer version of hf-ttr; update "
                "hf-ttr, or set another folder in `data`."
            )
        if not is_new and (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise self._damaged(found)
        # Pages that pictures left are given back.
        connection.execute("PRAGMA auto_vacuum = FULL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA journal_size_limit = {1 << 22}")
        # FULL, and not NORMAL, which would take back the last commits after a power cut: receivers would get another
        # change by a name that they know.
        connection.execute("PRAGMA synchronous = FULL")
        if is_new:
            connection.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {_APPLICATION};"
                f"PRAGMA user_version = {_VERSION}; COMMIT;"
            )

    def commit(
        self,
        states: Mapping[str, Mapping[str, Any]],
        changes: Sequence[tuple[StateChange, bytes | None]] = (),
        destinations: Callable[[StateChange], Mapping[str, int]] | None = None,
    ) -> bool:
        """
        Writes states, and the changes to those who are told of them, in one transaction.

        What the disk does not take is held in memory, said once in the log and in `problem`, and written with one of
        the next: it must not be committed again. Pictures are not held, and of changes the last `MOST_UNWRITTEN`.

        Args:
            states (`Mapping[str, Mapping[str, Any]]`): of places, as JSON can hold them. Others stay as they are.
            changes: the changes, each with a JPEG or `None`, in order.
            destinations (`Callable[[StateChange], Mapping[str, int]]`, *optional*): whom to tell of a change, such as
                `{"mqtt": 10000, "webhook:door": 1000}`: with how many changes may wait there. The oldest are dropped
                and counted.

        Returns:
            `bool`: whether all of it is on disk.

        Raises:
            TypeError: if a state is nothing that JSON can hold; nothing is written.
        """
        texts = {place: json.dumps(state) for place, state in states.items()}
        entries = [
            (change, picture, dict(destinations(change)) if destinations else {}) for change, picture in changes
        ]
        with self._turn:
            self._unwritten_states.update(texts)
            self._unwritten.extend(entries)
            if self.problem is not None and time.monotonic() - self._tried_at < _AGAIN_S:
                self._hold_back()
                return False
            return self._write_unwritten()

    def flush(self) -> bool:
        """Writes what an earlier `commit` could not; whether all of it is on disk."""
        with self._turn:
            return self.problem is None or self._write_unwritten()

    def _write_unwritten(self) -> bool:
        self._tried_at = time.monotonic()
        try:
            with self._transaction():
                self._write()
        except sqlite3.Error as error:
            sentence = str(self._unusable(error))
            if self.problem is None:
                logger.error(f"{sentence} The service goes on, and writes what it holds in memory then.")
            self.problem = sentence
            self._hold_back()
            return False
        told = {name for _, _, names in self._unwritten for name in names}
        self._unwritten_states.clear()
        self._unwritten.clear()
        self._unwritten_dropped.clear()
        if self.problem is not None:
            self.problem = None
            logger.warning(f"The data folder '{shown(self.folder)}' is written again.")
        for name in told:
            self.event(name).set()
        return True

    def _write(self) -> None:
        execute = self._connection.execute
        self._connection.executemany("INSERT OR REPLACE INTO states VALUES (?, ?)", self._unwritten_states.items())
        most: dict[str, int] = {}
        for change, picture, names in self._unwritten:
            if not names:
                continue
            text = json.dumps(change.to_dict())
            number = execute("INSERT INTO changes (change, picture) VALUES (?, ?)", (text, picture)).lastrowid
            self._connection.executemany("INSERT INTO waiting VALUES (?, ?)", [(name, number) for name in names])
            most.update(names)
        for name, limit in most.items():
            self._count(name)
            count = execute("SELECT count(*) FROM waiting WHERE destination = ?", (name,)).fetchone()[0]
            if count > limit:
                oldest = execute(
                    "SELECT number FROM waiting WHERE destination = ? ORDER BY number LIMIT ?", (name, count - limit)
                ).fetchall()
                self._remove(name, [number for (number,) in oldest])
                self._count(name, dropped=len(oldest))
        for name, dropped in self._unwritten_dropped.items():
            self._count(name, dropped=dropped)

    def _hold_back(self) -> None:
        while len(self._unwritten) > MOST_UNWRITTEN:
            self._unwritten_dropped.update(list(self._unwritten.popleft()[2]))
        self._unwritten = deque(
            (change if picture is None else replace(change, has_picture=False), None, names)
            for change, picture, names in self._unwritten
        )

    def states(self) -> dict[str, dict[str, Any]]:
        """
        The states of all places, as they were committed.

        Raises:
            StoreError: if they cannot be read.
        """
        with self._reading():
            return {
                place: json.loads(state)
                for place, state in [
                    *self._connection.execute("SELECT place, state FROM states ORDER BY place"),
                    *self._unwritten_states.items(),
                ]
            }

    def waiting(self, destination: str, limit: int = 100) -> list[Waiting]:
        """
        The changes that wait for a destination, the oldest first.

        Args:
            destination (`str`): its name.
            limit (`int`): how many at most.

        Raises:
            StoreError: if they cannot be read.
        """
        with self._reading():
            rows = self._connection.execute(
                "SELECT number, change FROM waiting JOIN changes USING (number) WHERE destination = ? "
                "ORDER BY number LIMIT ?",
                (destination, limit),
            )
            return [Waiting(number, StateChange.from_dict(json.loads(text))) for number, text in rows]

    def picture(self, number: int) -> bytes | None:
        """
        The JPEG of a change that waits, by its number in the store.

        Raises:
            StoreError: if it cannot be read.
        """
        with self._reading():
            row = self._connection.execute("SELECT picture FROM changes WHERE number = ?", (number,)).fetchone()
            return None if row is None else row[0]

    def delivered(self, destination: str, number: int, folded: Sequence[int] = ()) -> None:
        """
        A change was received: it waits no more, nor do those that it stands for.

        Args:
            destination (`str`): which received it.
            number (`int`): of the change in the store.
            folded (`Sequence[int]`): numbers of older changes that are not sent, as this one was.

        Raises:
            StoreError: if that cannot be written; the change waits as before.
        """
        with self._writing():
            count = self._remove(destination, [number])
            self._count(destination, delivered=count, folded=self._remove(destination, folded))
            self._connection.execute(
                "UPDATE destinations SET last_delivery = ? WHERE name = ?", (time.time(), destination)
            )

    def given_up(self, destination: str, number: int) -> None:
        """
        A change was refused for good: it waits no more.

        Raises:
            StoreError: if that cannot be written; the change waits as before.
        """
        with self._writing():
            self._count(destination, given_up=self._remove(destination, [number]))

    def forget(self, destination: str) -> int:
        """
        Lets go of what waits for a destination that is no more, and of its counts.

        Returns:
            `int`: how many changes waited.

        Raises:
            StoreError: if that cannot be written; all waits as before.
        """
        with self._writing():
            rows = self._connection.execute("SELECT number FROM waiting WHERE destination = ?", (destination,))
            count = self._remove(destination, [number for (number,) in rows.fetchall()])
            self._connection.execute("DELETE FROM destinations WHERE name = ?", (destination,))
            return count

    def counts(self) -> dict[str, Counts]:
        """
        What became of the changes for each destination; counts go on across restarts.

        Raises:
            StoreError: if they cannot be read.
        """
        with self._reading():
            rows = self._connection.execute(
                "SELECT name, (SELECT count(*) FROM waiting WHERE destination = name), delivered, folded, dropped, "
                "given_up FROM destinations ORDER BY name"
            )
            return {name: Counts(*numbers) for name, *numbers in rows}

    def last_delivery(self, destination: str) -> float | None:
        """
        When a destination last received a change, in seconds since 1970; `None` if it never did.

        Raises:
            StoreError: if it cannot be read.
        """
        with self._reading():
            row = self._connection.execute(
                "SELECT last_delivery FROM destinations WHERE name = ?", (destination,)
            ).fetchone()
            return None if row is None else row[0]

    def event(self, destination: str) -> threading.Event:
        """What is set when something new waits for a destination; who waits for it clears it."""
        with self._turn:
            return self._events.setdefault(destination, threading.Event())

    def _remove(self, destination: str, numbers: Sequence[int]) -> int:
        """Takes changes from those that wait for a destination, and with them what waits for no other; how many."""
        count = 0
        for number in numbers:
            count += self._connection.execute(
                "DELETE FROM waiting WHERE destination = ? AND number = ?", (destination, number)
            ).rowcount
            self._connection.execute(
                "DELETE FROM changes WHERE number = :number AND NOT EXISTS "
                "(SELECT 1 FROM waiting WHERE number = :number)",
                {"number": number},
            )
        return count

    def _count(self, destination: str, **more: int) -> None:
        self._connection.execute("INSERT OR IGNORE INTO destinations (name) VALUES (?)", (destination,))
        for name, number in more.items():
            self._connection.execute(
                f"UPDATE destinations SET {name} = {name} + ? WHERE name = ?", (number, destination)
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # Some faults of the disk have rolled it back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._turn:
            try:
                with self._transaction():
                    yield
            except sqlite3.Error as error:
                raise self._unusable(error) from None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._turn:
            try:
                yield
            except sqlite3.Error as error:
                raise self._unusable(error) from None
            except (ValueError, TypeError, KeyError) as error:  # what is there is nothing that was written
                raise self._damaged(first_line(error)) from None

    def _unusable(self, error: Exception) -> StoreError:
        why = first_line(error).lower()
        if type(error) is sqlite3.DatabaseError or any(sign in why for sign in _SIGNS_OF_DAMAGE):
            # What SQLite quotes is no matter for a sentence.
            return self._damaged(why.partition(" with text ")[0])
        why = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        return StoreError(
            f"The data folder '{shown(self.folder)}' cannot be used ({shown(why)}); make room on its disk and see "
            "that it can be written, or set another folder in `data`."
        )

    def _damaged(self, why: str) -> StoreError:
        return StoreError(
            f"The file '{shown(os.path.join(self.folder, FILE))}' is damaged ({shown(why)}); bring it back from a "
            "backup, or move it away together with its -wal and -shm to begin without states. Nothing was deleted."
        )

    def close(self) -> None:
        """Closes the file, and lets others have the folder."""
        with self._turn:
            self._connection.close()
            self._lock_file.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


__all__ = ["Counts", "Store", "StoreError", "Waiting"]
