"""`hf-ttr card` on hostile files: every one is a sentence or a card, and nothing in it steers or leaks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hf_ttr.cli import app


NASTY = "\x1b[2J\u202e http://me:secret@host/x"
SUMMARY: dict[str, Any] = {
    "model": {"name": "m", "class": "TemporalReuseViTForVideoClassification"},
    "dataset": {"name": "d", "split": "test", "clips": 4},
    "protocol": {"num_frames": 8},
    "settings": {"mode": "bidirectional", "threshold": 0.1},
    "metrics": {"top1_agreement": {"value": 0.5, "low": 0.1, "high": 0.9}, "kl": 0.1, "computed_share": 0.3},
    "skipped": [],
    "scores": "softmax",
    "finished": True,
}


@pytest.fixture
def card(runner: CliRunner, files: Path, tmp_path: Path) -> Callable[..., Any]:
    """Runs the command on a copy of a model, with what is to be changed in its config, a summary and its times."""
    model = tmp_path / "model"
    shutil.copytree(files / "reuse", model)

    def run(config: dict[str, Any] | None = None, summary: Any = SUMMARY, timing: str | None = None) -> Any:
        path = model / "config.json"
        path.write_text(json.dumps({**json.loads((files / "reuse" / "config.json").read_text()), **(config or {})}))
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        (tmp_path / "timing.json").unlink(missing_ok=True)
        if timing is not None:
            (tmp_path / "timing.json").write_text(timing)
        arguments = ["card", str(model), "--out", str(tmp_path / "card.md"), "--overwrite"]
        found = runner.invoke(app, [*arguments, "--evaluation", str(tmp_path / "summary.json")])
        assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
        text = (tmp_path / "card.md").read_text() if found.exit_code == 0 else ""
        for what in ("\x1b", "\u202e", "secret"):
            assert what not in found.output and what not in text
        return found, text

    return run


def test_names_do_not_steer_or_leak(card: Callable[..., Any]) -> None:
    summary = {**SUMMARY, "model": {"name": NASTY}, "dataset": {"name": NASTY, "split": NASTY, "clips": 4}}
    found, text = card({"id2label": {"0": NASTY, "1": "x"}}, {**summary, "command": NASTY})
    assert found.exit_code == 0, found.output
    assert "http://host/x" in text and "\\u202e" in text


@pytest.mark.parametrize("value", [None, 0, [], {}, NASTY, [NASTY], 10**400, float("nan"), {"a": NASTY}])
@pytest.mark.parametrize("name", ["image_size", "num_attention_heads", "architectures", "model_type", "dtype"])
def test_any_config_is_a_card_or_a_sentence(card: Callable[..., Any], name: str, value: Any) -> None:
    found, _ = card({name: value})
    assert found.exit_code == 0 or found.stderr.startswith("Error: ")


@pytest.mark.parametrize(
    "timing", ["[]", "{}", '{"metrics": 5}', "[" * 100_000, "no json", '{"metrics": {"seconds": NaN}}']
)
def test_times_of_something_else_are_a_sentence(card: Callable[..., Any], timing: str) -> None:
    found, _ = card(timing=timing)
    assert found.exit_code == 2 and found.stderr.startswith("Error: ")


def test_agreement_of_labels_by_themselves_is_named(card: Callable[..., Any]) -> None:
    _, text = card(summary={**SUMMARY, "scores": "sigmoid"})
    assert "clips with the same labels above one half" in text and "first label |" not in text
