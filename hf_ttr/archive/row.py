"""One row for each video of an archive: what was found in it, what it cost, or why there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from ..display import as_unicode


ErrorKind = Literal["unreadable", "killed", "hung", "memory", "model"]
"""
What became of a video that has no result: it cannot be read; its decoder died, or gave nothing in time, or wanted too
much memory, twice; or the model fails on it.
"""

ERROR_KINDS: tuple[str, ...] = get_args(ErrorKind)

DECIMALS = 4
"""Of scores and divergences: what is beyond depends on the videos that went through the model together."""


@dataclass(frozen=True)
class VideoRow:
    """
    What became of one video.

    Attributes:
        path: of the video, as it was given.
        frames: of it that the model saw.
        duration: of the video, in seconds, as its file states it, or else by its rate; `None` where neither is known.
        seconds: of the model on it.
        decoding_seconds, waiting_seconds: of decoding and preparing it, beside the model; and how long the model
            waited for that.
        computed_tokens, total_tokens, multiply_adds, dense_multiply_adds: see `ReuseReport`, of all its frames and
            views.
        dense_seconds, divergence, same_answer: of the dense model, where the video was chosen for a check.
        error: why there is no result, in one sentence.
        error_kind: which kind that is of, one of `ERROR_KINDS`.
    """

    path: str
    frames: int = 0
    duration: float | None = None
    seconds: float = 0.0
    decoding_seconds: float = 0.0
    waiting_seconds: float = 0.0
    computed_tokens: int = 0
    total_tokens: int = 0
    multiply_adds: int = 0
    dense_multiply_adds: int = 0
    dense_seconds: float | None = None
    divergence: float | None = None
    same_answer: bool | None = None
    error: str | None = None
    error_kind: str | None = None


@dataclass(frozen=True)
class ClassifiedVideo(VideoRow):
    """
    A video with its labels.

    Attributes:
        labels, scores: the best, best first; scores are means over the frames or windows of the video.
    """

    labels: Sequence[str] = ()
    scores: Sequence[float] = ()


@dataclass(frozen=True)
class EmbeddedVideo(VideoRow):
    """
    A video with its features.

    Attributes:
        embedding: `hidden_size` numbers, or as many for each frame or window; `None` where there is an error.
    """

    embedding: Sequence[float] | Sequence[Sequence[float]] | None = None


def to_table(rows: Sequence[VideoRow], kind: type[VideoRow], per_frame: bool = False) -> Any:
    """
    Rows as a `pyarrow.Table`, whose columns are the fields, and `computed_share`.

    Args:
        rows: all of one kind.
        kind: that kind, also where there are none.
        per_frame (`bool`): whether embeddings are of each frame.
    """
    import pyarrow

    schema = schema_of(kind, per_frame)
    columns = {name: [getattr(row, name) for row in rows] for name in schema.names if name != "computed_share"}
    for name in {"path", "error", "error_kind"}:
        columns[name] = [text and as_unicode(text) for text in columns[name]]
    if "labels" in columns:
        columns["labels"] = [list(map(as_unicode, labels)) for labels in columns["labels"]]
    columns["computed_share"] = [row.computed_tokens / row.total_tokens if row.total_tokens else None for row in rows]
    return pyarrow.table(columns, schema=schema)


def schema_of(kind: type[VideoRow], per_frame: bool = False) -> Any:
    """The `pyarrow.Schema` of rows of a kind: the same for all of them, whatever is missing."""
    import pyarrow

    floats = pyarrow.list_(pyarrow.float32())
    types: dict[str, Any] = {
        "path": pyarrow.string(),
        "labels": pyarrow.list_(pyarrow.string()),
        "scores": floats,
        "embedding": pyarrow.list_(floats) if per_frame else floats,
        "same_answer": pyarrow.bool_(),
        "error": pyarrow.string(),
        "error_kind": pyarrow.string(),
    }
    numbers = {"duration", "seconds", "decoding_seconds", "waiting_seconds", "dense_seconds", "divergence"}
    found = []
    for field in fields(kind):
        usual = pyarrow.float64() if field.name in numbers else pyarrow.int64()
        found.append((field.name, types.get(field.name, usual)))
    return pyarrow.schema([*found, ("computed_share", pyarrow.float64())])
