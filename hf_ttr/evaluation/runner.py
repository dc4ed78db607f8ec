"""Runs a model over a data set, on one process or many, and goes on after a stop."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from ..answers.scores import ScoreKind, mean_logits, score_kind
from ..checks import first_line
from ..configuration import as_temporal_reuse_config
from ..display import shown, without_secrets
from ..storage.files import write_json
from ..video.ahead import Ahead
from .data import DataError, Video, VideoDataset
from .held_folder import unwritten
from .hub_results import write_hub_results
from .identity import clean_label, clean_name, digest_of, file_of, identity_of, list_videos
from .protocol import Protocol
from .rows import DECIMALS, ClipRow, RowFiles, are_numbers, best_rows, write_parquet
from .run_folder import RunFolder, changed, check_row
from .summary import summarise, timing


AHEAD = 2
"""Blocks that are decoded while another one is in the model."""

OFF = {"mode": "off", "reduction": []}


@dataclass
class Evaluation:
    """
    A run over a data set.

    Attributes:
        rows: one for each video, in their order.
        summary: what they add up to: see `summarise`.
        timing: what differs from run to run.
        folder: where all of it lies: `clips.parquet`, `summary.json`, `timing.json`, what the Hub
            reads, and `rows/` to go on from.
    """

    rows: list[ClipRow]
    summary: dict[str, Any]
    timing: dict[str, Any]
    folder: str

    @property
    def broken(self) -> list[ClipRow]:
        """The videos that could not be read."""
        return [row for row in self.rows if row.error is not None]


def evaluate(
    model: Any,
    processor: Any,
    dataset: VideoDataset,
    folder: str | os.PathLike[str],
    protocol: Protocol,
    batch_size: int = 4,
    with_dense: bool = True,
    about: dict[str, Any] | None = None,
    command: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Evaluation | None:
    """
    Runs a model over a data set, with reuse and dense, and writes what comes of it to a folder.

    Started by `torchrun` or `accelerate launch`, the videos are spread over the processes: blocks of `batch_size`
    videos, each on one process. Blocks are the same however many processes there are, and so are the rows. A folder
    with rows of the same run is gone on with; a video that cannot be read is a row with an error.

    Args:
        model: a video classifier with reuse.
        processor: a `TemporalReuseVideoProcessor`.
        dataset: the videos.
        folder: for the results.
        protocol: what the model is shown of each.
        batch_size: videos in one call.
        with_dense: whether to run the dense model too.
        about: what the summary says of the run, by default what `describe` says; a run with another cannot be gone on
            with.
        command: that started it, for `timing.json`.
        progress: told how many videos are done, of all processes as far as they go at the same pace.

    Returns:
        `Evaluation`, on the main process; `None` on the others.

    Raises:
        DataError: if the folder holds another run or is in use, the data set changed, nothing can be written, or no
            video could be evaluated; one sentence. On processes beside the main one it may be an `ElsewhereError`.
    """
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    folder = os.fspath(folder)
    about = about or describe(model, dataset, protocol, batch_size, with_dense)
    videos = list_videos(dataset)
    run: RunFolder | None = None

    def begin() -> None:
        nonlocal run
        known = {**about, "identity": identity_of(model, processor, dataset)}
        if videos is None:
            known["identity"]["videos"] = dataset.size
        run = RunFolder(folder, known, videos, model.config.num_labels)

    _on_main(state, begin)
    total = 0

    def counted() -> Iterator[Video]:
        nonlocal total
        for video in _each(dataset if videos is None else videos, dataset.name):
            total = video.number + 1
            yield video

    try:
        files = RowFiles(folder, state.process_index)
        state.wait_for_everyone()
        started, before = time.perf_counter(), sum(row.error is None for row in files.known.values())
        blocks = _own_blocks(counted(), batch_size, state)

        def check(row: ClipRow, video: Video) -> None:
            check_row(row, video, folder, dataset.name)

        for block in _decoded(blocks, files, processor, protocol, check):
            if isinstance(block, int):
                progress(block)
                continue
            rows = _run(model, block, protocol, with_dense)
            files.write(row for row in rows if _is_news(row, files.known.get(row.number)))
            progress(rows[-1].number + 1)
        state.wait_for_everyone()
        rows = _gather(files, state)
        if run is None:
            return None
        if rows and rows[-1].number >= total:
            raise changed(dataset.name, f"it holds {total} videos, and held more", folder)
        run.check_rows(rows, videos, model.config.num_labels, with_dense)
        return _finish(rows, model, dataset, folder, about, command, state.num_processes, before, started)
    finally:
        if run is not None:
            run.close()


class ElsewhereError(DataError):
    """The main process could not begin, and says so; the others end with it."""


def _on_main(state: Any, work: Callable[[], None]) -> None:
    """Does something on the main process; where it cannot be done, no process goes on."""
    outcome: list[str | None] = [None]
    fault: Exception | None = None
    if state.is_main_process:
        try:
            work()
        except Exception as error:
            outcome, fault = [str(error)], error
    if state.num_processes > 1:
        from accelerate.utils import broadcast_object_list

        broadcast_object_list(outcome)
    if fault is not None:
        raise fault
    if outcome[0] is not None:
        raise ElsewhereError(outcome[0])


def _finish(
    rows: list[ClipRow],
    model: Any,
    dataset: VideoDataset,
    folder: str,
    about: dict[str, Any],
    command: str | None,
    processes: int,
    before: int,
    started: float,
) -> Evaluation:
    """Writes what the rows add up to."""
    name = shown(dataset.name)
    if not rows:
        raise DataError(f"the data set '{name}' holds no video; check its layout.")
    good = sum(row.error is None for row in rows)
    if not good:
        raise DataError(f"none of the {len(rows)} videos of '{name}' can be evaluated; the first: {rows[0].error}")
    labels = {label.lower(): number for number, label in model.config.id2label.items()}
    summary = summarise(rows, labels, about, score_kind(model.config.problem_type))
    times = timing(rows, about, processes, good - before, time.perf_counter() - started)
    times["command"] = None if command is None else shown(command, None)
    try:
        write_parquet(rows, os.path.join(folder, "clips.parquet"))
        for file, content in (("summary.json", summary), ("timing.json", times)):
            write_json(os.path.join(folder, file), content)
        write_hub_results(summary, folder, is_on_hub=not dataset.is_folder)
    except OSError as error:
        raise unwritten(folder, error) from error
    return Evaluation(rows, summary, times, folder)


def describe(
    model: Any, dataset: VideoDataset, protocol: Protocol, batch_size: int, with_dense: bool, name: str | None = None
) -> dict[str, Any]:
    """
    What a summary says of its run, and what a run that is gone on with must have in common.

    Args:
        model, dataset, protocol, batch_size, with_dense: as in `evaluate`.
        name (`str`, *optional*): of the model; by default that which it was loaded by.
    """
    from .. import __version__

    return {
        "hf_ttr": __version__,
        "model": {
            "name": without_secrets(name or model.config._name_or_path or type(model).__name__),
            "class": type(model).__name__,
        },
        "dataset": {"name": without_secrets(dataset.name), "split": dataset.split},
        "protocol": asdict(protocol),
        "settings": as_temporal_reuse_config(model.config.temporal_reuse).settings_to_dict(),
        "batch_size": batch_size,
        "compare_dense": with_dense,
    }


def _is_news(row: ClipRow, before: ClipRow | None) -> bool:
    """Whether a row says more than what is in the files of the run."""
    return before is None or (before.error is not None and before.error != row.error)


def _own_blocks(videos: Iterable[Video], size: int, state: Any) -> Iterator[list[Video]]:
    """The blocks of this process; those of others are lists of no videos, to count on."""
    block: list[Video] = []
    for video in videos:
        number, place = divmod(video.number, size)
        if number % state.num_processes == state.process_index:
            block.append(video)
        if place == size - 1:
            yield block
            block = []
    if block:
        yield block


def _each(videos: Iterable[Video], dataset: str) -> Iterator[Video]:
    rest = iter(videos)
    while True:
        try:
            video = next(rest)
        except StopIteration:
            return
        except DataError:
            raise
        # Whatever a library says as it reads on: it is the data set's, and what was done before is in the files.
        except Exception as error:
            raise DataError(
                f"the data set '{shown(dataset)}' cannot be read on ({shown(first_line(error))}); what came before "
                "is complete: run the same command again."
            ) from error
        yield video


Seen = torch.Tensor | str
"""What the model sees of a video, or what is wrong with it."""


def _decoded(
    blocks: Iterable[list[Video]],
    files: RowFiles,
    processor: Any,
    protocol: Protocol,
    check: Callable[[ClipRow, Video], None],
) -> Iterator[int | list[tuple[Video, Seen]]]:
    """
    Videos with what the model sees of them, or what is wrong; a number stands for a block that is known.

    Of a block that is known but for videos that failed, these are tried again by themselves; if one can be read now,
    the block comes as a whole, so that its rows are what they would have been at once.
    """

    def decode(video: Video) -> Seen:
        try:
            return protocol.pixel_values(processor, video.source)
        # Of whatever kind: one video's fault is its row.
        except Exception as error:
            return _fault(error)

    decoder = Ahead("decoder")
    waiting: deque[tuple[list[Video], dict[int, Future[Seen]]]] = deque()
    good = {number for number, row in files.known.items() if row.error is None}

    def ready() -> list[tuple[Video, Seen]]:
        block, futures = waiting.popleft()
        seen = {number: future.result() for number, future in futures.items()}
        if all(isinstance(what, str) for what in seen.values()):
            return [(video, seen[video.number]) for video in block if video.number in seen]
        others = {video.number: decoder.submit(partial(decode, video)) for video in block if video.number not in seen}
        seen |= {number: future.result() for number, future in others.items()}
        return [(video, seen[video.number]) for video in block]

    try:
        for block in blocks:
            if not block:
                continue
            for video in block:
                if video.number in files.known:
                    check(files.known[video.number], video)
            wanted = [video for video in block if video.number not in good]
            if not wanted:
                yield block[-1].number + 1
                continue
            waiting.append((block, {video.number: decoder.submit(partial(decode, video)) for video in wanted}))
            if len(waiting) > AHEAD:
                yield ready()
        while waiting:
            yield ready()
    finally:
        decoder.stop()


@torch.inference_mode()
def _run(model: Any, block: list[tuple[Video, Seen]], protocol: Protocol, with_dense: bool) -> list[ClipRow]:
    """The rows of one block, whose videos go through the model together."""
    good = [(video, pixels) for video, pixels in block if isinstance(pixels, torch.Tensor)]
    rows = [_broken(video, what) for video, what in block if isinstance(what, str)]
    # Frames of another size, where the processor keeps their shape, cannot be in the same call.
    for shape in dict.fromkeys(pixels.shape for _, pixels in good):
        alike = [(video, pixels) for video, pixels in good if pixels.shape == shape]
        rows += _run_together(model, alike, protocol, with_dense)
    return sorted(rows, key=lambda row: row.number)


def _run_together(
    model: Any, videos: list[tuple[Video, torch.Tensor]], protocol: Protocol, with_dense: bool
) -> list[ClipRow]:
    """The rows of videos in one call, or, where that fails, each by itself."""
    try:
        pixels = torch.cat([pixels for _, pixels in videos]).to(model.device)
        seconds, out = _timed(model, pixels)
        dense_seconds, dense = _timed(model, pixels, temporal_reuse=OFF) if with_dense else (None, None)
    # Such as too little memory for all of them, or a shape that the model does not take.
    except Exception as error:
        if len(videos) == 1:
            return [_broken(videos[0][0], _fault(error))]
        return [row for video in videos for row in _run_together(model, [video], protocol, with_dense)]
    kind = score_kind(model.config.problem_type)
    rows = []
    for number, (video, _) in enumerate(videos):
        own = slice(number * protocol.parts, (number + 1) * protocol.parts)
        logits = _mean(out.logits[own], kind)
        dense_logits = None if dense is None else _mean(dense.logits[own], kind)
        if not are_numbers(logits) or not are_numbers(dense_logits or []):
            which = "the model" if not are_numbers(logits) else "the dense model"
            rows.append(_broken(video, f"{which} gives scores that are no numbers (NaN or infinite) for it"))
            continue
        costs: dict[str, Any] = {}
        if out.reuse is not None:
            names = ("computed_tokens", "total_tokens", "multiply_adds", "dense_multiply_adds")
            costs = {name: int(out.reuse[name][own].sum()) for name in names}
        rows.append(
            ClipRow(
                **_facts(video),
                logits=logits,
                dense_logits=dense_logits,
                **costs,
                seconds=seconds / len(videos),
                dense_seconds=None if dense_seconds is None else dense_seconds / len(videos),
            )
        )
    return rows


def _broken(video: Video, error: str) -> ClipRow:
    return ClipRow(**_facts(video), error=error)


def _facts(video: Video) -> dict[str, Any]:
    """What a row says of its video."""
    size, modified = file_of(video.source)
    return {
        "number": video.number,
        "video": clean_name(video.name),
        "label": clean_label(video.label),
        "size": size,
        "digest": digest_of(video.source),
        "modified": modified,
    }


def _fault(error: Exception) -> str:
    """What is wrong with a video, for its row."""
    from ..video import VideoDecodingError

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "There is not enough memory for it."
    if isinstance(error, VideoDecodingError):
        return shown(error)
    if isinstance(error, OSError):
        return f"It cannot be read ({shown(error.strerror or first_line(error))})."
    return f"It cannot be evaluated ({type(error).__name__}: {shown(first_line(error))})."


def _timed(model: Any, pixels: torch.Tensor, **options: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    out = model(pixels, use_cache=False, **options)
    out.logits.sum().item()
    return time.perf_counter() - start, out


def _mean(logits: torch.Tensor, kind: ScoreKind) -> list[float]:
    """Logits of a video, out of those of its clips and views."""
    return [round(value, DECIMALS) for value in mean_logits(logits.cpu(), kind).tolist()]


def _gather(files: RowFiles, state: Any) -> list[ClipRow]:
    """All rows on the main process, each once, also those of processes that write to another disk."""
    rows = files.read()
    if state.num_processes == 1:
        return rows
    from accelerate.utils import broadcast_object_list, gather_object

    known: list[Any] = [{row.number for row in rows if row.error is None} if state.is_main_process else None]
    broadcast_object_list(known)
    missing = [row for row in rows if row.number not in known[0]]
    return best_rows([*rows, *gather_object(missing)])
