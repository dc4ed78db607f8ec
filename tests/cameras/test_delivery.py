"""What waits goes out in order until it was received, and a cool-down tells the last state."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hf_ttr.cameras import backoff
from hf_ttr.cameras.delivery import Delivery, SendError
from hf_ttr.cameras.events import StateChange
from hf_ttr.cameras.store import Counts, Store, StoreError

from .changes import change
from .services import wait_until


DOOR = "webhook:door"


class Sink:
    """Receives changes, and fails as often as a test wants."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.pictures: list[bytes | None] = []
        self.times: list[float] = []
        self.faults: list[Exception] = []
        self.tries = 0
        self.tried: list[float] = []
        self.is_down = False
        self.final: set[str] = set()

    def send(self, change: StateChange, picture: bytes | None) -> None:
        self.tries += 1
        self.tried.append(time.monotonic())
        if change.id in self.final:
            raise SendError("no such thing.", is_final=True)
        if self.is_down or self.faults:
            raise self.faults.pop(0) if self.faults else SendError("it is down.")
        self.received.append(change.id)
        self.pictures.append(picture)
        self.times.append(time.time())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as store:
        yield store


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are a twentieth of what they are."""
    whole = backoff.Backoff.next_pause
    monkeypatch.setattr(backoff.Backoff, "next_pause", lambda self: whole(self) / 20)


def commit(store: Store, *changes: StateChange) -> None:
    store.commit({}, [(one, None) for one in changes], lambda change: {DOOR: 1000})


def is_empty(store: Store) -> Callable[[], bool]:
    return lambda: store.counts()[DOOR].waiting == 0


def test_changes_go_out_in_order_and_once_where_nothing_fails(store: Store) -> None:
    sink = Sink()
    commit(store, change(0), change(1))
    with Delivery(store, DOOR, sink.send):
        wait_until(is_empty(store), "delivery of what waited before")
        for number in range(2, 250):
            commit(store, change(number))
        store.commit({}, [(replace(change(250), has_picture=True), b"jpeg")], lambda change: {DOOR: 1000})
        wait_until(is_empty(store), "delivery of what came later")
    assert sink.received == [f"door/{number}" for number in range(251)]
    assert sink.pictures == [None] * 250 + [b"jpeg"] and store.counts()[DOOR].delivered == 251


def test_a_change_that_is_not_received_is_sent_again_and_the_others_wait_behind_it(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Sink()
    sink.faults = [SendError("it is down."), RuntimeError("at http://user:secret@door/ something broke")] * 2
    with caplog.at_level(logging.INFO), Delivery(store, DOOR, sink.send):
        commit(store, change(0), change(1))
        wait_until(is_empty(store), "delivery")
    assert sink.received == ["door/0", "door/1"] and sink.tries == 6
    # Said once, and when it is over.
    said = [record.getMessage() for record in caplog.records]
    assert said == ["Changes wait for webhook:door: it is down.", "Changes are delivered to webhook:door again."]


def test_an_error_that_nobody_foresaw_is_one_sentence_without_secrets(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Sink()
    sink.faults = [RuntimeError("http://user:secret@door/ broke")]
    with caplog.at_level(logging.INFO), Delivery(store, DOOR, sink.send):
        commit(store, change(0))
        wait_until(is_empty(store), "delivery")
    assert caplog.records[0].getMessage() == "Changes wait for webhook:door: RuntimeError: http://door/ broke."


def test_what_is_refused_for_good_is_given_up_logged_and_counted(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Sink()
    sink.final = {"door/1"}
    with caplog.at_level(logging.INFO), Delivery(store, DOOR, sink.send):
        commit(store, change(0), change(1), change(2))
        wait_until(is_empty(store), "delivery")
    assert sink.received == ["door/0", "door/2"] and store.counts()[DOOR] == Counts(delivered=2, given_up=1)
    assert caplog.messages == ["The change 'door/1' for webhook:door is given up: no such thing."]


def test_a_receiver_that_asks_for_time_gets_it(store: Store) -> None:
    sink = Sink()
    sink.faults = [SendError("busy.", retry_after=0.5)]
    with Delivery(store, DOOR, sink.send):
        begin = time.time()
        commit(store, change(0))
        wait_until(is_empty(store), "delivery")
    assert sink.times[0] - begin >= 0.5


def test_a_receiver_that_is_back_is_asked_at_once(store: Store) -> None:
    sink = Sink()
    sink.faults = [SendError("busy.", retry_after=500.0)]
    with Delivery(store, DOOR, sink.send) as delivery:
        commit(store, change(0))
        wait_until(lambda: sink.tries == 1, "the first attempt")
        delivery.retry_now()
        wait_until(is_empty(store), "delivery")


def test_news_do_not_shorten_the_pauses(store: Store) -> None:
    sink = Sink()
    sink.faults = [SendError("busy.", retry_after=0.5)]
    with Delivery(store, DOOR, sink.send):
        commit(store, change(0))
        wait_until(lambda: sink.tries == 1, "the first attempt")
        number = 1
        while sink.tries == 1:
            commit(store, change(number))
            number += 1
    assert sink.tried[1] - sink.tried[0] >= 0.5


def test_the_end_is_prompt_and_what_is_left_waits(store: Store) -> None:
    sink = Sink()
    sink.faults = [SendError("busy.", retry_after=500.0)]
    commit(store, change(0))
    failing, idle, cooling = (
        Delivery(store, DOOR, sink.send),
        Delivery(store, "idle", sink.send),
        Delivery(store, "cooling", sink.send, cooldown_s=500.0),
    )
    wait_until(lambda: sink.tries == 1, "the first attempt")
    begin = time.monotonic()
    for delivery in (failing, idle, cooling):
        delivery.close()
    assert time.monotonic() - begin < 5
    assert store.counts()[DOOR].waiting == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("delivery to")]


def test_the_end_waits_for_a_change_that_is_being_sent(store: Store) -> None:
    begun, release = threading.Event(), threading.Event()

    def send(change: StateChange, picture: bytes | None) -> None:
        begun.set()
        release.wait(20)

    delivery = Delivery(store, DOOR, send)
    commit(store, change(0))
    assert begun.wait(20)
    threading.Timer(0.2, release.set).start()
    delivery.close(patience=20)
    assert store.counts()[DOOR] == Counts(delivered=1)


def test_a_disk_that_takes_nothing_does_not_send_a_change_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink, faults = Sink(), [StoreError("The disk is full.")] * 3
    write = store.delivered

    def delivered(*arguments: object) -> None:
        if faults:
            raise faults.pop()
        write(*arguments)

    monkeypatch.setattr(store, "delivered", delivered)
    with caplog.at_level(logging.INFO), Delivery(store, DOOR, sink.send):
        commit(store, change(0), change(1))
        wait_until(is_empty(store), "delivery")
    assert sink.received == ["door/0", "door/1"] and "Changes wait for webhook:door: The disk is full." in caplog.text


def test_a_cool_down_sends_the_newest_state_and_counts_the_rest(store: Store) -> None:
    sink = Sink()
    with Delivery(store, DOOR, sink.send, cooldown_s=0.6):
        commit(store, change(0))
        wait_until(lambda: sink.received, "the first change")
        commit(store, *(change(number) for number in range(1, 6)))
        wait_until(is_empty(store), "the last state")
        assert sink.received == ["door/0", "door/5"] and store.counts()[DOOR] == Counts(delivered=2, folded=4)
        assert sink.times[1] - sink.times[0] >= 0.59
    # It goes on after a restart.
    commit(store, change(6))
    with Delivery(store, DOOR, sink.send, cooldown_s=0.6):
        wait_until(is_empty(store), "the next change")
    assert sink.times[2] - sink.times[1] >= 0.59


def test_in_a_cool_down_each_zone_tells_its_last_state_and_none_waits_for_ever(store: Store) -> None:
    sink = Sink()
    # One that changes all the time does not keep the others from their turn.
    busy = [change(number, zone="mat") for number in range(3, 6)]

    def send(change: StateChange, picture: bytes | None) -> None:
        sink.send(change, picture)
        if busy:
            commit(store, busy.pop(0))

    commit(store, change(0, zone="mat"), change(1, zone="mat"), change(0, zone="step"))
    commit(store, change(2, zone="mat"), change(0), change(1, zone="step"))
    with Delivery(store, DOOR, send, cooldown_s=0.2):
        wait_until(is_empty(store), "delivery")
    assert sink.received == ["door/mat/2", "door/step/1", "door/0", "door/mat/5"]
    assert store.counts()[DOOR] == Counts(delivered=4, folded=5)
    assert min(later - sooner for sooner, later in zip(sink.times, sink.times[1:])) >= 0.19


def test_what_a_newer_change_stands_for_is_gone_only_once_that_was_received(store: Store) -> None:
    sink = Sink()
    sink.is_down = True
    with Delivery(store, DOOR, sink.send, cooldown_s=0.05):
        commit(store, change(0), change(1))
        wait_until(lambda: sink.tries >= 2, "attempts")
        assert store.counts()[DOOR] == Counts(waiting=2)
        commit(store, change(2))
        sink.is_down = False
        wait_until(is_empty(store), "delivery")
    assert sink.received[-1] == "door/2" and store.counts()[DOOR].folded + len(sink.received) == 3


def test_a_cool_down_may_be_longer_than_a_thread_can_wait(store: Store) -> None:
    sink = Sink()
    with Delivery(store, DOOR, sink.send, cooldown_s=1e10) as delivery:
        commit(store, change(0))
        wait_until(is_empty(store), "the first change")
        commit(store, change(1))
        assert not delivery.wait(0.2) and sink.received == ["door/0"]


def test_a_clock_that_was_set_back_does_not_prolong_a_cool_down(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = Sink()
    monkeypatch.setattr(store, "last_delivery", lambda destination: time.time() + 1e6)
    commit(store, change(0))
    with Delivery(store, DOOR, sink.send, cooldown_s=0.2):
        wait_until(is_empty(store), "delivery")
