"""Starts a command in several processes, of which none outlives the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer


GRACE = 1.0
"""Seconds that processes have to end by themselves once they are told to."""

_LAUNCHER = "HF_TTR_LAUNCHER"
_PAUSE = 0.05


class _Stopped(BaseException):
    """This process was told to end."""

    def __init__(self, number: int) -> None:
        self.number = number


def launch(module: str, arguments: Sequence[str], processes: int) -> int:
    """
    Runs a module in so many processes that can talk to each other, as `torchrun --standalone` does.

    What ends this process ends them: Ctrl-C, SIGTERM and SIGHUP at once, and SIGKILL as they watch it. Where one of
    them fails, the others are ended.

    Args:
        module: as `python -m` takes it.
        arguments: of each.
        processes: how many.

    Returns:
        `int`: the exit code: 0, the first other one of them, or 128 and the number of the signal that ended this
        process or one of them.
    """
    from torch.distributed import TCPStore

    # Where they find each other; its port is taken before they know of it.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)),
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        _LAUNCHER: str(os.getpid()),
    }
    started: list[subprocess.Popen[bytes]] = []
    with _stopping_on_signals():
        try:
            for rank in range(processes):
                place = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                with _keeping_interrupts():
                    started.append(
                        subprocess.Popen([sys.executable, "-m", module, *arguments], env={**environment, **place})
                    )
            return _wait(started)
        except _Stopped as stopped:
            return 128 + stopped.number
        finally:
            _end(started)


def _wait(started: list[subprocess.Popen[bytes]]) -> int:
    while True:
        codes = [process.poll() for process in started]
        for code in codes:
            if code:
                if code < 0:
                    typer.echo(
                        f"Error: a process of the evaluation was ended ({_signal_name(-code)}); what it did before is "
                        "complete: run the same command again to go on.",
                        err=True,
                    )
                return code if code > 0 else 128 - code
        if None not in codes:
            return 0
        time.sleep(_PAUSE)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    """Ends what still runs, gently at first."""
    for process in started:
        process.terminate()
    deadline = time.monotonic() + GRACE
    while any(process.poll() is None for process in started) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    for process in started:
        process.kill()
        process.wait()


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Within it, a signal to end is raised."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        # Once is enough: the end must not be interrupted.
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise _Stopped(number)

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # What is ignored, as by nohup, stays so.
    before = {
        number: handler for number in numbers if (handler := signal.getsignal(number)) not in (None, signal.SIG_IGN)
    }
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _keeping_interrupts() -> Iterator[None]:
    """Processes that are started within it leave Ctrl-C, which reaches all of a terminal, to this one."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """
    Ends this process soon after the one that started it has ended, in whatever way.

    torchrun and accelerate leave theirs behind where they are killed.
    """
    launcher = os.environ.get(_LAUNCHER, "")
    parent = int(launcher) if launcher.isdigit() else os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        # Not in the middle of a call of the system; files are cut behind their last whole line at the next start.
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


__all__ = ["end_with_parent", "launch"]
