"""What a command says before it begins to work, it says without loading torch or transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hf_ttr.cli import COMMANDS


# Each is run as the console script runs it; what it loaded, how it ended and what it printed come back as JSON.
RUN = """
import contextlib, io, json, sys
found = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["hf-ttr", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            from hf_ttr.cli import main
            main()
            code = 0
        except SystemExit as end:
            code = end.code
    loaded = [name for name in ("torch", "transformers", "numpy", "av") if name in sys.modules]
    found.append([code or 0, out.getvalue(), err.getvalue(), loaded])
print(json.dumps(found))
"""

NAMES = [command.__name__ for command in COMMANDS]
MODEL = ["--model", "/no/such/folder"]
WRONG = {
    "demo": [["--model", "bert"], ["--nothing"]],
    "classify": [
        [],
        ["clip.mp4"],
        ["clip.mp4", *MODEL],
        ["/no/such/clip.mp4", "--model", "vit"],
        ["clip.mp4", "--model", "example:nothing"],
        ["clip.mp4", "--model", "vit", "--threshold", "-1"],
        ["clip.mp4", "--model", "vit", "--threshold", "much"],
        ["clip.mp4", "--model", "vit", "--threshold", "1", "--budget", "0.5"],
        ["clip.mp4", "--model", "vit", "--mode", "sideways"],
        ["clip.mp4", "--model", "vit", "--reduction", "tome:8"],
        ["clip.mp4", "--model", "vit", "--reduction", "nothing:r=8"],
        ["clip.mp4", "--model", "vit", "--frame-sampling-rate", "x"],
        ["clip.mp4", "--model", "vit", "--num-frames", "0"],
        ["clip.mp4", "--model", "vit", "--dtype", "int8"],
        ["clip.mp4", "--model", "vit", "--labels", "a cat,a cat"],
        ["clip.mp4", "--model", "vit", "--labels", "@nothing.txt"],
        ["clip.mp4", "--model", "vit", "--template", "{}"],
        ["clip.mp4", "--model", "vit", "--import", "no_such_module"],
        ["empty", "--model", "vit"],
    ],
    "visualize": [["clip.mp4", "--model", "vit"], ["clip.mp4", *MODEL, "--out", "drawn"]],
    "stream": [["clip.mp4"], ["clip.mp4", "--model", "vit", "--mode", "causal"]],
    "watch": [[], ["missing.yaml"], ["clip.mp4"], ["empty"]],
    "evaluate": [
        ["--model", "vit"],
        ["--model", "vit", "--dataset", "d", "--out", "o", "--views", "2"],
        [*MODEL, "--dataset", "d", "--out", "o"],
        ["--model", "vit", "--dataset", "/no/such/folder", "--out", "o"],
    ],
    "archive": [
        [],
        ["empty"],
        ["empty", "vit"],
        ["empty", "/no/such/folder", "--out", "o"],
        ["empty", "vit", "--out", "o", "--threshold", "-1"],
        ["empty", "vit", "--out", "o", "--workers", "0"],
        ["empty", "--report", "o"],
    ],
    "calibrate": [
        [*MODEL, "--videos", "empty", "--out", "o"],
        ["--model", "vit"],
        ["--model", "vit", "--videos", "/no/such/folder", "--out", "o"],
    ],
    "card": [[], ["--nothing"], ["/no/such/folder"]],
    "convert": [["vit"], ["vit", "out", "--private"], ["vit", "out", "--threshold", "-1"], ["/no/such/folder", "out"]],
    "env": [["--nothing"]],
}


def run(many: list[list[str]], folder: Path) -> list[tuple[int, str, str, list[str]]]:
    """Exit codes, stdout, stderr and what was loaded, in a new interpreter."""
    result = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(many)], capture_output=True, text=True, cwd=folder, check=True
    )
    return json.loads(result.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_help_and_version(folder: Path) -> None:
    assert sorted(WRONG) == sorted(NAMES)
    asked = [["--version"], ["-h"], *([name, flag] for name in NAMES for flag in ("-h", "--help"))]
    for arguments, (code, out, err, loaded) in zip(asked, run(asked, folder)):
        assert (code, err, loaded) == (0, "", []), arguments
        assert out.startswith("hf-ttr 0" if arguments == ["--version"] else "Usage: hf-ttr")
        if len(arguments) == 2:
            assert f"Example: hf-ttr {arguments[0]}" in out and "--import MODULE" in out


def test_wrong_arguments(folder: Path) -> None:
    asked = [[name, *arguments] for name, many in WRONG.items() for arguments in many]
    for arguments, (code, out, err, loaded) in zip(asked, run(asked, folder)):
        assert code == 2 and "Error: " in err, (arguments, err)
        assert loaded == [], arguments
        assert out == "", arguments
    assert sorted(path.name for path in folder.iterdir()) == ["clip.mp4", "empty"]


def test_the_module_is_the_program(folder: Path) -> None:
    code = "import runpy, sys; sys.argv = ['hf_ttr', '--version']\n"
    code += "try: runpy.run_module('hf_ttr', run_name='__main__', alter_sys=True)\n"
    code += "except SystemExit: pass\nprint('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True)
    assert result.stdout.startswith("hf-ttr 0") and result.stdout.endswith("False\n")
