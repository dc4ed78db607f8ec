"""States and waiting changes are on disk together or not at all, whatever happens to the process or the disk."""

from __future__ import annotations

import logging
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_ttr.cameras.events import StateChange
from hf_ttr.cameras.store import FILE, MOST_UNWRITTEN, Counts, Store, StoreError

from .changes import change
from .services import Receiver, wait_until


ROOT = Path(__file__).resolve().parents[2]


def to(*names: str, most: int = 1000) -> Any:
    return lambda change: dict.fromkeys(names, most)


def numbers(store: Store, destination: str = "mqtt") -> list[int]:
    return [waiting.change.number for waiting in store.waiting(destination, 10_000)]


def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    one, two = change(0, zone="mat"), replace(change(1), has_picture=True)
    with Store(tmp_path) as store:
        assert store.commit({"door/mat": {"since": 1.5, "votes": ["é"]}}, [(one, None)], to("mqtt"))
        assert store.commit({"door": {"n": 2}}, [(two, b"\xff\xd8")], to("mqtt", "webhook:door"))
    with Store(tmp_path) as store:
        assert store.states() == {"door": {"n": 2}, "door/mat": {"since": 1.5, "votes": ["é"]}}
        assert [waiting.change for waiting in store.waiting("mqtt")] == [one, two]
        (at_webhook,) = store.waiting("webhook:door")
        assert at_webhook.change == two and store.picture(at_webhook.number) == b"\xff\xd8"
        assert store.waiting("webhook:yard") == [] and len(store.waiting("mqtt", limit=1)) == 1


def test_a_change_waits_for_each_destination_by_itself_and_its_picture_goes_with_the_last(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.commit({}, [(change(0), b"jpeg")], to("mqtt", "webhook:door"))
        (waiting,) = store.waiting("mqtt")
        store.delivered("mqtt", waiting.number)
        assert store.waiting("mqtt") == [] and store.picture(waiting.number) == b"jpeg"
        store.given_up("webhook:door", waiting.number)
        assert store.waiting("webhook:door") == [] and store.picture(waiting.number) is None
        assert store.counts() == {"mqtt": Counts(delivered=1), "webhook:door": Counts(given_up=1)}
        # What is said twice counts once.
        store.delivered("mqtt", waiting.number)
        assert store.counts()["mqtt"].delivered == 1


def test_a_full_queue_drops_the_oldest_and_the_counts_outlive_the_process(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for number in range(5):
            store.commit({}, [(change(number), None)], to("mqtt", most=3))
        assert numbers(store) == [2, 3, 4]
    with Store(tmp_path) as store:
        assert store.counts() == {"mqtt": Counts(waiting=3, dropped=2)}
        # A smaller limit holds from the next change on.
        store.commit({}, [(change(5), None), (change(6), None)], to("mqtt", most=1))
        assert numbers(store) == [6] and store.counts()["mqtt"].dropped == 6


def test_folded_changes_are_counted_with_the_one_that_stands_for_them(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.commit({}, [(change(number), None) for number in range(3)], to("webhook:door"))
        first, second, third = (waiting.number for waiting in store.waiting("webhook:door"))
        store.delivered("webhook:door", third, folded=[first, second])
        assert store.counts() == {"webhook:door": Counts(delivered=1, folded=2)}
        assert store.last_delivery("webhook:door") is not None and store.last_delivery("mqtt") is None


def test_a_destination_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.commit({}, [(change(0), None), (change(1), None)], to("mqtt", "webhook:door"))
        assert store.forget("webhook:door") == 2 and store.forget("webhook:door") == 0
        assert list(store.counts()) == ["mqtt"] and numbers(store) == [0, 1]


def test_who_waits_for_a_destination_is_woken(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        mqtt, webhook = store.event("mqtt"), store.event("webhook:door")
        store.commit({"door": {}}, [(change(0), None)], to("mqtt"))
        assert mqtt.is_set() and not webhook.is_set()


def test_a_folder_has_one_store_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    with Store(folder):
        assert folder.stat().st_mode & 0o777 == 0o700 and (folder / FILE).stat().st_mode & 0o777 == 0o600
        with pytest.raises(
            StoreError, match=r"is used by another service; stop it, or set another folder in `data`\.$"
        ):
            Store(folder)
    Store(folder).close()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be used \((File exists|Not a directory)\); .* `data`\.$"):
        Store(tmp_path / "file")
    with pytest.raises(StoreError, match=r"cannot be used"):
        Store(tmp_path / "file" / "data")


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE own (number)")
    connection.close()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StoreError, match=r"was not made by hf-ttr; set another folder in `data`\.$"):
        Store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(StoreError, match="was made by a newer version of hf-ttr; update hf-ttr"):
        Store(tmp_path)


def filled(folder: Path) -> bytes:
    """The file of a store with some changes in it."""
    with Store(folder) as store:
        for number in range(60):
            store.commit({"door": {"n": number}}, [(change(number), bytes(2000))], to("mqtt"))
    return (folder / FILE).read_bytes()


@pytest.mark.parametrize("kind", ["cut", "garbage", "middle"])
def test_a_damaged_file_is_one_sentence_and_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    content = filled(tmp_path)
    damaged = {
        "cut": content[: len(content) // 2],
        "garbage": random.Random(0).randbytes(len(content)),
        "middle": content[:4096] + random.Random(0).randbytes(40_000) + content[44_096:],
    }[kind]
    (tmp_path / FILE).write_bytes(damaged)
    with pytest.raises(
        StoreError, match=r"is damaged \(.*\); bring it back from a backup, or move it away .*deleted\.$"
    ):
        Store(tmp_path)
    assert (tmp_path / FILE).read_bytes() == damaged
    # The folder is free again.
    (tmp_path / FILE).rename(tmp_path / "away")
    Store(tmp_path).close()


@pytest.mark.parametrize("seed", range(8))
def test_a_file_with_a_wrong_byte_raises_nothing_but_sentences(tmp_path: Path, seed: int) -> None:
    content = bytearray(filled(tmp_path))
    chance = random.Random(seed)
    for _ in range(20):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    (tmp_path / FILE).write_bytes(content)
    try:
        with Store(tmp_path) as store:
            store.states()
            for waiting in store.waiting("mqtt"):
                store.picture(waiting.number)
    except StoreError as error:
        assert str(error).endswith("Nothing was deleted.")


@contextmanager
def full_disk(folder: Path, store: Store) -> Iterator[None]:
    """No file grows meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full_database(folder: Path, store: Store) -> Iterator[None]:
    """SQLite says what it says where a disk is full."""
    count = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {count}")
    yield
    store._connection.execute("PRAGMA max_page_count = 1000000")


@pytest.mark.parametrize("full", [full_disk, full_database])
def test_a_full_disk_is_said_once_and_nothing_is_lost_while_the_service_goes_on(
    tmp_path: Path, full: Any, caplog: pytest.LogCaptureFixture
) -> None:
    large = {"text": "x" * 50_000}
    with Store(tmp_path) as store, caplog.at_level(logging.WARNING):
        store.commit({"door": {"n": 0}}, [(change(0), None)], to("mqtt"))
        with full(tmp_path, store):
            with_picture = replace(change(1), has_picture=True)
            assert not store.commit({"door": {"n": 1}, "yard": large}, [(with_picture, b"jpeg")], to("mqtt"))
            assert not store.commit({"door": {"n": 2}}, [(change(2), None)], to("mqtt"))
            assert not store.flush() and store.problem is not None and "cannot be used" in store.problem
            # Who asks meanwhile gets what will be written, and events that are on disk alone.
            assert store.states() == {"door": {"n": 2}, "yard": large} and numbers(store) == [0]
        assert len(caplog.records) == 1
        assert store.flush() and store.problem is None
        assert len(caplog.records) == 2 and "is written again" in caplog.text
    with Store(tmp_path) as store:
        assert store.states() == {"door": {"n": 2}, "yard": large} and numbers(store) == [0, 1, 2]
        # The picture was let go, and the change says so.
        assert store.waiting("mqtt")[1].change == change(1)


def test_what_is_held_in_memory_has_an_end_and_is_counted(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        with full_disk(tmp_path, store):
            for number in range(MOST_UNWRITTEN + 7):
                store.commit({}, [(change(number), None)], to("mqtt", most=100_000))
        assert store.flush()
        assert numbers(store) == list(range(7, MOST_UNWRITTEN + 7))
        assert store.counts()["mqtt"] == Counts(waiting=MOST_UNWRITTEN, dropped=7)


def test_a_full_disk_does_not_take_a_delivery_back(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.commit({}, [(change(0), None)], to("mqtt"))
        (waiting,) = store.waiting("mqtt")
        with full_disk(tmp_path, store), pytest.raises(StoreError, match="cannot be used"):
            store.delivered("mqtt", waiting.number)
        assert numbers(store) == [0]
        store.delivered("mqtt", waiting.number)
        assert numbers(store) == []


def test_a_state_that_is_no_json_leaves_the_store_as_it_is(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        with pytest.raises(TypeError):
            store.commit({"door": {"n": object()}}, [(change(0), None)], to("mqtt"))
        store.commit({}, [], to("mqtt"))
        assert store.states() == {} and numbers(store) == []


def test_space_of_pictures_is_given_back(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        for number in range(40):
            store.commit({}, [(change(number), bytes(100_000))], to("mqtt"))
        for waiting in store.waiting("mqtt"):
            store.delivered("mqtt", waiting.number)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 200_000


def test_threads_may_commit_and_deliver_at_the_same_time(tmp_path: Path) -> None:
    count, cameras, faults = 30, ("door", "yard", "gate"), []

    def commit(camera: str) -> None:
        try:
            for number in range(count):
                store.commit({camera: {"n": number}}, [(change(number, camera), None)], to(f"webhook:{camera}"))
        except Exception as error:
            faults.append(error)

    def deliver(camera: str) -> None:
        try:
            while len(seen[camera]) < count:
                for waiting in store.waiting(f"webhook:{camera}"):
                    seen[camera].append(waiting.change.number)
                    store.delivered(f"webhook:{camera}", waiting.number)
        except Exception as error:
            faults.append(error)

    seen: dict[str, list[int]] = {camera: [] for camera in cameras}
    with Store(tmp_path) as store:
        threads = [threading.Thread(target=work, args=(camera,)) for camera in cameras for work in (commit, deliver)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert faults == [] and seen == {camera: list(range(count)) for camera in cameras}
        assert store.states() == {camera: {"n": count - 1} for camera in cameras}


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("commit"),
            st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(), max_size=2),
            st.lists(st.frozensets(st.sampled_from(["mqtt", "webhook"])), max_size=4),
        ),
        st.tuples(st.sampled_from(["delivered", "given_up"]), st.sampled_from(["mqtt", "webhook"])),
        st.tuples(st.sampled_from(["reopen", "full", "forget"])),
    ),
    max_size=12,
)


@given(steps=STEPS, most=st.integers(1, 4))
@settings(max_examples=30)
def test_a_store_is_like_one_in_memory(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]], most: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    states: dict[str, dict[str, int]] = {}
    queues: dict[str, deque[int]] = {"mqtt": deque(), "webhook": deque()}
    fates = {(name, fate): 0 for name in queues for fate in ("delivered", "given_up", "dropped")}
    number = 0
    store = Store(folder)
    for kind, *rest in steps:
        if kind in ("commit", "full"):
            new_states, targets = rest if kind == "commit" else ({"a": number}, [frozenset(queues)])
            ids = {f"door/{number + index}": names for index, names in enumerate(targets)}
            changes = [(change(number + index), None) for index in range(len(targets))]

            def destinations(one: StateChange, ids: Any = ids) -> dict[str, int]:
                return dict.fromkeys(ids[one.id], most)

            values = {place: {"n": value} for place, value in new_states.items()}
            if kind == "full":
                with full_disk(folder, store):
                    assert not store.commit(values, changes, destinations)
                assert store.flush()
            else:
                assert store.commit(values, changes, destinations)
            states.update(values)
            for names in targets:
                for name in names:
                    queues[name].append(number)
                number += 1
            for name in {name for names in targets for name in names}:
                while len(queues[name]) > most:
                    queues[name].popleft()
                    fates[name, "dropped"] += 1
        elif kind in ("delivered", "given_up") and queues[rest[0]]:
            getattr(store, kind)(rest[0], store.waiting(rest[0])[0].number)
            queues[rest[0]].popleft()
            fates[rest[0], kind] += 1
        elif kind == "reopen":
            store.close()
            store = Store(folder)
        elif kind == "forget":
            assert store.forget("webhook") == len(queues["webhook"])
            queues["webhook"].clear()
            fates.update({("webhook", fate): 0 for fate in ("delivered", "given_up", "dropped")})
        assert store.states() == states
        counts = store.counts()
        for name, queue in queues.items():
            assert numbers(store, name) == list(queue)
            found = counts.get(name, Counts())
            assert found.waiting == len(queue)
            assert all(getattr(found, fate) == fates[name, fate] for fate in ("delivered", "given_up", "dropped"))
    store.close()
    shutil.rmtree(folder)


CHILD = """
import sys
from hf_ttr.cameras.delivery import Delivery
from hf_ttr.cameras.store import Store
from hf_ttr.cameras.webhook import Webhook
from tests.cameras.changes import change

folder, url, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Store(folder) as store:
    with Delivery(store, "webhook:door", Webhook(url).send):
        while (number := store.states().get("door", {"n": 0})["n"]) < last or last < 0:
            state = {"n": number + 1}
            store.commit({"door": state}, [(change(number), bytes(3000))], lambda change: {"webhook:door": 10**6})
        while store.counts()["webhook:door"].waiting:
            store.event("other").wait(0.01)
"""


def test_a_service_that_is_killed_again_and_again_loses_no_change_and_makes_none_up(tmp_path: Path) -> None:
    chance = random.Random(0)
    with Receiver() as receiver:

        def start(last: int) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", CHILD, str(tmp_path), f"{receiver.url}/hook", str(last)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            return subprocess.Popen(command, cwd=ROOT, env=environment)

        def has_more_than(heard: int) -> bool:
            return len(receiver.requests) > heard

        heard = 0
        for _ in range(20):
            child = start(-1)
            # It has begun to work by then.
            wait_until(partial(has_more_than, heard), "a change")
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(chance.uniform(0.0, 0.25))
            child.send_signal(signal.SIGKILL)
            child.wait()
            heard = len(receiver.requests)
        with Store(tmp_path) as store:
            last = store.states()["door"]["n"]
            # What waits is what was changed last.
            waiting = numbers(store, "webhook:door")
            assert waiting == list(range(last - len(waiting), last))
        child = start(last + 5)
        assert child.wait(60) == 0
        first_seen = list(dict.fromkeys(receiver.ids))
        assert first_seen == [f"door/{number}" for number in range(last + 5)]
        assert last > 20 and {request.content["score"] for request in receiver.requests} == {0.9}
        # What came twice has the key by which a receiver knows it.
        assert all(request.headers["idempotency-key"] == request.content["id"] for request in receiver.requests)
    with Store(tmp_path) as store:
        counts = store.counts()["webhook:door"]
        assert counts.waiting == counts.dropped == counts.given_up == 0 and counts.delivered == last + 5
