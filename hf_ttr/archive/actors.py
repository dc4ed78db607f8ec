"""What a process of a cluster does: it holds a model, gets batches of videos, and gives a row for each."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..answers.candidate_labels import HYPOTHESIS_TEMPLATE
from ..checks import first_line
from ..display import shown
from .answers import Task
from .decoding import GuardedDecoder
from .loading import import_first, load_embeddings, load_labels, prepare
from .options import ArchiveOptions, LabelOptions
from .row import VideoRow, schema_of, to_table
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
                Bytes have the name that stands in a column `path`, or else `"sha256:"` with their digest.

        Returns:
            `pyarrow.Table`: as many rows, in the same order.

        Raises:
            ValueError: if there is no such column, or one cannot be handed on; one sentence.
        """
        columns = _columns(batch)
        if self.column not in columns:
            there = ", ".join(sorted(columns)) or "none"
            raise ValueError(f"a batch has no column {self.column!r}; the columns are {there}. Pass column=.")
        sources = [_as_source(value) for value in _values(columns[self.column])]
        has_bytes = any(isinstance(source, bytes) for source in sources)
        names = _values(columns["path"]) if "path" in columns and self.column != "path" else [None] * len(sources)
        left_out = {*schema_of(self.worker.task.row, self.per_frame).names, *([self.column] if has_bytes else [])}
        # What cannot be handed on is not found out after hours of work.
        others = {name: _as_array(name, values) for name, values in columns.items() if name not in left_out}
        named = [(_name(source, name), source) for source, name in zip(sources, names)]
        found = iter(self.worker.rows(entry for entry in named if entry[1] is not None))
        rows = [self._without_path(name) if source is None else next(found) for name, source in named]
        table = to_table(rows, self.worker.task.row, self.per_frame)
        for name, values in others.items():
            table = table.append_column(name, values)
        return table

    def _without_path(self, name: str) -> VideoRow:
        where = f"the column '{shown(self.column)}' is empty there"
        text = f"The video has no path, as {where}; add it, or leave the row out."
        return self.worker.task.row(name, error=text, error_kind="unreadable")

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


def _columns(batch: Any) -> dict[str, Any]:
    """The columns of a batch, in whichever of Ray's formats, as they are."""
    if hasattr(batch, "column_names"):
        return {name: batch.column(name) for name in batch.column_names}
    return dict(batch.items())


def _values(column: Any) -> list[Any]:
    """What is in a column, with `None` for what pandas takes for missing."""
    if hasattr(column, "to_pylist"):
        found: list[Any] = column.to_pylist()
        return found
    if hasattr(column, "notna"):
        column = column.astype(object).where(column.notna(), None)
    return list(column.tolist() if hasattr(column, "tolist") else column)


def _as_source(value: Any) -> Any:
    """What is decoded: a path, an address, or bytes; `None` of a value that is missing."""
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _name(source: Any, name: Any) -> str:
    """The path of a row: that of the video, or of bytes the name they were given, or one that is theirs anywhere."""
    if source is not None and not isinstance(source, bytes):
        return str(source)
    if (given := _as_source(name)) is not None:
        return str(given)
    return "" if source is None else f"sha256:{hashlib.sha256(source).hexdigest()[:16]}"


def _as_array(name: str, values: Any) -> Any:
    """A column as it is handed on, of the type that it has."""
    import pyarrow

    if isinstance(values, (pyarrow.Array, pyarrow.ChunkedArray)):
        return values
    try:
        if str(getattr(values, "dtype", "object")) == "object":
            plain = [os.fspath(value) if isinstance(value, os.PathLike) else value for value in values]
            return pyarrow.array(plain, from_pandas=True)
        if not isinstance(values, np.ndarray):
            return pyarrow.Array.from_pandas(values)
        if values.ndim == 1:
            return pyarrow.array(values, from_pandas=True)
        array = pyarrow.array(values.reshape(-1))
        for length in reversed(values.shape[1:]):
            array = pyarrow.FixedSizeListArray.from_arrays(array, length)
        return array
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise ValueError(
            f"the column '{shown(name)}' of the batch cannot be handed on ({shown(first_line(error), 80)}); leave it "
            "out with select_columns."
        ) from error
