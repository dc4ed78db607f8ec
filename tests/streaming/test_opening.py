from __future__ import annotations

import threading
import time

import pytest

from hf_ttr.streaming import FrameSource, SourceError, open_source
from hf_ttr.streaming.opening import Opening

from .engines import frames_of


def waited(opening: Opening) -> Opening:
    end = time.monotonic() + 10
    while not opening.ready and time.monotonic() < end:
        time.sleep(0.005)
    return opening


def test_it_opens_and_wakes() -> None:
    wake = threading.Event()
    opening = Opening(lambda: open_source(frames_of(0, 1)), "door", wake)
    assert wake.wait(10) and opening.ready
    assert isinstance(opening.source, FrameSource) and opening.error is None


@pytest.mark.parametrize("error", [SourceError("The stream 'door' is off; switch it on."), OSError("no such door")])
def test_what_goes_wrong_is_the_fault_of_the_stream(error: Exception) -> None:
    def opener() -> FrameSource:
        raise error

    fault = waited(Opening(opener, "door", threading.Event())).fault
    assert isinstance(fault, SourceError) and "'door'" in str(fault)
    assert "switch it on" in str(fault) or "(OSError: no such door); check it." in str(fault)


def test_what_opens_too_late_is_closed() -> None:
    gate, source = threading.Event(), open_source(frames_of(0, 1))

    def opener() -> FrameSource:
        gate.wait(10)
        return source

    opening = Opening(opener, "door", threading.Event())
    began = time.monotonic()
    opening.close()
    assert time.monotonic() - began < 5
    gate.set()
    assert waited(opening).source is source
    assert source._closing.wait(10)
