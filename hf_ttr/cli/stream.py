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

from ..machine import few_kernels
from ..streaming.options import StreamOptions, check_source_options
from ..streaming.result_choice import ResultChoice
from ..streaming.result_file import ResultFile, ResultFileError
from .errors import INTERRUPTED, PIPE_CLOSED, InputError, ends_quietly, first_line
from .label_options import ChosenLabels, Labels, Template
from .loading import load_pipeline, quiet
from .options import Budget, Device, Dtype, Model, Reduction, Threshold, Wanted, as_path, check_paths
from .stream_options import as_options


if TYPE_CHECKING:
    from ..streaming import VideoStreams
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
            help="Files, http(s) or rtsp URLs, cameras (/dev/video0 or camera:0). NAME=SOURCE gives one a name, "
            "live:SOURCE says that it is live, file:URL that an address is a file.",
            show_default=False,
        ),
    ],
    model: Model,
    labels: Labels = None,
    template: Template = None,
    window: Annotated[
        int | None,
        typer.Option(
            metavar="FRAMES", help="Frames of a result.", show_default="1, of a model of windows what it sees at once"
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(metavar="FRAMES", help="Frames from one window to the next.", show_default="as --window"),
    ] = None,
    lookahead: Annotated[
        int, typer.Option(metavar="FRAMES", help="Frames that a result comes later, to reuse what comes in them.")
    ] = 0,
    threshold: Threshold = None,
    budget: Budget = None,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="off", help="Run the dense model.", show_default="causal, with --lookahead bidirectional"
        ),
    ] = None,
    reduction: Reduction = None,
    frame_sampling_rate: Annotated[
        int, typer.Option(metavar="FRAMES", help="Look at every so many-th frame; the others cost next to nothing.")
    ] = 1,
    max_fps: Annotated[
        float | None,
        typer.Option(
            metavar="FRAMES",
            help="Look at so many frames of a second at most; where the codec allows it, others are not even decoded.",
            show_default="all",
        ),
    ] = None,
    top_k: Annotated[int, typer.Option(metavar="LABELS", help="Number of labels of a result.")] = 5,
    latency_budget_ms: Annotated[
        float | None,
        typer.Option(metavar="MILLISECONDS", help="Raise the threshold while results come later than that."),
    ] = None,
    max_threshold: Annotated[
        float | None,
        typer.Option(
            metavar="THRESHOLD",
            help="Highest threshold that --latency-budget-ms may set.",
            show_default="four times that of the model",
        ),
    ] = None,
    verify_every: Annotated[
        int | None,
        typer.Option(metavar="FRAMES", help="Frames from one comparison with the dense model to the next."),
    ] = None,
    max_divergence: Annotated[
        float | None,
        typer.Option(
            metavar="NATS",
            help="Lower the threshold where --verify-every finds that scores differ more than that (KL divergence).",
        ),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE.jsonl", help="Write each result as a line of JSON; - is stdout.")
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Write one result of a stream in so many seconds of it."),
    ] = None,
    on_change: Annotated[
        bool,
        typer.Option(
            "--on-change", help="Write a result where the best label changes; with --every, also if it does not."
        ),
    ] = False,
    min_score: Annotated[
        float | None, typer.Option(metavar="SCORE", help="Write no result whose best score is lower.")
    ] = None,
    fields: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Write these fields of a result, such as arrived_at,label,score.",
            show_default="all but label and score, which labels has",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on behind the last result in --out.")] = False,
    snapshot_every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Seconds between snapshots, for --resume.")
    ] = 30.0,
    reconnect: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="How long to look for a live source that is off or has vanished; 0 is not at all.",
            show_default="for ever",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long to wait for an answer of the network.")
    ] = 10.0,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A protocol that sources may use; may come several times.",
            show_default="file, http, https, rtsp",
        ),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Classify live streams, many at once, with reuse from frame to frame. Ctrl-C ends it."""
    if mode not in (None, "off"):
        raise InputError(f"--mode is '{mode}', but a stream is causal, or with --lookahead bidirectional, or off.")
    if resume and out in (None, "-"):
        raise InputError("--resume goes on with a result file; pass it as --out.")
    chosen = {"every": every, "min_score": min_score, "on_change": on_change or None, "fields": fields}
    if out is None and (given := [name for name, value in chosen.items() if value is not None]):
        raise InputError(f"--{given[0].replace('_', '-')} chooses what is written; pass --out as well.")
    settings: dict[str, Any] = {
        "frame_sampling_rate": frame_sampling_rate,
        "latency_budget_ms": latency_budget_ms,
        "max_threshold": max_threshold,
        "verify_every": verify_every,
        "max_divergence": max_divergence,
    }
    with _as_input_errors():
        StreamOptions(window, stride, lookahead, top_k, **settings)
        check_source_options(timeout=timeout, reconnect=reconnect, max_fps=max_fps)
        choice = ResultChoice(every, on_change, min_score, None if fields is None else _split(fields))
        if not snapshot_every >= 0:
            raise ValueError(f"snapshot_every is {snapshot_every:g}, but must be a number of seconds.")
    wanted = Wanted(threshold, budget, mode, reduction, dtype=dtype)
    chosen_labels = ChosenLabels.of(labels, template)
    check_paths(model)
    sources = _named(source)
    _check_files(sources)
    options: dict[str, Any] = {**settings, "reconnect": reconnect, "timeout": timeout, "max_fps": max_fps}
    if protocol:
        options["protocols"] = protocol
    with _stopped_by_signals() as signals:
        from .stream_table import StreamTable

        try:
            with ResultFile(out, resume, choice) if out not in (None, "-") else nullcontext() as file:
                if file is not None and file.is_regular:
                    options |= {
                        "snapshots": f"{out}{SNAPSHOTS}",
                        "snapshot_every": snapshot_every,
                        "resume": resume,
                        "kept": {name: result.number + 1 for name, result in file.last.items()},
                        "keeps_all": choice.takes_all,
                    }
                with quiet(), few_kernels():
                    pipe = load_pipeline(
                        model,
                        wanted.settings,
                        device,
                        task="video-classification-reuse",
                        dtype=dtype,
                        labels=chosen_labels,
                    )
                    signals.check()
                    streams = _begun(pipe, sources, window, stride, lookahead, top_k, options)
                    signals.streams = streams
                    _watch(streams, StreamTable(streams), file or (choice if out == "-" else None), signals)
        except ResultFileError as error:
            if isinstance(error.__cause__, BrokenPipeError):
                raise typer.Exit(PIPE_CLOSED) from None
            raise InputError(str(error)) from error


def _begun(pipe: Any, sources: dict[str, str], *settings: Any) -> VideoStreams:
    """The streams, or one sentence on why there are none."""
    from ..caching.snapshot import SnapshotError
    from ..streaming import SourceError

    *positions, options = settings
    with _as_input_errors():
        try:
            streams: VideoStreams = pipe.stream(sources, *positions, **options)
        except (SourceError, SnapshotError) as error:
            raise InputError(as_options(str(error))) from error
    return streams


@contextmanager
def _as_input_errors() -> Iterator[None]:
    """Says what is wrong with an argument of the library as what is wrong with an option of the command."""
    try:
        yield
    except ValueError as error:
        # Those of the library are one line, however long.
        text = str(error) if "\n" not in str(error) else first_line(error)
        raise InputError(as_options(f"{text.rstrip('.')}.")) from error


def _watch(
    streams: VideoStreams, table: StreamTable, output: ResultFile | ResultChoice | None, signals: _Signals
) -> None:
    """Takes the results until the streams end, or the user ends them; a choice alone is for stdout."""
    import json

    from ..streaming import SourceError

    fault: SourceError | None = None
    written = 0
    try:
        with streams, table:
            for result in streams:
                if isinstance(output, ResultFile):
                    written += output.write(result)
                elif output is not None and output.takes(result):
                    typer.echo(json.dumps(output.facts(result), allow_nan=False))
                table.add(result)
                signals.check()
    except KeyboardInterrupt:
        pass
    except SourceError as error:
        fault = error
    signals.are_answered = True
    table.print_summary(output.path if isinstance(output, ResultFile) else None, written, fault)
    signals.check()
    if fault is not None:
        raise InputError(as_options(str(fault))) from fault


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _check_files(sources: dict[str, str]) -> None:
    """Says before the model is loaded that there is nothing to look at: what is no address is a file, or a camera."""
    from ..display import shown

    missing = [
        name
        for name, text in sources.items()
        if ":" not in text and not text.startswith("/dev/") and not os.path.lexists(text)
    ]
    if missing and len(missing) == len(sources):
        raise InputError(f"The stream '{shown(missing[0])}' does not exist; check the path.")


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
    return {name: as_path(text) for name, text in named.items()}


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
