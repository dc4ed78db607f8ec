"""How well the answers with reuse agree with those of the dense model."""

from typing import Any

import datasets
import evaluate
import numpy as np

from hf_ttr.answers.statistics import (
    kl_divergence,
    paired_difference_interval,
    relative_logit_error,
    same_top_label,
    top_k_agreement,
    wilson_interval,
)
from hf_ttr.metrics.inputs import OptionalInputs, check_same_classes, is_given, kind_of, matrix


_DESCRIPTION = """\
Compares the logits of a video classifier with temporal token reuse with those of the dense model on the same clips: \
whether the labels are the same, how far the scores are apart and, where the true labels are known, what reuse costs \
in accuracy.
"""

_CITATION = """\
@article{newcombe1998paired,
  title = {Improved confidence intervals for the difference between binomial proportions based on paired data},
  author = {Newcombe, Robert G.},
  journal = {Statistics in Medicine},
  volume = {17},
  number = {22},
  pages = {2635--2650},
  year = {1998}
}
@article{wilson1927probable,
  title = {Probable inference, the law of succession, and statistical inference},
  author = {Wilson, Edwin B.},
  journal = {Journal of the American Statistical Association},
  volume = {22},
  number = {158},
  pages = {209--212},
  year = {1927}
}
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (`list` of `list` of `float`): logits with reuse, one list per clip, one number per class (at least 2).
    references (`list` of `list` of `float`): logits of the dense model on the same clips.
    labels (`list` of `int`, *optional*): the true classes, counted from 0; for all clips or for none.
    problem_type (`str`, *optional*, of `compute` alone): that of the model's config. With
        "multi_label_classification" each label has a score of its own (sigmoid): the agreement is of the labels above
        one half, the divergence that of independent yes or no answers, summed over the labels. With "regression" there
        are numbers: no agreement, and half the squared distance in place of the divergence. Neither takes labels.
Returns:
    clips (`int`): how many there are.
    top_1_agreement (`float`): share of the clips that get the same label; of equal logits the first class counts.
    top_1_agreement_low, top_1_agreement_high (`float`): its 95 % confidence interval (Wilson's score interval).
    top_5_agreement (`float`): share of the dense model's best 5 classes that are among the best 5 with reuse, in any
        order, mean of the clips. With 5 classes or fewer it is 1.
    kl_divergence (`float`): Kullback-Leibler divergence of the scores (softmax of the logits) with reuse from the
        dense ones, in nats, mean of the clips.
    kl_divergence_p95 (`float`): its 95th percentile over the clips, interpolated linearly.
    relative_logit_error (`float`): mean absolute difference of the logits, divided by the spread of the dense ones:
        their standard deviation (population) over the classes of a clip, mean of the clips. `None` where that is 0.
    With labels also:
    accuracy, dense_accuracy (`float`): share of the clips that get the true label, with reuse and dense.
    accuracy_difference (`float`): the first minus the second; below 0 where reuse costs accuracy.
    accuracy_difference_low, accuracy_difference_high (`float`): its 95 % confidence interval, for two classifiers on
        the same clips: Newcombe's method 10 for paired proportions (square and add, with phi corrected).
    Both intervals take the clips for independent; cut out of a few videos, they are not, and the intervals too narrow.
Examples:
    >>> import hf_ttr
    >>> metric = hf_ttr.metrics.load("reuse_fidelity")
    >>> dense = [[4.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 0.5], [0.0, 0.0, 3.0]]
    >>> reuse = [[3.5, 1.0, 0.0], [0.0, 1.5, 1.6], [1.0, 0.0, 0.5], [0.0, 0.2, 2.8]]
    >>> results = metric.compute(predictions=reuse, references=dense)
    >>> results["top_1_agreement"]
    0.75
    >>> f"{results['top_1_agreement_low']:.2f} to {results['top_1_agreement_high']:.2f}"
    '0.30 to 0.95'
    >>> f"{results['kl_divergence']:.4f}"
    '0.0341'

    With labels, clip by clip:

    >>> for prediction, reference, label in zip(reuse, dense, [0, 1, 0, 2]):
    ...     metric.add(prediction=prediction, reference=reference, labels=label)
    >>> results = metric.compute()
    >>> results["accuracy"], results["dense_accuracy"], results["accuracy_difference"]
    (0.75, 1.0, -0.25)
    >>> f"{results['accuracy_difference_low']:.2f} to {results['accuracy_difference_high']:.2f}"
    '-0.70 to 0.28'
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ReuseFidelity(OptionalInputs, evaluate.Metric):
    """How well the answers with reuse agree with those of the dense model."""

    optional_inputs = {"labels": None}
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
                    "labels": datasets.Value("int64"),
                }
            ),
            license="Apache-2.0",
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[list[float]],
        labels: list[int | None],
        problem_type: str | None = None,
    ) -> dict[str, Any]:
        kind = kind_of(problem_type)
        columns = 2 if kind == "softmax" else 1
        reuse = matrix("predictions", predictions, least_columns=columns)
        dense = matrix("references", references, least_columns=columns)
        check_same_classes(reuse, dense)
        if kind != "softmax" and is_given("labels", labels):
            raise ValueError(
                f"labels are given, but with problem_type {problem_type!r} there is no one true class; leave them out."
            )
        same = same_top_label(dense, reuse, kind)
        interval = wilson_interval(int(same.sum()), len(same))
        divergence = kl_divergence(dense, reuse, kind)
        has_labels = kind != "none"
        results = {
            "clips": len(same),
            "top_1_agreement": float(same.mean()) if has_labels else None,
            "top_1_agreement_low": interval.low if has_labels else None,
            "top_1_agreement_high": interval.high if has_labels else None,
            "top_5_agreement": float(top_k_agreement(dense, reuse, k=5).mean()) if has_labels else None,
            "kl_divergence": float(divergence.mean()),
            "kl_divergence_p95": float(np.quantile(divergence, 0.95)),
            "relative_logit_error": relative_logit_error(dense, reuse),
        }
        return {**results, **_accuracies(dense, reuse, labels)} if is_given("labels", labels) else results


def _accuracies(dense: np.ndarray, reuse: np.ndarray, labels: list[int | None]) -> dict[str, float]:
    """The accuracies of both models and their difference."""
    truth = np.asarray(labels, dtype=np.int64)
    classes = dense.shape[1]
    if truth.min() < 0 or truth.max() >= classes:
        wrong = truth[(truth < 0) | (truth >= classes)][0]
        raise ValueError(f"labels hold {wrong}, but must be from 0 to {classes - 1}, as there are {classes} classes.")
    dense_right, reuse_right = (logits.argmax(-1) == truth for logits in (dense, reuse))
    interval = paired_difference_interval(
        both=int((reuse_right & dense_right).sum()),
        first_only=int((reuse_right & ~dense_right).sum()),
        second_only=int((~reuse_right & dense_right).sum()),
        neither=int((~reuse_right & ~dense_right).sum()),
    )
    return {
        "accuracy": float(reuse_right.mean()),
        "dense_accuracy": float(dense_right.mean()),
        "accuracy_difference": (int(reuse_right.sum()) - int(dense_right.sum())) / len(truth),
        "accuracy_difference_low": interval.low,
        "accuracy_difference_high": interval.high,
    }
