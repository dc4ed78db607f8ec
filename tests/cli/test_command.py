"""What all commands share: help, examples, and modules of the user's own."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from hf_ttr.cli import COMMANDS, app
from hf_ttr.cli.options import BUILT_IN_REDUCTIONS
from hf_ttr.reduction.base import _METHODS


NAMES = [command.__name__ for command in COMMANDS]


@pytest.mark.parametrize("name", NAMES)
def test_help_says_what_is_meant(name: str) -> None:
    text = CliRunner(env={"COLUMNS": "80"}).invoke(app, [name, "-h"]).stdout
    assert max(map(len, text.splitlines())) <= 80
    # Values of options have names, and flags have no value.
    assert not re.findall(r"^  -.*<.*", text, re.MULTILINE)
    for option in get_command(app).commands[name].params:  # type: ignore[attr-defined]
        assert option.help and not option.help[0].islower() and option.help.endswith("."), option.name


@pytest.mark.parametrize("line", [example for _, example in COMMANDS.values()])
def test_examples_are_calls(line: str) -> None:
    program, name, *arguments = shlex.split(line)
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    assert program == "hf-ttr"
    assert command.make_context(name, arguments).params


def test_a_module_of_ones_own(runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    ran = "import pathlib; pathlib.Path(f'{__name__}.txt').write_text('ran')\n"
    (tmp_path / "of_mine.py").write_text(ran)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "by_path.py").write_text(ran)
    result = runner.invoke(app, ["env", "--json", "--import", "of_mine", "--import", "other/by_path.py"])
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "of_mine.txt").exists() and (tmp_path / "by_path.txt").exists()
    found = json.loads(result.stdout)
    assert {"hf-ttr", "Python", "torch", "transformers", "processor", "GPUs"} <= found.keys()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such", ["'no_such'", "no such module here", "the path of its file"]),
        ("no_such.py", ["'no_such.py'", "no such file"]),
        ("fails.py", ["'fails.py'", "cannot be imported (ZeroDivisionError: division by zero)"]),
        ("needs.py", ["'needs.py'", "ModuleNotFoundError", "not_installed"]),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(
    runner: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fails.py").write_text("1 / 0\n")
    (tmp_path / "needs.py").write_text("import not_installed\n")
    result = runner.invoke(app, ["env", "--import", name])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr


def test_built_in_reductions_are_those_that_are_there() -> None:
    own = {name for name, method in _METHODS.items() if method.__module__.startswith("hf_ttr.")}
    assert own == set(BUILT_IN_REDUCTIONS)


LIES = """
import dataclasses, torch
from hf_ttr.reduction import LayerReduction, RowChange, register_reduction

@register_reduction
@dataclasses.dataclass(frozen=True)
class Lies(LayerReduction):
    method = "lies"
    prunes = True

    def check(self, model):
        pass

    def removed(self, layer, count, initial, model):
        return 3

    def change(self, layer, sets, removed, observed, protected):
        return RowChange(torch.zeros(0, dtype=int), torch.zeros(0, dtype=int), torch.zeros(0, dtype=int))
"""


@pytest.mark.parametrize("command", ["classify", "evaluate"])
def test_a_method_that_does_not_keep_its_word_is_one_sentence(
    runner: CliRunner, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    # What it registers is forgotten behind the test.
    monkeypatch.setattr("hf_ttr.reduction.base._METHODS", dict(_METHODS))
    (tmp_path / "lies.py").write_text(LIES)
    (tmp_path / "videos" / "a").mkdir(parents=True)
    (tmp_path / "videos" / "a" / "clip.mp4").write_bytes((files / "clip.mp4").read_bytes())
    where = ["videos"] if command == "classify" else ["--dataset", "videos", "--out", "results"]
    options = ["--model", str(files / "vit"), "--import", "lies.py", "--reduction", "lies", "--num-frames", "4"]
    result = runner.invoke(app, [command, *where, *options])
    assert (result.exit_code, result.stdout) == (2, ""), result.exception
    assert result.stderr.startswith("Error: ")
    assert "eduction 'lies': change() of layer 0 removes 0 rows" in result.stderr
    assert result.stderr.count("\n") == 1
