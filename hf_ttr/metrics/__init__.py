"""
Metrics for the `evaluate` library: what reuse costs in fidelity and steadiness, and what it saves.

Each is a folder as the Hub has them; its script can be loaded by path as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


NAMES = ("prediction_stability", "reuse_efficiency", "reuse_fidelity")

__all__ = ["NAMES", "load"]


def load(name: str, **options: Any) -> Any:
    """
    Loads a metric of this package, without the network.

    Args:
        name (`str`): `"reuse_fidelity"`, `"prediction_stability"` or `"reuse_efficiency"`.
        options: as `evaluate.load` takes them, such as `keep_in_memory`, `num_process` and `process_id`.

    Returns:
        The `evaluate.Metric`. As long as nothing was added it is falsy; compare it with `None`.

    Raises:
        ValueError: if there is no such metric.
        ImportError: if `evaluate` is not installed.

    Example:

    ```python
    >>> import hf_ttr

    >>> metric = hf_ttr.metrics.load("reuse_fidelity")
    >>> result = metric.compute(predictions=[[2.0, 1.0], [0.0, 1.0]], references=[[3.0, 1.0], [1.0, 0.0]])
    >>> result["top_1_agreement"]
    0.5
    ```
    """
    if name not in NAMES:
        raise ValueError(f"there is no metric {name!r}; there are {', '.join(NAMES)}.")
    try:
        import evaluate
    except ImportError as error:
        raise ImportError("the metrics need the package evaluate; install it with `pip install evaluate`.") from error
    return evaluate.load(str(Path(__file__).parent / name), **options)
