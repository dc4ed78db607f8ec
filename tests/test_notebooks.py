"""The notebooks run from the first cell to the last, in any folder and without a network, and hold no outputs."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest


ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def code_of(notebook: Path) -> list[str]:
    """The cells of code, in their order."""
    content = json.loads(notebook.read_text())
    assert content["nbformat"] == 4 and content["metadata"]["kernelspec"]["language"] == "python"
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


def forbidden(*_: Any, **__: Any) -> None:
    raise AssertionError("a notebook that is offline reaches for the network, or starts a process")


def test_there_is_one() -> None:
    assert [notebook.name for notebook in NOTEBOOKS] == ["quickstart.ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(subprocess, "run", forbidden)
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for cell in code_of(notebook):
            exec(compile(cell, f"{notebook.name}", "exec"), names)
    text = printed.getvalue()
    assert (
        text.count("space shuttle") == 3 and "x fewer multiply-adds" in text and "computed in each frame: 100%" in text
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_clean(notebook: Path) -> None:
    cells = json.loads(notebook.read_text())["cells"]
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code"
    )
    assert len({cell["id"] for cell in cells}) == len(cells)
    # Colab begins with the cell that installs.
    assert "pip" in code_of(notebook)[0]
