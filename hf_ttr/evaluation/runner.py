"""Runs a model over a data set, on one process or many, and goes on after a stop."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..configuration import as_temporal_reuse_config
from ..files import write_json
from .data import DataError, Video, VideoDataset
from .hub_results import write_hub_results
from .protocol import Protocol
from .rows import DECIMALS, ClipRow, RowFiles, write_parquet
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
        DataError: if the folder holds another run, or no video could be read; one sentence.
    """
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    folder = os.fspath(folder)
    about = about or describe(model, dataset, protocol, batch_size, with_dense)
    if state.is_main_process:
        _agree(folder, about)
    state.wait_for_everyone()
    files = RowFiles(folder, state.process_index)
    state.wait_for_everyone()
    begin, before = time.perf_counter(), len(files.known)
    labels = {name.lower(): number for number, name in model.config.id2label.items()}
    for block in _decoded(_own_blocks(dataset, batch_size, state), files, processor, protocol):
        if isinstance(block, int):
            progress(block)
            continue
        rows = _run(model, block, protocol, with_dense)
        files.write(rows)
        progress(rows[-1].number + 1)
    state.wait_for_everyone()
    rows = _gather(files, state)
    if not state.is_main_process:
        return None
    if not rows:
        raise DataError(f"the data set '{dataset.name}' holds no video; check its layout.")
    if all(row.error is not None for row in rows):
        raise DataError(f"none of the {len(rows)} videos of '{dataset.name}' can be read; the first: {rows[0].error}")
    write_parquet(rows, os.path.join(folder, "clips.parquet"))
    summary = summarise(rows, labels, about)
    times = timing(rows, about, state.num_processes, len(rows) - before, time.perf_counter() - begin)
    times["command"] = command
    for name, content in (("summary.json", summary), ("timing.json", times)):
        write_json(os.path.join(folder, name), content)
    write_hub_results(summary, folder, is_on_hub=not dataset.is_folder)
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
        "model": {"name": name or model.config._name_or_path or type(model).__name__, "class": type(model).__name__},
        "dataset": {"name": dataset.name, "split": dataset.split},
        "protocol": asdict(protocol),
        "settings": as_temporal_reuse_config(model.config.temporal_reuse).settings_to_dict(),
        "batch_size": batch_size,
        "compare_dense": with_dense,
    }


def _agree(folder: str, about: dict[str, Any]) -> None:
    """Makes sure that a run that is gone on with is the same."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "run.json")
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
        now = json.loads(json.dumps(about))
        if different := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
            name = different[0]
            raise DataError(
                f"the folder '{folder}' holds a run with {name} {before.get(name)!r}, and this one has "
                f"{now.get(name)!r}; pass the same, or another folder."
            )
    elif os.listdir(folder):
        raise DataError(f"the folder '{folder}' is not empty, and holds no run; pass another.")
    write_json(path, about)


def _own_blocks(dataset: VideoDataset, size: int, state: Any) -> Iterator[list[Video]]:
    """The blocks of this process; those of others are lists of no videos, to count on."""
    block: list[Video] = []
    for video in dataset:
        number, place = divmod(video.number, size)
        if number % state.num_processes == state.process_index:
            block.append(video)
        if place == size - 1:
            yield block
            block = []
    if block:
        yield block


def _decoded(
    blocks: Iterable[list[Video]], files: RowFiles, processor: Any, protocol: Protocol
) -> Iterator[int | list[tuple[Video, torch.Tensor | str]]]:
    """Videos with what the model sees of them, or what is wrong; a number stands for a block that is known."""

    def decode(video: Video) -> torch.Tensor | str:
        from ..video import VideoDecodingError

        try:
            return protocol.pixel_values(processor, video.source)
        except VideoDecodingError as error:
            return str(error)

    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: list[tuple[list[Video], list[Future[torch.Tensor | str]]]] = []
        try:
            for block in blocks:
                if not block:
                    continue
                if all(video.number in files.known for video in block):
                    yield block[-1].number + 1
                    continue
                waiting.append((block, [pool.submit(decode, video) for video in block]))
                if len(waiting) > AHEAD:
                    yield _ready(*waiting.pop(0))
            while waiting:
                yield _ready(*waiting.pop(0))
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


def _ready(block: list[Video], futures: list[Future[torch.Tensor | str]]) -> list[tuple[Video, torch.Tensor | str]]:
    return [(video, future.result()) for video, future in zip(block, futures)]


@torch.inference_mode()
def _run(
    model: Any, block: list[tuple[Video, torch.Tensor | str]], protocol: Protocol, with_dense: bool
) -> list[ClipRow]:
    """The rows of one block, whose videos go through the model together."""
    good = [(video, pixels) for video, pixels in block if isinstance(pixels, torch.Tensor)]
    rows = [
        ClipRow(video.number, video.name, video.label, error=what) for video, what in block if isinstance(what, str)
    ]
    # Frames of another size, where the processor keeps their shape, cannot be in the same call.
    for shape in dict.fromkeys(pixels.shape for _, pixels in good):
        videos = [video for video, pixels in good if pixels.shape == shape]
        pixels = torch.cat([pixels for _, pixels in good if pixels.shape == shape]).to(model.device)
        seconds, out = _timed(model, pixels)
        dense_seconds, dense = _timed(model, pixels, temporal_reuse=OFF) if with_dense else (None, None)
        for number, video in enumerate(videos):
            own = slice(number * protocol.parts, (number + 1) * protocol.parts)
            costs: dict[str, Any] = {}
            if out.reuse is not None:
                names = ("computed_tokens", "total_tokens", "multiply_adds", "dense_multiply_adds")
                costs = {name: int(out.reuse[name][own].sum()) for name in names}
            rows.append(
                ClipRow(
                    video.number,
                    video.name,
                    video.label,
                    _scores(out.logits[own]),
                    None if dense is None else _scores(dense.logits[own]),
                    **costs,
                    seconds=seconds / len(videos),
                    dense_seconds=None if dense_seconds is None else dense_seconds / len(videos),
                )
            )
    return sorted(rows, key=lambda row: row.number)


def _timed(model: Any, pixels: torch.Tensor, **options: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    out = model(pixels, use_cache=False, **options)
    out.logits.sum().item()
    return time.perf_counter() - start, out


def _scores(logits: torch.Tensor) -> list[float]:
    """Logarithms of the mean scores over clips and views."""
    mean = logits.double().log_softmax(-1).logsumexp(0) - torch.tensor(float(len(logits))).log()
    return [round(value, DECIMALS) for value in mean.tolist()]


def _gather(files: RowFiles, state: Any) -> list[ClipRow]:
    """All rows on the main process, each once, also those of processes that write to another disk."""
    rows = files.read()
    if state.num_processes == 1:
        return rows
    from accelerate.utils import broadcast_object_list, gather_object

    known: list[Any] = [{row.number for row in rows} if state.is_main_process else None]
    broadcast_object_list(known)
    missing = [row for row in rows if row.number not in known[0]]
    found = {row.number: row for row in [*rows, *gather_object(missing)]}
    return [found[number] for number in sorted(found)]
