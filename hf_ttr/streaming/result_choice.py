"""Which results are written, and what of them: a camera for a night does not need all of every frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..checks import is_number
from .result import RESULT_FIELDS, StreamResult


@dataclass
class ResultChoice:
    """
    Chooses results of streams, each by itself, and fields of results. Without arguments it is all of everything.

    Args:
        every (`float`, *optional*): seconds of the stream from one result to the next.
        on_change (`bool`): whether to take those whose best label is another than that of the last one that was taken.
            With `every` as well, also one after so many seconds without a change.
        min_score (`float`, *optional*): takes none whose best score is lower.
        fields (`Sequence[str]`, *optional*): of `StreamResult`, or `"label"` and `"score"` of the best label; `stream`
            and `number` are always there.

    Raises:
        ValueError: if one is out of range; one sentence.

    Example:

    ```python
    >>> from hf_ttr.streaming import ResultChoice, StreamResult

    >>> choice = ResultChoice(on_change=True, fields=["end", "label"])
    >>> for number, label in enumerate(["road", "road", "car", "car"]):
    ...     result = StreamResult("gate", number, end=number / 25, labels=[{"label": label, "score": 0.9}])
    ...     if choice.takes(result):
    ...         print(choice.facts(result))
    {'stream': 'gate', 'number': 0, 'end': 0.0, 'label': 'road'}
    {'stream': 'gate', 'number': 2, 'end': 0.08, 'label': 'car'}
    ```
    """

    every: float | None = None
    on_change: bool = False
    min_score: float | None = None
    fields: Sequence[str] | None = None
    _last: dict[str, StreamResult] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.every is not None and not (is_number(self.every) and self.every > 0):
            raise ValueError(f"every is {self.every!r}, but must be a number of seconds above 0.")
        if self.min_score is not None and not is_number(self.min_score):
            raise ValueError(f"min_score is {self.min_score!r}, but must be a number.")
        if unknown := [name for name in self.fields or () if name not in RESULT_FIELDS]:
            raise ValueError(
                f"fields has {unknown[0]!r}, which no result has; the fields are {', '.join(RESULT_FIELDS)}."
            )

    @property
    def takes_all(self) -> bool:
        """Whether no result is left out."""
        return self.every is None and not self.on_change and self.min_score is None

    def go_on_from(self, last: Mapping[str, StreamResult]) -> None:
        """Takes up the last results that were taken before, of each stream, as far as they were written."""
        self._last.update(last)

    def takes(self, result: StreamResult) -> bool:
        """Whether a result is taken; to be asked once for each, in their order."""
        is_wanted = self.takes_all or self._is_wanted(result, self._last.get(result.stream))
        if is_wanted:
            self._last[result.stream] = result
        return is_wanted

    def _is_wanted(self, result: StreamResult, last: StreamResult | None) -> bool:
        if self.min_score is not None and not result.score >= self.min_score:
            return False
        if last is None or (self.every is None and not self.on_change):
            return True
        has_changed = self.on_change and (not last.labels or result.label != last.label)
        return has_changed or (self.every is not None and result.end - last.end >= self.every)

    def facts(self, result: StreamResult) -> dict[str, Any]:
        """What is written of a result, as JSON can hold it."""
        if self.fields is None:
            return result.to_dict()
        known = result.to_dict() | {"label": result.label, "score": result.score}
        return {name: known[name] for name in dict.fromkeys(("stream", "number", *self.fields))}
