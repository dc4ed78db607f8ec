"""Archives through Ray: a data set of paths, actors with models, and one writer of the rows that come back."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from ..caching.fingerprint import weights_digest
from ..checks import check_counts, first_line
from ..configuration import as_temporal_reuse_config
from ..display import shown, without_secrets
from ..evaluation.identity import identity_of_model
from ..evaluation.metadata import DataError
from ..hub.checkpoints import classifier_class, load_classifier
from .actors import VideoClassifier
from .loading import load_labels, prepare
from .options import ArchiveOptions, LabelOptions
from .results import ResultsFolder
from .row import ClassifiedVideo


MOST_BLOCKS = 4096
"""Of a Ray data set: more make its driver slow."""

_COLOURS = re.compile(r"\x1b\[[\d;]*m")

INSTALL = "An archive needs Ray; pip install 'ray[data]', or hf-ttr with its extra ray."


@dataclass(frozen=True)
class Workers:
    """
    What an archive is run on.

    Args:
        count (`int`, *optional*): actors, each with a model; by default one for each GPU, or without any each CPU.
        gpus, cpus (`float`): of one actor; GPUs by default 1 where there are any.
        batch_size (`int`): videos that an actor gets at a time.
        address (`str`, *optional*): of a Ray cluster, or `"auto"`; by default one is started here.
        imports (`Sequence[str]`): modules, or files by their paths, that an actor imports first, such as those of
            models of your own.

    Raises:
        ValueError: if one is out of range; one sentence.
    """

    count: int | None = None
    gpus: float | None = None
    cpus: float = 1
    batch_size: int = 32
    address: str | None = None
    imports: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_counts(batch_size=self.batch_size)
        if self.count is not None:
            check_counts(workers=self.count)


def import_ray() -> Any:
    """
    Ray with its data sets.

    Raises:
        ImportError: if it is not there; one sentence that says how it gets there.
    """
    # Its bars and its notes on settings would tear ours.
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(INSTALL) from error
    return ray


def data_set(paths: Sequence[str], batch_size: int = 32) -> Any:
    """
    Paths as a Ray data set, in blocks of about `batch_size`: what an actor gets at a time, and gives back.

    Args:
        paths: of videos.
        batch_size (`int`): of a block; larger where there were too many.

    Returns:
        `ray.data.Dataset`, with a column `path`.
    """
    blocks = min(MOST_BLOCKS, max(1, math.ceil(len(paths) / batch_size)))
    return import_ray().data.from_items([{"path": path} for path in paths], override_num_blocks=blocks)


def describe(model: str, options: ArchiveOptions, labels: LabelOptions) -> dict[str, Any]:
    """
    What the results of an archive are of, as JSON has it: another model or other settings are other results.

    Args:
        model (`str`): folder or Hub id.
        options, labels: see `VideoClassifier`.

    Raises:
        CheckpointError: if the model cannot be used; one sentence.
        ValueError: if the options do not fit it; one sentence.
    """
    task = load_labels(model, options.temporal_reuse or {}, labels)
    # Where the actors will be is not known here.
    processor = prepare(task, model, "cpu", options.dtype)
    cut = options.cut_for(task.model.config, processor)
    identity = identity_of_model(task.model, processor)
    chosen = asdict(labels)
    if labels.candidate_labels is None:
        del chosen["candidate_labels"], chosen["hypothesis_template"]
    else:
        # What the text tower makes of labels differs in its last digits from one kind of CPU to another.
        towers = load_classifier(model, classifier_class(model), options.temporal_reuse or {})
        identity["weights"] = weights_digest(towers)
    return {
        "model": without_secrets(model),
        "class": type(task.model).__name__,
        "settings": as_temporal_reuse_config(task.model.config.temporal_reuse).settings_to_dict(),
        "cut": {"kind": type(cut).__name__, **asdict(cut)},
        "verify": options.verify,
        **chosen,
        "identity": identity,
    }


def run_archive(
    paths: Sequence[str],
    model: str,
    folder: str,
    options: ArchiveOptions,
    workers: Workers,
    labels: LabelOptions | None = None,
    resume: bool = False,
    progress: Callable[[int, int, int], None] = lambda done, errors, total: None,
) -> None:
    """
    Makes a row of every video, on this machine or a cluster, and writes them to a folder as they come.

    Args:
        paths: of the videos.
        model (`str`): folder or Hub id of a classifier, or with chosen labels of a model with a text tower.
        folder: for the results, see `ResultsFolder`.
        options: how videos are looked at.
        workers: on what.
        labels: that a row has; by default the five best of the model.
        resume (`bool`): whether to go on with what is in the folder.
        progress: told how many videos are done, how many of them have an error, and how many there are.

    Raises:
        CheckpointError: if the model cannot be used; one sentence.
        DataError: if the folder holds something else, cannot be written, or Ray fails; one sentence. What came before
            is whole.
        ImportError: if Ray is not there; one sentence.
        ValueError: if options or labels do not fit the model; one sentence.
    """
    ray = import_ray()
    labels = labels or LabelOptions()
    about = describe(model, options, labels)
    with ResultsFolder(folder, about, ClassifiedVideo, resume=resume) as results:
        todo = [path for path in dict.fromkeys(paths) if path not in results.done]
        done, errors, total = len(paths) - len(todo), 0, len(paths)
        progress(done, errors, total)
        if not todo:
            return
        with started(ray, workers):
            for rows in _tables(ray, todo, model, options, workers, labels):
                found = [ClassifiedVideo(**row) for row in rows]
                results.add(found)
                done += len(found)
                errors += sum(row.error is not None for row in found)
                progress(done, errors, total)


def _tables(
    ray: Any, paths: Sequence[str], model: str, options: ArchiveOptions, workers: Workers, labels: LabelOptions
) -> Iterator[list[dict[str, Any]]]:
    """Rows as they come back from the actors, some at a time."""
    gpus = _gpus(ray, workers)
    count = workers.count or int(ray.cluster_resources().get("GPU", 0) / gpus if gpus else _cpus(ray) / workers.cpus)
    if not gpus and options.device is None:
        # Those who want no GPU see them all the same.
        options = replace(options, device="cpu")
    videos = data_set(paths, workers.batch_size)
    rows = videos.map_batches(
        VideoClassifier,
        fn_constructor_args=(model,),
        fn_constructor_kwargs={"imports": tuple(workers.imports), **asdict(labels), **asdict(options)},
        # A block is a batch: an actor gives back what it was given, and what is lost with one is done anew.
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=max(1, min(count, videos.num_blocks()))),
        num_cpus=None if gpus else workers.cpus,
        num_gpus=gpus or None,
    )
    try:
        for table in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            # It follows from the others.
            yield table.drop_columns(["computed_share"]).to_pylist()
    except ray.exceptions.RayError as error:
        raise DataError(
            f"Ray broke off ({shown(_cause(error))}); what came before is complete: run the same command with "
            "--resume."
        ) from error


def _cause(error: Exception) -> str:
    """What was raised where Ray ran, without its colours and the tracebacks that it quotes."""
    text = _COLOURS.sub("", str(error))
    lines = text.splitlines()
    if any(line.startswith('  File "') for line in lines):
        raised = [line for before, line in pairwise(lines) if before[:1].isspace() and line.strip() == line != ""]
        # What Ray makes of it says less.
        text = next((line for line in reversed(raised) if not line.startswith("ray.")), text)
    return first_line(RuntimeError(text or type(error).__name__))


def _gpus(ray: Any, workers: Workers) -> float:
    if workers.gpus is not None:
        return workers.gpus
    return 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0


def _cpus(ray: Any) -> float:
    return float(ray.cluster_resources().get("CPU", 1))


@contextlib.contextmanager
def started(ray: Any, workers: Workers) -> Iterator[None]:
    """
    Ray, where it does not run in this process yet: that of a cluster, or one of this machine, which ends with it.

    Args:
        ray: the package.
        workers: for which there is to be room, and where.

    Raises:
        DataError: if there is no such cluster; one sentence.
    """
    if ray.is_initialized():
        yield
        return
    # A job on a cluster is told where it is; any other cluster on this machine is somebody's own.
    address = workers.address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address} if address else {"address": "local", "include_dashboard": False}
    if not address and workers.count is not None:
        # More processes than processors share them.
        options["num_cpus"] = max(os.cpu_count() or 1, math.ceil(workers.count * workers.cpus))
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"at {shown(address)}" if address else "here"
        raise DataError(
            f"no Ray cluster answers {where} ({shown(first_line(error))}); start one with ray start --head, or leave "
            "out --address."
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


__all__ = ["Workers", "data_set", "describe", "run_archive"]
