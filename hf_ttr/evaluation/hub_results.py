"""The figures of a run as the Hub reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..storage.files import replacing


MODEL_INDEX = "model-index.yaml"
EVAL_RESULTS = ".eval_results"
"""Folder of a repository where the Hub looks for evaluation results."""
TASK = "video-classification"
_METRICS = {
    "accuracy": "Accuracy with temporal token reuse",
    "dense_accuracy": "Accuracy of the dense model",
    "top1_agreement": "Same label as the dense model",
    "kl": "KL divergence from the dense model, nats",
    "multiply_add_ratio": "Times fewer multiply-adds than the dense model",
}


def model_index(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    What the entry `model-index` of a model card says of a run.

    Args:
        summary: see `summarise`.
    """
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    dataset, results = summary["dataset"], []
    titles = dict(_METRICS)
    if summary.get("scores") == "sigmoid":
        titles["top1_agreement"] = "Same labels as the dense model"
    for name, title in titles.items():
        value = summary["metrics"].get(name)
        if value is not None:
            results.append(
                EvalResult(
                    task_type=TASK,
                    dataset_type=dataset["name"],
                    dataset_name=dataset["name"],
                    dataset_split=dataset.get("split"),
                    metric_type="accuracy" if name == "accuracy" else name,
                    metric_name=title,
                    metric_value=value["value"] if isinstance(value, Mapping) else value,
                )
            )
    found: list[dict[str, Any]] = eval_results_to_model_index(summary["model"]["name"], results)
    return found


def write_hub_results(summary: Mapping[str, Any], folder: str, is_on_hub: bool) -> None:
    """
    Writes `model-index.yaml`, and for a data set of the Hub the accuracy as `.eval_results/*.yaml`.

    Args:
        summary: see `summarise`.
        folder: of the run.
        is_on_hub: whether the name of the data set is one of the Hub.

    Raises:
        OSError: if they cannot be written.
    """
    _write(os.path.join(folder, MODEL_INDEX), {"model-index": model_index(summary)})
    accuracy = summary["metrics"]["accuracy"]
    if not is_on_hub or accuracy is None:
        return
    notes = f"temporal token reuse with hf-ttr, {summary['dataset']['clips']} videos"
    if entries := accuracy_entries(summary["dataset"]["name"], TASK, accuracy["value"], notes):
        os.makedirs(os.path.join(folder, EVAL_RESULTS), exist_ok=True)
        name = summary["dataset"]["name"].replace("/", "--")
        _write(os.path.join(folder, EVAL_RESULTS, f"{name}.yaml"), entries)


def accuracy_entries(dataset_id: str, task_id: str, accuracy: float, notes: str) -> list[dict[str, Any]]:
    """
    An accuracy as a file in `.eval_results` holds it. Empty where the installed huggingface_hub is older, and knows
    the format of the model card alone.

    Args:
        dataset_id: of the data set on the Hub.
        task_id: which of its tasks.
        accuracy: the share of right answers.
        notes: what a reader should know of it.
    """
    try:
        from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    except ImportError:
        return []
    entry = EvalResultEntry(dataset_id=dataset_id, task_id=task_id, value=accuracy, notes=notes)
    entries: list[dict[str, Any]] = eval_result_entries_to_yaml([entry])
    return entries


def _write(path: str, content: Any) -> None:
    import yaml

    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        yaml.safe_dump(content, file, sort_keys=False, allow_unicode=True)
