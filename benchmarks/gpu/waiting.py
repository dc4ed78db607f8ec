"""Steps of fixed shapes let the device run on: a call that waits for it, but for what a step has to read, is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

import hf_ttr
from hf_ttr.execution.graphs import Graphs, graphs_for

from .correctness import pieces_of, settings_of_streams, tiny_model


WAITS = "synchroniz"
"""In what torch says where a call waits for the device although that is an error."""

UNWATCHED = 2
"""Calls of a stream that may wait: it is new, and then moves to where steps read it."""


@contextmanager
def sync_debug_mode(device: torch.device, mode: str) -> Iterator[None]:
    """Inside, operations that wait for the device are errors ("error"), or are not ("default"); on GPUs alone."""
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


class Watched(Graphs):
    """
    The graphs of a device on which waiting is an error but here: where something is captured, and where it is read.

    Attributes:
        reads (`int`): how often something was read.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.graphs, self.reads = device, graphs_for(device), 0

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Graphs.capture`."""
        with sync_debug_mode(self.device, "default"):
            return self.graphs.capture(work)

    def read(self, numbers: torch.Tensor) -> list[int]:
        """See `Graphs.read`."""
        self.reads += 1
        with sync_debug_mode(self.device, "default"):
            return self.graphs.read(numbers)


@torch.no_grad()
def check_waiting(name: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """
    Steps of a tiny model, once to capture them, and once more while waiting is an error.

    Returns:
        `calls`: how many of streams, windows or clips were watched; `waits`: by the same names, what is wrong, where
        something is: a call waits, or did not go in steps; `passed`: whether nothing is.
    """
    model, video = tiny_model(name, device, dtype)
    hf_ttr.optimize(model, compile=False, frozen=True, graphs=True)
    watched, body = Watched(device), model.video_encoder
    calls: dict[str, int] = {}
    waits: dict[str, str] = {}

    def stream(pieces: tuple[torch.Tensor, ...], mode: str) -> None:
        cache = None
        for number, piece in enumerate(pieces):
            with sync_debug_mode(device, "default" if number < UNWATCHED else mode):
                output = model(piece, past_key_values=cache, temporal_reuse=settings_of_streams())
            cache = output.past_key_values

    def clip(mode: str) -> None:
        with sync_debug_mode(device, mode):
            model(video, temporal_reuse={**settings_of_streams(), "mode": "bidirectional"})

    def watch(what: str, captured: Any, count: int, run: Callable[[str], None]) -> None:
        captured.graphs, calls[what] = watched, count
        try:
            run("default")
            before = watched.reads
            run("error")
        except RuntimeError as error:
            if WAITS not in str(error):
                raise
            waits[what] = captured.reason or str(error).splitlines()[0]
        else:
            # Those of a stream that are not watched may go the usual way.
            if watched.reads - before < count:
                waits[what] = captured.reason or f"{watched.reads - before} of {count} calls went in steps."

    if body.captured_steps is not None:
        what, pieces = pieces_of(model, video)
        watch(what, body.captured_steps, len(pieces) - UNWATCHED, lambda mode: stream(pieces, mode))
    if body.captured_clips is not None:
        watch("clips", body.captured_clips, 1, clip)
    return {"calls": calls, "waits": waits, "passed": bool(calls) and not waits}
