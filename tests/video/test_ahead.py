from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from hf_ttr.video.ahead import Ahead


def test_things_are_done_in_order_on_one_thread_and_errors_come_with_the_result() -> None:
    ahead = Ahead("test")
    done: list[tuple[int, str]] = []
    futures = [
        ahead.submit(lambda number=number: done.append((number, threading.current_thread().name)))  # type: ignore[misc]
        for number in range(3)
    ]
    failing = ahead.submit(lambda: 1 // 0)
    last = ahead.submit(lambda: "last")
    assert [future.result(30) for future in futures] == [None] * 3
    assert done == [(0, "test"), (1, "test"), (2, "test")]
    with pytest.raises(ZeroDivisionError):
        failing.result(30)
    assert last.result(30) == "last"
    ahead.stop()
    ahead.join()


def test_what_has_not_begun_is_cancelled_where_it_is_stopped() -> None:
    ahead = Ahead("test")
    begun, may_end = threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        may_end.wait(30)
        return "done"

    running, waiting = ahead.submit(wait), ahead.submit(lambda: "never")
    begun.wait(30)
    ahead.stop()
    ahead.stop()
    after = ahead.submit(lambda: "never")
    may_end.set()
    ahead.join()
    assert running.result(0) == "done"
    for future in (waiting, after):
        with pytest.raises(CancelledError):
            future.result(0)
    assert "test" not in {thread.name for thread in threading.enumerate()}
