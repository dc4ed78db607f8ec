"""Processes that a command starts: whatever ends it, none of them is left two seconds later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest


ROOT = Path(__file__).resolve().parents[2]
# Under nohup, or in the background of a shell, it would be one that leaves these signals to others.
START = """
import signal, sys
signal.signal(getattr(signal, "SIGHUP", signal.SIGTERM), signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.cli.sleeper import processes
sys.exit(processes().launch('tests.cli.sleeper', sys.argv[1:], 2))
"""


def start(tmp_path: Path, failing: str = "none", stubborn: str = "gentle") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", START, str(tmp_path), failing, stubborn]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def workers(tmp_path: Path) -> list[psutil.Process]:
    """Those that were started, once all are there."""
    deadline = time.monotonic() + 120
    while len(found := list(tmp_path.glob("*.pid"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [psutil.Process(int(path.read_text())) for path in found]


def left(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that run even after some seconds."""
    gone, alive = psutil.wait_procs(processes, timeout=seconds)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="There are no such signals here.")
@pytest.mark.parametrize(
    ("number", "stubborn"),
    [("SIGTERM", "gentle"), ("SIGINT", "stubborn"), ("SIGHUP", "gentle"), ("SIGKILL", "stubborn")],
)
def test_a_signal_ends_all(tmp_path: Path, number: str, stubborn: str) -> None:
    process = start(tmp_path, stubborn=stubborn)
    started = workers(tmp_path)
    begin = time.monotonic()
    process.send_signal(getattr(signal, number))
    _, errors = process.communicate(timeout=60)
    assert left(started, 2.0) == []
    assert time.monotonic() - begin < 4  # two, and what a busy machine adds
    expected = 128 + getattr(signal, number)
    assert process.returncode == (-signal.SIGKILL if number == "SIGKILL" else expected)
    assert "Traceback" not in errors


def test_one_that_fails_ends_the_others(tmp_path: Path) -> None:
    process = start(tmp_path, failing="1")
    process.communicate(timeout=120)
    assert process.returncode == 3
    assert not any(psutil.pid_exists(int(path.read_text())) for path in tmp_path.glob("*.pid"))


def test_one_that_is_killed_is_named(tmp_path: Path) -> None:
    process = start(tmp_path)
    first, *others = workers(tmp_path)
    first.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL and left(others, 2.0) == []
    assert "Error: a process of the evaluation was ended (SIGKILL); what it did before is complete" in errors


def test_what_torchrun_started_ends_with_it(tmp_path: Path) -> None:
    # It gives each process a session of its own.
    code = (
        "import subprocess, sys, os; "
        "[subprocess.Popen([sys.executable, '-m', 'tests.cli.sleeper', *sys.argv[1:]], start_new_session=True,"
        " env={**os.environ, 'RANK': str(rank)}) for rank in range(2)]; import time; time.sleep(100)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), "none", "gentle"], cwd=ROOT, env=environment
    )
    started = workers(tmp_path)
    process.kill()
    process.wait()
    assert left(started, 2.0) == []
