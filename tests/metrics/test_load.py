"""Metrics are found by name and by path, without the network, and say what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import evaluate
import pytest

import hf_ttr

from .conftest import folder_of


ROOT = Path(__file__).parents[2]
DENSE = [[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]]
REUSE = [[1.0, 2.0, 0.0], [0.0, 1.0, 2.0]]


def test_names_are_the_folders():
    folders = [path.parent.name for path in folder_of("").glob("*/app.py")]
    assert sorted(folders) == list(hf_ttr.metrics.NAMES)


@pytest.mark.parametrize("name", hf_ttr.metrics.NAMES)
def test_load_by_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metric = hf_ttr.metrics.load(name)
    assert isinstance(metric, evaluate.Metric)
    assert metric.name == name
    assert metric.module_type == "metric"
    # What a reader trips over: it has no examples yet.
    assert metric is not None and not metric


@pytest.mark.parametrize("name", hf_ttr.metrics.NAMES)
def test_load_by_path(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    by_folder, by_file = (
        evaluate.load(path) for path in (f"hf_ttr/metrics/{name}", f"hf_ttr/metrics/{name}/{name}.py")
    )
    assert by_folder.name == by_file.name == name
    assert by_folder.features == hf_ttr.metrics.load(name).features


def test_options_reach_the_metric():
    metric = hf_ttr.metrics.load("reuse_fidelity", keep_in_memory=True, experiment_id="mine")
    assert (metric.keep_in_memory, metric.experiment_id) == (True, "mine")
    assert metric.compute(predictions=REUSE, references=DENSE)["top_1_agreement"] == 0.5


@pytest.mark.parametrize("name", ["accuracy", "", "../assets", None], ids=repr)
def test_unknown_name(name):
    with pytest.raises(ValueError) as caught:
        hf_ttr.metrics.load(name)
    names = "prediction_stability, reuse_efficiency, reuse_fidelity"
    assert str(caught.value) == f"there is no metric {name!r}; there are {names}."


def test_evaluate_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "evaluate", None)
    with pytest.raises(ImportError) as caught:
        hf_ttr.metrics.load("reuse_fidelity")
    message = str(caught.value)
    assert "pip install evaluate" in message and message.endswith(".") and "\n" not in message


def test_import_leaves_evaluate_and_datasets_alone():
    code = "import sys, hf_ttr; hf_ttr.metrics.load; print(*{'datasets', 'evaluate'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_combine_of_equal_inputs(metric):
    first, second = (hf_ttr.metrics.load("reuse_fidelity", keep_in_memory=True) for _ in range(2))
    expected = metric("reuse_fidelity").compute(predictions=REUSE, references=DENSE)
    combined = evaluate.combine({"clips": first, "again": second})
    assert combined.compute(predictions=REUSE, references=DENSE) == {
        f"{prefix}_{name}": value for prefix in ("clips", "again") for name, value in expected.items()
    }


def test_combine_of_other_inputs_example_by_example(metric):
    names = ("reuse_fidelity", "prediction_stability")
    combined = evaluate.combine([hf_ttr.metrics.load(name, keep_in_memory=True) for name in names])
    for time, (prediction, reference) in enumerate(zip(REUSE, DENSE)):
        combined.add(prediction, reference, labels=0, streams="a", timestamps=time)
    alone = [
        metric("reuse_fidelity").compute(predictions=REUSE, references=DENSE, labels=[0, 0]),
        metric("prediction_stability").compute(
            predictions=REUSE, references=DENSE, streams=["a", "a"], timestamps=[0, 1]
        ),
    ]
    assert combined.compute() == {**alone[0], **alone[1]}


def test_combine_of_other_inputs_at_once_is_one_sentence():
    names = ("reuse_fidelity", "prediction_stability")
    combined = evaluate.combine([hf_ttr.metrics.load(name, keep_in_memory=True) for name in names])
    with pytest.raises(ValueError, match=r"^there is no input timestamps; the inputs are [a-z, ]+\.$"):
        combined.compute(REUSE, DENSE, timestamps=[0.0, 1.0])


def test_save(metric, tmp_path):
    results = metric("reuse_fidelity").compute(predictions=REUSE, references=DENSE, labels=[0, 2])
    path = evaluate.save(tmp_path / "results.json", **results)
    saved = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert {name: saved[name] for name in results} == results


def test_two_at_a_time_do_not_mix():
    first, second = (hf_ttr.metrics.load("reuse_fidelity") for _ in range(2))
    for prediction, reference in zip(REUSE, DENSE):
        first.add(prediction=prediction, reference=reference)
        second.add(prediction=reference, reference=reference)
    assert second.compute()["top_1_agreement"] == 1
    assert first.compute()["top_1_agreement"] == 0.5


def test_a_fault_of_the_file_is_not_blamed_on_the_input(monkeypatch):
    metric = hf_ttr.metrics.load("reuse_fidelity")

    def fail(*args: object) -> None:
        raise ValueError("Cannot acquire lock")

    monkeypatch.setattr(metric, "_init_writer", fail)
    for add in (
        lambda: metric.add(prediction=REUSE[0], reference=DENSE[0]),
        lambda: metric.add_batch(predictions=REUSE, references=DENSE),
    ):
        with pytest.raises(ValueError, match="^Cannot acquire lock$"):
            add()
