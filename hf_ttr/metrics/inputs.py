"""Inputs of metrics: some may be left out, and what does not fit is one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from hf_ttr.answers.scores import ScoreKind, score_kind


class OptionalInputs:
    """
    In front of `evaluate.Metric`, whose inputs are all required otherwise.

    Attributes:
        optional_inputs (`dict[str, Any]`): inputs that may be left out, with what an example then has in their place.
        settings (`tuple[str, ...]`): what `compute` takes beside inputs.
    """

    optional_inputs: ClassVar[dict[str, Any]] = {}
    settings: ClassVar[tuple[str, ...]] = ()

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, Any] | None:
        """Computes the metric of what was added and, if given, of these inputs."""
        settings = {name: kwargs.pop(name) for name in self.settings if name in kwargs}
        inputs = self._known({"predictions": predictions, "references": references, **kwargs})
        return super().compute(**inputs, **settings)  # type: ignore[misc]

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Adds examples, input by input."""
        batch = self._complete({"predictions": predictions, "references": references, **kwargs})
        lengths = {name: len(column) for name, column in batch.items() if column is not None}
        first, *others = lengths
        for other in others:
            if lengths[other] != lengths[first]:
                raise ValueError(
                    f"there are {lengths[first]} {first}, but {lengths[other]} {other}; pass as many of each."
                )
        fillings = {name: [filling] * lengths[first] for name, filling in self.optional_inputs.items()}
        given = {name: column for name, column in batch.items() if column is not None}
        with self._readable():
            super().add_batch(**{**fillings, **given})  # type: ignore[misc]

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Adds one example."""
        example = self._complete({"predictions": prediction, "references": reference, **kwargs})
        given = {name: value for name, value in example.items() if value is not None}
        example = {**self.optional_inputs, **given}
        # These two alone are called differently.
        prediction, reference = example.pop("predictions", None), example.pop("references", None)
        with self._readable():
            super().add(prediction=prediction, reference=reference, **example)  # type: ignore[misc]

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Says in one sentence that an input is of another type."""
        try:
            yield
        except (TypeError, ValueError) as error:
            # Without a writer it was not the input, but the file that examples are kept in.
            if self.writer is None:  # type: ignore[attr-defined]
                raise
            types = ", ".join(f"{name} as {feature}" for name, feature in self.features.items())  # type: ignore[attr-defined]
            raise ValueError(f"an input is of another type; pass {types}.") from error

    def _complete(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs of this metric, after a look at whether all that are required are there."""
        inputs = self._known(inputs)
        for name, value in inputs.items():
            if value is None and name not in self.optional_inputs:
                raise ValueError(f"the input {name} is missing; it is not optional.")
        return inputs

    def _known(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The inputs of this metric, `None` where nothing was given, after a look at whether there are others."""
        names = self._feature_names()  # type: ignore[attr-defined]
        for name, value in inputs.items():
            if name not in names and value is not None:
                raise ValueError(f"there is no input {name}; the inputs are {', '.join(names)}.")
        return {name: inputs.get(name) for name in names}


def matrix(name: str, rows: Sequence[Sequence[float] | None], least_columns: int = 1) -> np.ndarray:
    """
    Examples of one input as an array of shape `(examples, columns)`.

    Raises:
        ValueError: if there are none, they are of unlike length, too short, or hold what is no finite number.
    """
    if not rows:
        raise ValueError(f"{name} is empty; add at least one.")
    lengths = sorted({0 if row is None else len(row) for row in rows})
    if len(lengths) > 1:
        raise ValueError(f"{name} have from {lengths[0]} to {lengths[-1]} scores; pass one for every class in each.")
    if lengths[0] < least_columns:
        raise ValueError(f"{name} have {lengths[0]} scores each, but must have at least {least_columns}.")
    return _finite(name, rows)


def column(name: str, values: Sequence[float]) -> np.ndarray:
    """
    Examples of one input as an array of shape `(examples,)`.

    Raises:
        ValueError: if there are none, or one is no finite number.
    """
    if not values:
        raise ValueError(f"{name} is empty; add at least one.")
    return _finite(name, values)


def check_same_classes(predictions: np.ndarray, references: np.ndarray) -> None:
    """
    Looks at whether scores of shape `(examples, classes)` are of as many classes.

    Raises:
        ValueError: if they are not.
    """
    if predictions.shape != references.shape:
        raise ValueError(
            f"predictions have {predictions.shape[1]} scores each, but references {references.shape[1]}; pass those "
            "of the same classes."
        )


PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


def kind_of(problem_type: str | None) -> ScoreKind:
    """
    What turns the logits of a model of such a `problem_type` to scores.

    Raises:
        ValueError: if there is no such type.
    """
    if problem_type is not None and problem_type not in PROBLEM_TYPES:
        raise ValueError(f"problem_type is {problem_type!r}, but must be one of {', '.join(PROBLEM_TYPES)}.")
    return score_kind(problem_type)


def is_given(name: str, values: Sequence[Any]) -> bool:
    """
    Whether an optional input was given.

    Raises:
        ValueError: if it was given for some examples only.
    """
    given = [value is not None for value in values]
    if any(given) and not all(given):
        raise ValueError(f"{name} are given for {sum(given)} of {len(given)}; give them for all, or for none.")
    return any(given)


def _finite(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} hold a NaN or an infinite number; pass finite ones.")
    return array
