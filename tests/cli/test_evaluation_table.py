from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hf_ttr.cli.evaluation_table import print_evaluation
from hf_ttr.evaluation import ClipRow, Evaluation, summarise
from hf_ttr.evaluation.summary import timing


SETTINGS: dict[str, Any] = {"mode": "bidirectional", "threshold": 0.1, "compute_budget": None, "reduction": []}
LABELS = {"cat": 0, "dog": 1}


def evaluation(*, with_dense: bool = True, label: str | None = "cat", kind: Any = "softmax", **changes: Any) -> Any:
    about = {
        "model": {"name": "some/model"},
        "dataset": {"name": "videos", "split": "test"},
        "protocol": {"num_clips": 2, "views": 1, "num_frames": 16, "frame_sampling_rate": 1},
        "compare_dense": with_dense,
    }
    row = ClipRow(
        0,
        "a.mp4",
        label,
        logits=[1.0, -1.0],
        dense_logits=[1.0, -2.0] if with_dense else None,
        computed_tokens=250,
        total_tokens=1000,
        multiply_adds=123_456_789_012,
        dense_multiply_adds=493_827_156_048,
        seconds=0.25,
        dense_seconds=0.75 if with_dense else None,
    )
    rows = [replace(row, number=number, **changes) for number in range(4)]
    return Evaluation(rows, summarise(rows, LABELS, about, kind), timing(rows, about, 1, 4, 8.0), "results")


def printed(done: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    print_evaluation(done, SETTINGS)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_dense_beside_reuse_with_units(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(evaluation(), capsys, monkeypatch)
    assert lines[0] == (
        "4 videos of videos, split test, 2 clips of 16 frames, model some/model, bidirectional reuse, threshold 0.1"
    )
    assert lines[2:11] == [
        "dense with reuse",
        "accuracy 100.0 % 100.0 % (51.0 to 100.0) +0.0 pt (-49.0 to +49.0)",
        "same top label 100.0 % (51.0 to 100.0)",
        "same among top 5 100.0 %",
        "KL divergence 0.0309 (0.0309 to 0.0309)",
        "error of logits 0.333 of their spread",
        "tokens computed 100 % 25.0 %",
        "multiply-adds 1.98 T 493.83 G 4.0x fewer",
        "model time 3.00 s 1.00 s 3.0x faster",
    ]
    # No keys of the JSON, and no number that nobody can read.
    text = "\n".join(lines)
    assert "_" not in text and "493827156048" not in text
    assert lines[-1] == "summary.json and clips.parquet are in results"


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"label": None}, "There is no accuracy, as 4 of 4 videos have no label (the first: a.mp4); put them into"),
        ({"label": "fish"}, "as the label 'fish' of 4 of 4 videos is none of the model's ('cat', 'dog'); name the"),
        ({"kind": "sigmoid"}, "The model gives each label a score of its own, so there is no accuracy;"),
    ],
    ids=["none", "unknown", "many"],
)
def test_why_there_is_no_accuracy(
    changes: dict[str, Any], reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(evaluation(**changes), capsys, monkeypatch)
    assert "accuracy none" in lines and reason in " ".join(lines)


def test_without_the_dense_model(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(evaluation(with_dense=False), capsys, monkeypatch)
    assert "with reuse" in lines and "model time 1.00 s" in lines and not any("KL" in line for line in lines)
    assert "The dense model was not run, so how alike the two answer was not measured." in lines
