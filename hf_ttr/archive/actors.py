"""What a process of a cluster does: it holds a model, gets batches of videos, and gives a row for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..answers.candidate_labels import HYPOTHESIS_TEMPLATE
from ..display import shown
from .answers import Task
from .decoding import GuardedDecoder
from .loading import import_first, load_embeddings, load_labels, prepare
from .options import ArchiveOptions, LabelOptions
from .row import to_table
from .worker import VideoWorker


class _VideoActor:
    """What both have in common; see `VideoClassifier`."""

    per_frame = False

    def __init__(self, task: Task, model: str, options: ArchiveOptions, column: str) -> None:
        self.column = column
        processor = prepare(task, model, options.device, options.dtype)
        cut = options.cut_for(task.model.config, processor)
        self._decoder = GuardedDecoder(
            processor,
            cut,
            processes=options.decoders,
            time_limit=options.time_limit,
            memory_limit=options.memory_limit,
        )
        pack = options.pack_on(task.model.device.type)
        self.worker = VideoWorker(task, cut, self._decoder, pack, options.verify)

    def __call__(self, batch: Any) -> Any:
        """
        Rows of a batch.

        Args:
            batch (`dict[str, numpy.ndarray]`, `pyarrow.Table` or `pandas.DataFrame`): with a column of paths,
                addresses or the bytes of files; other columns are handed on, unless one of the rows has their name.

        Returns:
            `pyarrow.Table`: as many rows, in the same order.

        Raises:
            ValueError: if there is no such column.
        """
        columns = _columns(batch)
        if self.column not in columns:
            there = ", ".join(sorted(columns)) or "none"
            raise ValueError(f"a batch has no column {self.column!r}; the columns are {there}. Pass column=.")
        values = columns[self.column]
        has_bytes = any(isinstance(value, bytes) for value in values)
        names = columns.get("path", [f"video {number}" for number in range(len(values))]) if has_bytes else values
        rows = self.worker.rows((str(name), value) for name, value in zip(names, values))
        table = to_table(rows, self.worker.task.row, self.per_frame)
        for name, others in columns.items():
            if name not in table.column_names and not (name == self.column and has_bytes):
                table = table.append_column(name, [_as_array(others)])
        return table

    def close(self) -> None:
        """Ends its decoders; they end with the process in any case."""
        self._decoder.close()


class VideoClassifier(_VideoActor):
    """
    Labels of videos, for `map_batches` of Ray Data, or to be called by hand: one row for each video.

    Videos are decoded in processes of their own, ahead of the model, and several go through it in one call. By
    default a model sees the whole video, in pieces, which takes no more memory for a longer one. Whatever becomes of a
    video is in its row: see `ClassifiedVideo`. One that kills or hangs its decoder, or on which the model fails, is
    tried once more by itself.

    Args:
        model (`str`): folder or Hub id of an image or video classifier, plain or with reuse; or with
            `candidate_labels` of a model with a text tower.
        top_k (`int`): labels of a row.
        candidate_labels (`list[str]`, *optional*): what may be seen, for a model with a text tower, which reads them
            once; see `hf_ttr.zero_shot`.
        hypothesis_template (`str`): the sentence that it reads, with `{}` where the label belongs.
        column (`str`): of a batch, with paths, addresses or the bytes of files.
        imports (`Sequence[str]`): modules, or files by their paths, that are imported first, such as those of
            models of your own.
        options: see `hf_ttr.archive.ArchiveOptions`: `views`, `num_clips`, `num_frames`, `frame_sampling_rate`,
            `temporal_reuse`, `verify`, `pack`, `decoders`, `time_limit`, `memory_limit`, `device`, `dtype`.

    Raises:
        CheckpointError: if there is no such model; one sentence.
        TypeError: if an option has another name.
        ValueError: if one is out of range, or does not fit the model; one sentence.

    Example:

    ```python
    >>> import hf_ttr, hf_ttr.ray
    >>> classify = hf_ttr.ray.VideoClassifier(hf_ttr.example("vit-demo"), top_k=1)
    >>> table = classify({"path": [hf_ttr.example("demo.mp4"), "missing.mp4"]})
    >>> table.column("labels").to_pylist()
    [['space shuttle'], []]
    >>> table.column("error_kind").to_pylist()
    [None, 'unreadable']
    >>> classify.close()
    ```
    """

    def __init__(
        self,
        model: str,
        *,
        top_k: int = 5,
        candidate_labels: Sequence[str] | None = None,
        hypothesis_template: str = HYPOTHESIS_TEMPLATE,
        column: str = "path",
        imports: Sequence[str] = (),
        **options: Any,
    ) -> None:
        import_first(imports)
        labels = LabelOptions(top_k, candidate_labels, hypothesis_template)
        wanted = ArchiveOptions(**options)
        task = load_labels(model, wanted.temporal_reuse or {}, labels, by_clip=wanted.num_clips is not None)
        super().__init__(task, model, wanted, column)


class VideoEmbedder(_VideoActor):
    """
    Features of videos, for search; the rest is as in `VideoClassifier`.

    Args:
        model (`str`): folder or Hub id of an encoder, or of a classifier, whose head is left out.
        per_frame (`bool`): whether a row has the features of each frame (or window), and not their mean.
        (others): as in `VideoClassifier`.

    Features are those of the model's pooler where it was trained, else those of the CLS token, else the mean over
    tokens. A dense check gives the cosine distance of the means.
    """

    def __init__(
        self,
        model: str,
        *,
        per_frame: bool = False,
        column: str = "path",
        imports: Sequence[str] = (),
        **options: Any,
    ) -> None:
        import_first(imports)
        wanted = ArchiveOptions(**options)
        super().__init__(load_embeddings(model, wanted.temporal_reuse or {}, per_frame), model, wanted, column)
        self.per_frame = per_frame


def _columns(batch: Any) -> dict[str, list[Any]]:
    """The columns of a batch, in whichever of Ray's formats, as lists."""
    if hasattr(batch, "to_pydict"):
        found: dict[str, list[Any]] = batch.to_pydict()
        return found
    if hasattr(batch, "to_dict") and hasattr(batch, "columns"):
        found = batch.to_dict(orient="list")
        return found
    return {name: values.tolist() if hasattr(values, "tolist") else list(values) for name, values in batch.items()}


def _as_array(values: list[Any]) -> Any:
    import pyarrow

    try:
        return pyarrow.array(values)
    except pyarrow.ArrowException as error:
        raise ValueError(
            f"a column of the batch cannot be handed on ({shown(str(error), 80)}); leave it out with select_columns."
        ) from error
