from __future__ import annotations

import threading
import time

from hf_ttr.archive.turns import Turns


def test_one_that_is_alone_waits_for_those_that_run_and_holds_up_the_next() -> None:
    turns, seen = Turns(), []
    begun, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with turns.beside_others():
            begun.set()
            may_end.wait(30)
            seen.append("first")

    def alone() -> None:
        with turns.alone():
            seen.append("alone")

    def last() -> None:
        with turns.beside_others():
            seen.append("last")

    threads = [threading.Thread(target=first)]
    threads[0].start()
    begun.wait(30)
    with turns.beside_others():  # beside the first
        pass
    for work in (alone, last):
        threads.append(threading.Thread(target=work))
        threads[-1].start()
        time.sleep(0.1)
    assert seen == []
    may_end.set()
    for thread in threads:
        thread.join(30)
    assert seen == ["first", "alone", "last"]
