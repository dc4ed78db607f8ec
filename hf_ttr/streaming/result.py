"""What is known of a stream at a time: the answer, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from ..checks import is_number, is_whole


LARGEST_COUNT = 2**63
"""What no count of frames, results or multiply-adds reaches."""


@dataclass(frozen=True)
class Divergence:
    """
    How far a result with reuse was from the dense one on the same frames.

    Attributes:
        kl: Kullback-Leibler divergence of the scores from the dense ones, in nats: `hf_ttr.answers.scores.divergence`.
        same_label: whether the answer is the same: the best label, or all labels that are more likely than not.
    """

    kl: float
    same_label: bool


@dataclass(frozen=True)
class StreamResult:
    """
    The labels of a frame, or of a window of frames, of one stream.

    Attributes:
        stream: name of the stream.
        number: of the result in its stream, from 0.
        first_frame, last_frame: of the window, counted in the source from 0, frames that were dropped included.
        start, end: timestamps of the two, in seconds.
        labels: the best labels with their scores, best first: `[{"label": ..., "score": ...}, ...]`.
        computed_share: share of the tokens of the frames that are new in this result that were computed.
        multiply_adds, dense_multiply_adds: spent since the last result of the stream, dense checks included; and what
            the dense model would have spent.
        latency_ms: from the arrival of the last frame to the result, in milliseconds.
        waiting_ms, computing_ms: what that is made of: the frame waits for its turn, is prepared, and goes through the
            model. A file is read ahead: its frames always wait.
        threshold: in force for the stream; `None` where a budget or mode "off" decides.
        dropped: frames of the stream that were dropped so far because they came faster than they could be looked at.
        divergence: of a dense check, where there was one.
        arrived_at: when the last frame arrived here: date, time to the millisecond and offset of the local time zone,
            as ISO 8601 has it. Of a file, when it was read.
    """

    stream: str
    number: int
    first_frame: int = 0
    last_frame: int = 0
    start: float = 0.0
    end: float = 0.0
    labels: list[dict[str, Any]] = field(default_factory=list)
    computed_share: float = 1.0
    multiply_adds: int = 0
    dense_multiply_adds: int = 0
    latency_ms: float = 0.0
    threshold: float | None = None
    dropped: int = 0
    divergence: Divergence | None = None
    waiting_ms: float = 0.0
    computing_ms: float = 0.0
    arrived_at: str | None = None

    @property
    def label(self) -> str:
        """The best label."""
        return self.labels[0]["label"]

    @property
    def score(self) -> float:
        """The score of the best label."""
        return self.labels[0]["score"]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StreamResult:
        """
        What `to_dict` gave, or some of its fields, checked like any input.

        Fields that were not written have the values of a result of which nothing is known; `stream` and `number` are
        always there, and `label` and `score` may stand for `labels`.

        Raises:
            ValueError: if it is no result; it names the first field that is wrong.
        """
        if not isinstance(values, Mapping) or not {"stream", "number"} <= set(values) <= set(RESULT_FIELDS):
            raise ValueError("its fields are not those of a result")
        for name, value in values.items():
            if not _CHECKS[name](value):
                raise ValueError(f"{name} is not what a result has there")
        known = {name: value for name, value in values.items() if name not in ("label", "score")}
        if "label" in values:
            known.setdefault("labels", [{"label": values["label"], "score": values.get("score", 0.0)}])
        if known.get("divergence") is not None:
            known["divergence"] = Divergence(**known["divergence"])
        return cls(**known)


RESULT_FIELDS = (*(one.name for one in fields(StreamResult)), "label", "score")
"""Fields that a result can be written with; the last two are of its best label alone."""


def iso_time(seconds: float) -> str:
    """Date, time to the millisecond and offset of the local time zone, of seconds since 1970."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")


def is_count(value: Any) -> bool:
    """Whether a value can be a number of frames, results or multiply-adds."""
    return is_whole(value) and 0 <= value < LARGEST_COUNT


def is_divergence(value: Any) -> bool:
    """Whether a value is a `Divergence` as JSON holds it, or `None`."""
    if value is None:
        return True
    is_whole_of_it = isinstance(value, Mapping) and set(value) == {"kl", "same_label"}
    return is_whole_of_it and _is_positive(value["kl"]) and isinstance(value["same_label"], bool)


def _is_positive(value: Any) -> bool:
    return is_number(value) and value >= 0


def _is_moment(value: Any) -> bool:
    try:
        return value is None or datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _is_labels(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, Mapping)
        and set(entry) == {"label", "score"}
        and isinstance(entry["label"], str)
        and is_number(entry["score"])
        for entry in value
    )


_CHECKS = {
    "stream": lambda value: isinstance(value, str),
    "number": is_count,
    "first_frame": is_count,
    "last_frame": is_count,
    "start": is_number,
    "end": is_number,
    "labels": _is_labels,
    "computed_share": _is_positive,
    "multiply_adds": is_count,
    "dense_multiply_adds": is_count,
    "latency_ms": is_number,
    "threshold": lambda value: value is None or _is_positive(value),
    "dropped": is_count,
    "divergence": is_divergence,
    "waiting_ms": is_number,
    "computing_ms": is_number,
    "arrived_at": _is_moment,
    "label": lambda value: isinstance(value, str),
    "score": is_number,
}
