"""`hf-ttr stream`: the labels of live streams, as they come."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import INTERRUPTED, InputError, ends_quietly, first_line
from .loading import load_pipeline, quiet
from .options import Budget, Device, FrameSamplingRate, Model, Reduction, Threshold, Wanted


if TYPE_CHECKING:
    from ..streaming import ResultFile, VideoStreams
    from .stream_table import StreamTable

SNAPSHOTS = ".snapshots"
"""Ending of the folder beside a result file that holds what it takes to go on."""

PATIENCE = 3
"""The signal with which the program ends at once."""


@ends_quietly
def stream(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Files, http(s) or rtsp URLs, cameras (/dev/video0 or camera:0); NAME=SOURCE gives one a name.",
            show_default=False,
        ),
    ],
    model: Model,
    window: Annotated[
        int | None, typer.Option(help="Frames of a result; by default 1, of a VideoMAE what it sees at once.")
    ] = None,
    stride: Annotated[int | None, typer.Option(help="Frames from one window to the next.")] = None,
    lookahead: Annotated[int, typer.Option(help="Frames of delay, for reuse of what comes later.")] = 0,
    threshold: Threshold = None,
    budget: Budget = None,
    mode: Annotated[
        str | None, typer.Option(metavar="MODE", help="off for the dense model; else the streams decide.")
    ] = None,
    reduction: Reduction = None,
    frame_sampling_rate: FrameSamplingRate = None,
    top_k: Annotated[int, typer.Option(help="Number of labels of a result.")] = 5,
    latency_budget_ms: Annotated[
        float | None, typer.Option(help="Raise the threshold while results come later than that.")
    ] = None,
    max_threshold: Annotated[float | None, typer.Option(help="How far; by default four times the threshold.")] = None,
    verify_every: Annotated[
        int | None, typer.Option(help="Compare with the dense model after so many frames.", metavar="FRAMES")
    ] = None,
    max_divergence: Annotated[
        float | None, typer.Option(help="Lower the threshold where scores differ more than that (KL, in nats).")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE.jsonl", help="Write each result as a line of JSON; - is stdout.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on behind the last result in --out.")] = False,
    snapshot_every: Annotated[float, typer.Option(help="Seconds between snapshots, for --resume.")] = 30.0,
    live: Annotated[
        bool | None, typer.Option("--live/--no-live", help="Drop frames that come too fast; by default as the source.")
    ] = None,
    reconnect: Annotated[
        float, typer.Option(help="Seconds to wait for a live source that vanished to come back.")
    ] = 0.0,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer of the network.")] = 10.0,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="A protocol that may be used; by default file, http, https and rtsp."),
    ] = None,
    device: Device = None,
) -> None:
    """Classify live streams, many at once, with reuse from frame to frame. Ctrl-C ends it."""
    if mode not in (None, "off"):
        raise InputError(f"--mode is '{mode}', but a stream is causal, or with --lookahead bidirectional, or off.")
    if resume and out in (None, "-"):
        raise InputError("--resume goes on with a result file; pass it as --out.")
    wanted = Wanted(threshold, budget, mode, reduction, None, frame_sampling_rate)
    options: dict[str, Any] = {
        "frame_sampling_rate": wanted.rate or 1,
        "latency_budget_ms": latency_budget_ms,
        "max_threshold": max_threshold,
        "verify_every": verify_every,
        "max_divergence": max_divergence,
        "live": live,
        "reconnect": reconnect,
        "timeout": timeout,
    }
    if protocol:
        options["protocols"] = protocol
    with _stopped_by_signals() as signals:
        from ..streaming import ResultFile, ResultFileError
        from .stream_table import StreamTable

        sources = _named(source)
        try:
            with ResultFile(out, resume) if out not in (None, "-") else nullcontext() as file:
                if file is not None and file.is_regular:
                    options |= {
                        "snapshots": f"{out}{SNAPSHOTS}",
                        "snapshot_every": snapshot_every,
                        "resume": resume,
                        "kept": {name: result.number + 1 for name, result in file.last.items()},
                    }
                with quiet():
                    pipe = load_pipeline(model, wanted.settings, device, task="video-classification-reuse")
                    signals.check()
                    streams = _begun(pipe, sources, window, stride, lookahead, top_k, options)
                    signals.streams = streams
                    _watch(streams, StreamTable(streams), file, signals, to_stdout=out == "-")
        except ResultFileError as error:
            raise InputError(str(error)) from error


def _begun(pipe: Any, sources: dict[str, str], *settings: Any) -> VideoStreams:
    """The streams, or one sentence on why there are none."""
    from ..cache_snapshot import SnapshotError
    from ..streaming import SourceError

    *positions, options = settings
    try:
        streams: VideoStreams = pipe.stream(sources, *positions, **options)
    except (SourceError, SnapshotError) as error:
        raise InputError(str(error)) from error
    except ValueError as error:
        raise InputError(f"{first_line(error)}.") from error
    return streams


def _watch(
    streams: VideoStreams, table: StreamTable, file: ResultFile | None, signals: _Signals, to_stdout: bool
) -> None:
    """Takes the results until the streams end, or the user ends them."""
    import json

    from ..streaming import SourceError

    fault: SourceError | None = None
    try:
        with streams, table:
            for result in streams:
                if file is not None:
                    file.write(result)
                elif to_stdout:
                    typer.echo(json.dumps(result.to_dict(), allow_nan=False))
                table.add(result)
                signals.check()
    except KeyboardInterrupt:
        pass
    except SourceError as error:
        fault = error
    signals.are_answered = True
    table.print_summary(None if file is None else file.path)
    signals.check()
    if fault is not None:
        raise InputError(str(fault)) from fault


def _named(sources: list[str]) -> dict[str, str]:
    """The sources by name: that before "=", or that of the file or address."""
    from ..streaming.names import unique_names

    named: dict[str, str] = {}
    plain = []
    for text in sources:
        name, is_named, rest = text.partition("=")
        if is_named and rest and name.replace("-", "").replace("_", "").replace(" ", "").isalnum():
            if os.path.exists(text):
                plain.append(text)
                continue
            if name in named:
                raise InputError(f"Two sources have the name '{name}'; give each its own.")
            named[name] = rest
        else:
            plain.append(text)
    for name, text in zip(unique_names(plain), plain):
        if name in named:
            raise InputError(f"Two sources have the name '{name}'; give each its own, as NAME=SOURCE.")
        named[name] = text
    return named


class _Signals:
    """
    What SIGTERM and Ctrl-C do: the streams end, everything is closed, and nothing is interrupted in that.

    Attributes:
        streams: those to end, once they are there.
        count: how many came.
        are_answered: whether what is to be closed is being closed.
    """

    def __init__(self) -> None:
        self.streams: VideoStreams | None = None
        self.are_answered = False
        self.count = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count >= PATIENCE:
            # Closing itself hangs, for example in writing to a disk that does not answer.
            os._exit(INTERRUPTED)
        if self.streams is not None:
            self.streams.stop()
        if not self.are_answered:
            self.are_answered = True
            raise KeyboardInterrupt

    def check(self) -> None:
        """Interrupts the program after a signal: what that raised gets lost where a library calls back."""
        if self.count:
            raise KeyboardInterrupt


@contextmanager
def _stopped_by_signals() -> Iterator[_Signals]:
    """Lets SIGTERM end the program like Ctrl-C, with everything closed."""
    signals = _Signals()
    numbers = (signal.SIGTERM, signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        # Signals are not for this thread.
        yield signals
        return
    before = [signal.signal(number, signals) for number in numbers]
    try:
        yield signals
    finally:
        for number, handler in zip(numbers, before):
            # After a signal the program ends; another one is not to break into that.
            signal.signal(number, signal.SIG_IGN if signals.count else handler)
