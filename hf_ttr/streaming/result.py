"""What is known of a stream at a time: the answer, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Divergence:
    """
    How far a result with reuse was from the dense one on the same frames.

    Attributes:
        kl: Kullback-Leibler divergence of the scores from the dense ones, in nats.
        same_label: whether the best label is the same.
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
        threshold: in force for the stream; `None` where a budget or mode "off" decides.
        dropped: frames of the stream that were dropped so far because they came faster than they could be looked at.
        divergence: of a dense check, where there was one.
    """

    stream: str
    number: int
    first_frame: int
    last_frame: int
    start: float
    end: float
    labels: list[dict[str, Any]] = field(default_factory=list)
    computed_share: float = 1.0
    multiply_adds: int = 0
    dense_multiply_adds: int = 0
    latency_ms: float = 0.0
    threshold: float | None = None
    dropped: int = 0
    divergence: Divergence | None = None

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
        """What `to_dict` gave."""
        divergence = values["divergence"]
        return cls(**{**values, "divergence": None if divergence is None else Divergence(**divergence)})
