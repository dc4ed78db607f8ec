"""What reuse saves: tokens, multiply-adds, time and memory."""

from typing import Any

import datasets
import evaluate
import numpy as np

from hf_ttr.metrics.inputs import OptionalInputs, column, is_given


_DESCRIPTION = """\
Tells what temporal token reuse saves against the dense model on the same clips: the share of the tokens that were \
computed, and how many times fewer multiply-adds, less time and less memory it took.
"""

_CITATION = """\
@software{hf_ttr,
  title = {hf-ttr: temporal token reuse for Hugging Face video transformers}
}
"""

_KWARGS_DESCRIPTION = """
An example is a call of the model, such as for a clip. The counts are those of the report in the output of a model.

Args:
    computed_tokens, total_tokens (`list` of `float`): tokens that were computed, and all tokens.
    multiply_adds, dense_multiply_adds (`list` of `float`): with reuse, and of the dense model.
    seconds, dense_seconds (`list` of `float`): how long it took with reuse, and the dense model, on the same machine.
    peak_memory, dense_peak_memory (`list` of `float`, *optional*): the largest memory in use, in bytes, with reuse and
        of the dense model; both or none, for all calls or for none.
Returns:
    computed_share (`float`): all computed tokens divided by all tokens.
    multiply_add_ratio (`float`): all multiply-adds of the dense model divided by all with reuse.
    speed_up (`float`): all seconds of the dense model divided by all with reuse: what the whole work gains.
    median_speed_up (`float`): median of the ratios of the calls: what a usual call gains.
    With memory also:
    memory_ratio (`float`): the largest peak of the dense model divided by the largest with reuse.
    All ratios are above 1 where reuse is cheaper.
Examples:
    >>> import hf_ttr
    >>> metric = hf_ttr.metrics.load("reuse_efficiency")
    >>> results = metric.compute(
    ...     computed_tokens=[40, 160],
    ...     total_tokens=[400, 400],
    ...     multiply_adds=[1e9, 3e9],
    ...     dense_multiply_adds=[8e9, 8e9],
    ...     seconds=[0.1, 0.3],
    ...     dense_seconds=[0.5, 0.5],
    ... )
    >>> results["computed_share"], results["multiply_add_ratio"], results["speed_up"]
    (0.25, 4.0, 2.5)
    >>> f"{results['median_speed_up']:.2f}"
    '3.33'
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ReuseEfficiency(OptionalInputs, evaluate.Metric):
    """What reuse saves: tokens, multiply-adds, time and memory."""

    optional_inputs = {"peak_memory": None, "dense_peak_memory": None}

    def _info(self) -> evaluate.MetricInfo:
        names = ("computed_tokens", "total_tokens", "multiply_adds", "dense_multiply_adds", "seconds", "dense_seconds")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {name: datasets.Value("float64") for name in (*names, "peak_memory", "dense_peak_memory")}
            ),
            license="Apache-2.0",
        )

    def _compute(self, **inputs: list[float]) -> dict[str, Any]:
        with_memory = [is_given(name, inputs[name]) for name in self.optional_inputs]
        if with_memory[0] != with_memory[1]:
            raise ValueError("peak_memory and dense_peak_memory belong together; give both, or none.")
        columns = {
            name: _above_zero(name, values)
            for name, values in inputs.items()
            if with_memory[0] or name not in self.optional_inputs
        }
        beyond = np.flatnonzero(columns["computed_tokens"] > columns["total_tokens"])
        if beyond.size:
            computed, total = (columns[name][beyond[0]] for name in ("computed_tokens", "total_tokens"))
            raise ValueError(f"computed_tokens hold {computed:g} where total_tokens hold {total:g}; swap the two.")
        speed_ups = columns["dense_seconds"] / columns["seconds"]
        results = {
            "computed_share": float(columns["computed_tokens"].sum() / columns["total_tokens"].sum()),
            "multiply_add_ratio": float(columns["dense_multiply_adds"].sum() / columns["multiply_adds"].sum()),
            "speed_up": float(columns["dense_seconds"].sum() / columns["seconds"].sum()),
            "median_speed_up": float(np.median(speed_ups)),
        }
        if with_memory[0]:
            results["memory_ratio"] = float(columns["dense_peak_memory"].max() / columns["peak_memory"].max())
        return results


def _above_zero(name: str, values: list[float]) -> np.ndarray:
    """An input as an array, after a look at whether it can be divided by; only computed tokens may be none."""
    array = column(name, values)
    if name == "computed_tokens":
        if (array < 0).any():
            raise ValueError(f"{name} hold {array.min():g}, but must be at least 0.")
    elif (array <= 0).any():
        raise ValueError(f"{name} hold {array.min():g}, but must be above 0.")
    return array
