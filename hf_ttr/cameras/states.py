"""From results to states: what several results in a row agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..answers.scores import ScoreKind
from ..streaming.result import StreamResult
from .events import StateChange, place_of


@dataclass
class Candidate:
    """
    A label that results in a row agree on, but not yet enough of them.

    Attributes:
        label: of all of them.
        results: how many there are.
        score, computed_share: sums over them.
        start, start_time, first_frame: of the first one.
    """

    label: str
    start: str
    start_time: float
    first_frame: int
    results: int = 0
    score: float = 0.0
    computed_share: float = 0.0

    def add(self, score: float, result: StreamResult) -> None:
        """Takes another result."""
        self.results += 1
        self.score += score
        self.computed_share += result.computed_share


class StateTracker:
    """
    The state of a camera, or of one of its zones.

    It changes when `agree` results in a row have the same best label, each with a score of at least `min_score`. A
    result with a lower score agrees with none. The first state is a change, too.

    Args:
        camera (`str`), zone (`str`, *optional*): of which.
        agree (`int`): results in a row.
        min_score (`float`): of each of them.
        labels (`Sequence[str]`, *optional*): that are meant, where the model has others as well.
        kind: what makes scores of logits. After a softmax, scores are those among the labels that are meant.

    Attributes:
        last (`StateChange`, *optional*): the change that led to the state; `None` before the first.
        results (`int`): number behind that of the last result that was seen.
    """

    def __init__(
        self,
        camera: str,
        zone: str | None = None,
        agree: int = 3,
        min_score: float = 0.5,
        labels: Sequence[str] | None = None,
        kind: ScoreKind = "softmax",
    ) -> None:
        self.camera, self.zone, self.agree, self.min_score = camera, zone, agree, min_score
        self.labels = None if labels is None else tuple(labels)
        self._kind = kind
        self.last: StateChange | None = None
        self.results = 0
        self._candidate: Candidate | None = None

    @property
    def place(self) -> str:
        """The name of its stream."""
        return place_of(self.camera, self.zone)

    @property
    def label(self) -> str | None:
        """The state; `None` before the first, or if that is not meant any more."""
        is_meant = self.last is not None and (self.labels is None or self.last.label in self.labels)
        return self.last.label if self.last is not None and is_meant else None

    def update(self, result: StreamResult, has_picture: bool = False) -> StateChange | None:
        """
        Takes the next result.

        Args:
            result: with all labels that are meant. One that was seen before is of no account.
            has_picture: of the change, if it is one.

        Returns:
            `StateChange`, *optional*: if the state has changed.
        """
        if result.number < self.results:
            return None
        self.results = result.number + 1
        label, score = self.best(result)
        if label is None or score < self.min_score or label == self.label:
            self._candidate = None
            return None
        if self._candidate is None or self._candidate.label != label:
            self._candidate = Candidate(label, result.arrived_at or "", result.start, result.first_frame)
        self._candidate.add(score, result)
        if self._candidate.results < self.agree:
            return None
        return self._change(self._candidate, result, has_picture)

    def best(self, result: StreamResult) -> tuple[str | None, float]:
        """The best label of a result with its score, among those that are meant; `None` if one of them is missing."""
        meant = [one for one in result.labels if self.labels is None or one["label"] in self.labels]
        if len(meant) < max(1, len(self.labels or ())):
            return None, 0.0
        total = sum(one["score"] for one in meant) if self.labels is not None and self._kind == "softmax" else 1.0
        return meant[0]["label"], meant[0]["score"] / total if total else 0.0

    def _change(self, candidate: Candidate, last: StreamResult, has_picture: bool) -> StateChange:
        change = StateChange(
            camera=self.camera,
            zone=self.zone,
            number=0 if self.last is None else self.last.number + 1,
            label=candidate.label,
            score=candidate.score / candidate.results,
            previous=self.label,
            previous_since=None if self.last is None or self.label is None else self.last.start,
            start=candidate.start,
            end=last.arrived_at or "",
            start_time=candidate.start_time,
            end_time=last.end,
            first_frame=candidate.first_frame,
            last_frame=last.last_frame,
            computed_share=candidate.computed_share / candidate.results,
            has_picture=has_picture,
        )
        self.last, self._candidate = change, None
        return change

    def to_dict(self) -> dict[str, Any]:
        """What `restore` takes, as JSON can hold it."""
        return {
            "last": None if self.last is None else self.last.to_dict(),
            "results": self.results,
            "candidate": None if self._candidate is None else asdict(self._candidate),
        }

    def begin_anew(self) -> None:
        """Results are numbered from 0 again; the state stays."""
        self.results, self._candidate = 0, None

    def restore(self, state: Mapping[str, Any]) -> None:
        """
        Goes on from a state of this place.

        Raises:
            ValueError: if it is no state.
        """
        try:
            candidate = state["candidate"]
            self._candidate = None if candidate is None else Candidate(**candidate)
            self.results = int(state["results"])
            self.last = None if state["last"] is None else StateChange.from_dict(state["last"])
        except (KeyError, TypeError) as error:
            raise ValueError("the state has other fields") from error
        if self.labels is not None and self._candidate is not None and self._candidate.label not in self.labels:
            self._candidate = None


__all__ = ["StateTracker"]
