"""How steady the answers over the time of streams are."""

from typing import Any

import datasets
import evaluate
import numpy as np

from hf_ttr.answers.scores import ScoreKind
from hf_ttr.metrics.inputs import OptionalInputs, check_same_classes, column, is_given, kind_of, matrix


_DESCRIPTION = """\
Tells how steady the answers for streams of video are: how often the label changes and how much the scores move per \
second. Against the scores of the dense model on the same frames or windows, it tells how much of that flicker comes \
from reuse.
"""

_CITATION = """\
@software{hf_ttr,
  title = {hf-ttr: temporal token reuse for Hugging Face video transformers}
}
"""

_KWARGS_DESCRIPTION = """
An example is a time step, that is a frame or a window, of a stream. Steps may come in any order and streams mixed.

Args:
    predictions (`list` of `list` of `float`): scores of each step, one number per class: probabilities, so that the
        total variation of a step is at most 1.
    timestamps (`list` of `float`): of each step, in seconds; no two alike in a stream.
    streams (`list` of `str`, *optional*): the name of the stream of each step; all one stream if left out.
    references (`list` of `list` of `float`, *optional*): scores of the dense model; for all steps or for none.
    problem_type (`str`, *optional*, of `compute` alone): that of the model's config. With
        "multi_label_classification" each label has a score of its own: the labels above one half, together, stand for
        the best class, and the total variation is that of each label's yes or no, summed over them. With "regression"
        there are numbers: what is of labels is `None`, and the total variation is the sum of the absolute differences.
Returns:
    streams (`int`): how many there are.
    seconds (`float`): how long they are together, from the first to the last step of each.
    label_changes_per_second (`float`): how often the best class (the first of equal ones) is another one than a step
        before, in all streams, divided by `seconds`.
    total_variation_per_second (`float`): the total variation distance of the scores of successive steps (half the sum
        of the absolute differences), added up over all streams, divided by `seconds`.
    most_frequent_label_share (`float`): share of the time in which a stream has the label that it has for longest. A
        label lasts from its step to the next; that of the last step of a stream has no time.
    With references also:
    dense_label_changes_per_second, dense_total_variation_per_second, dense_most_frequent_label_share (`float`): the
        same of the dense model.
    excess_label_changes_per_second, excess_total_variation_per_second (`float`): what is more than of the dense model;
        below 0 where reuse is steadier.
    What is divided by `seconds` is `None` where no stream has two steps.
Examples:
    >>> import hf_ttr
    >>> metric = hf_ttr.metrics.load("prediction_stability")
    >>> reuse = [[0.8, 0.2], [0.4, 0.6], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2]]
    >>> dense = [[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.7, 0.3]]
    >>> results = metric.compute(predictions=reuse, references=dense, timestamps=[0.0, 0.5, 1.0, 1.5, 2.0])
    >>> results["label_changes_per_second"], results["dense_label_changes_per_second"]
    (1.0, 0.0)
    >>> results["most_frequent_label_share"]
    0.75
    >>> f"{results['total_variation_per_second']:.2f}, {results['excess_total_variation_per_second']:.2f} in excess"
    '0.40, 0.35 in excess'

    While streams run:

    >>> for time in range(3):
    ...     metric.add(prediction=[0.9, 0.1], streams="gate", timestamps=time / 25)
    ...     metric.add(prediction=[0.3, 0.7], streams="door", timestamps=time / 10)
    >>> results = metric.compute()
    >>> results["streams"], round(results["seconds"], 2), results["label_changes_per_second"]
    (2, 0.28, 0.0)
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class PredictionStability(OptionalInputs, evaluate.Metric):
    """How steady the answers over the time of streams are."""

    optional_inputs = {"references": None, "streams": ""}
    settings = ("problem_type",)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Sequence(datasets.Value("float64")),
                    "streams": datasets.Value("string"),
                    "timestamps": datasets.Value("float64"),
                }
            ),
            license="Apache-2.0",
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[list[float] | None],
        streams: list[str],
        timestamps: list[float],
        problem_type: str | None = None,
    ) -> dict[str, Any]:
        kind = kind_of(problem_type)
        scores = matrix("predictions", predictions)
        order = _order(streams, column("timestamps", timestamps))
        seconds = float(sum(times[-1] - times[0] for _, times in order))
        results = _flicker(scores, order, seconds, kind)
        if is_given("references", references):
            dense = matrix("references", references)
            check_same_classes(scores, dense)
            of_dense = _flicker(dense, order, seconds, kind)
            results |= {f"dense_{name}": value for name, value in of_dense.items()}
            for name in ("label_changes_per_second", "total_variation_per_second"):
                value, dense_value = results[name], of_dense[name]
                results[f"excess_{name}"] = None if value is None or dense_value is None else value - dense_value
        return {"streams": len(order), "seconds": seconds, **results}


def _order(streams: list[str], timestamps: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The numbers of the steps of each stream in the order of time, and their timestamps."""
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(streams):
        numbers.setdefault(name, []).append(number)
    result = []
    for name, of_stream in numbers.items():
        steps = np.asarray(of_stream)
        steps = steps[np.argsort(timestamps[steps], kind="stable")]
        times = timestamps[steps]
        repeated = np.flatnonzero(np.diff(times) == 0)
        if repeated.size:
            stream = f"the stream {name!r} has" if name else "timestamps hold"
            raise ValueError(
                f"{stream} {times[repeated[0]]:g} s twice; give each time step of a stream a time of its own."
            )
        result.append((steps, times))
    return result


def _flicker(
    scores: np.ndarray, order: list[tuple[np.ndarray, np.ndarray]], seconds: float, kind: ScoreKind
) -> dict[str, float | None]:
    """How much scores of shape `(steps, classes)` change over time, in all streams."""
    changes, variation, longest = 0, 0.0, 0.0
    for steps, times in order:
        of_stream = scores[steps]
        labels = of_stream.argmax(-1)
        if kind == "sigmoid":
            # A number for each set of labels.
            labels = np.unique(of_stream > 0.5, axis=0, return_inverse=True)[1].reshape(-1)
        changes += int((labels[1:] != labels[:-1]).sum())
        variation += float(np.abs(np.diff(of_stream, axis=0)).sum() / (2 if kind == "softmax" else 1))
        longest += float(np.bincount(labels[:-1], np.diff(times), minlength=1).max())
    totals = {
        "label_changes_per_second": changes,
        "total_variation_per_second": variation,
        "most_frequent_label_share": longest,
    }
    found = {name: total / seconds if seconds else None for name, total in totals.items()}
    if kind == "none":
        found |= dict.fromkeys(("label_changes_per_second", "most_frequent_label_share"))
    return found
