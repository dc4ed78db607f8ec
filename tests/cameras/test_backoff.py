"""Pauses grow up to a limit, and differ."""

from __future__ import annotations

import random

from hf_ttr.cameras.backoff import Backoff


def test_pauses_grow_to_a_minute_and_begin_again_after_a_success() -> None:
    backoff = Backoff(chance=random.Random(0))
    pauses = [backoff.next_pause() for _ in range(12)]
    sizes = [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert all(size / 2 <= pause <= size for size, pause in zip(sizes, pauses))
    backoff.reset()
    assert backoff.next_pause() <= 0.5


def test_two_that_lost_the_same_receiver_do_not_come_back_together() -> None:
    assert Backoff(chance=random.Random(1)).next_pause() != Backoff(chance=random.Random(2)).next_pause()
