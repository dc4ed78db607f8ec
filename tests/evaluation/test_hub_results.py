from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from hf_ttr.evaluation.hub_results import write_hub_results


def summary(**metrics: Any) -> dict[str, Any]:
    return {
        "model": {"name": "me/model"},
        "dataset": {"name": "you/clips", "split": "test", "clips": 40},
        "metrics": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95}, "kl": 0.01, **metrics},
    }


@pytest.mark.parametrize("is_on_hub", [False, True], ids=["folder", "hub"])
def test_files(tmp_path: Path, is_on_hub: bool) -> None:
    write_hub_results(summary(dense_accuracy=None), str(tmp_path), is_on_hub)
    index = yaml.safe_load((tmp_path / "model-index.yaml").read_text())["model-index"]
    name, results = model_index_to_eval_results(index)
    assert name == "me/model"
    found = {
        result.metric_type: (result.metric_value, result.dataset_name, result.dataset_split) for result in results
    }
    assert found == {"accuracy": (0.9, "you/clips", "test"), "kl": (0.01, "you/clips", "test")}
    entries = list(tmp_path.glob(".eval_results/*"))
    assert [path.name for path in entries] == (["you--clips.yaml"] if is_on_hub else [])
    if is_on_hub:
        (entry,) = yaml.safe_load(entries[0].read_text())
        assert entry["dataset"]["id"] == "you/clips" and entry["value"] == 0.9


def test_without_accuracy_there_is_no_entry(tmp_path: Path) -> None:
    write_hub_results(summary(accuracy=None), str(tmp_path), is_on_hub=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model-index.yaml"]
