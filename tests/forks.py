"""Processes in which the imports are done already: those of torch and transformers take seconds each time."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


ROOT = Path(__file__).resolve().parents[1]
# A fork goes on behind the loop, so that it ends as any interpreter does. Its parent is a process that waits for it.
SERVER = """
import gc, json, os, socket, sys
exec(sys.argv[1], {})
gc.freeze()
_server = socket.socket(fileno=int(sys.argv[2]))
_running = 0
while True:
    _data, _files, _, _ = socket.recv_fds(_server, 1 << 20, 4)
    while _running and os.waitpid(-1, os.WNOHANG)[0]:
        _running -= 1
    if not _data:
        os._exit(0)
    if os.fork():
        _running += 1
        for _file in _files:
            os.close(_file)
        continue
    _server.close()
    if _pid := os.fork():
        for _file in _files[:3]:
            os.close(_file)
        os.write(_files[3], b"%d\\n" % _pid)
        os.write(_files[3], b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(_pid, 0)[1]))
        os._exit(0)
    for _number, _file in enumerate(_files):
        if _number < 3:
            os.dup2(_file, _number)
        os.close(_file)
    _request = json.loads(_data)
    sys.argv = ["-c", *_request["arguments"]]
    for _number, _name in enumerate(("stdin", "stdout", "stderr")):
        _stream = open(
            _number,
            "w" if _number else "r",
            encoding=_request["encoding"],
            errors="backslashreplace" if _name == "stderr" else None,
            buffering=1 if _name == "stderr" else -1,
            closefd=False,
        )
        setattr(sys, _name, _stream)
        setattr(sys, f"__{_name}__", _stream)
    break
exec(compile(_request["code"], "<fork>", "exec"), {"__name__": "__main__"})
"""


class Fork:
    """A running process, with what is needed of `subprocess.Popen`."""

    def __init__(self, status: int, stdout: IO[str] | None, stderr: IO[str]) -> None:
        self.stdout, self.stderr = stdout, stderr
        self.returncode: int | None = None
        self._status = os.fdopen(status)
        self.pid = int(self._status.readline())

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        return self._end(0)

    def wait(self, timeout: float) -> int:
        if self._end(timeout) is None:
            os.kill(self.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired("fork", timeout)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What it writes until it ends."""
        texts: dict[Any, bytes] = {each: b"" for each in (self.stdout, self.stderr) if each and not each.closed}
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as ready:
            for each in texts:
                ready.register(each, selectors.EVENT_READ)
            while ready.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in ready.select(left):
                    data = os.read(key.fd, 1 << 16)
                    texts[key.fileobj] += data
                    if not data:
                        ready.unregister(key.fileobj)
        self.wait(max(deadline - time.monotonic(), 0.1))
        return texts.get(self.stdout, b"").decode(), texts.get(self.stderr, b"").decode()

    def _end(self, timeout: float) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as ready:
                ready.register(self._status, selectors.EVENT_READ)
                if ready.select(timeout):
                    self.returncode = int(self._status.readline())
                    self._status.close()
        return self.returncode


class Forks:
    """Starts processes that begin where the imports end."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server

    def start(self, code: str, *arguments: str, stdout: int | IO[Any] | None = None, encoding: str = "utf-8") -> Fork:
        """
        Runs `code` as `python -c` does; its input is empty, and its errors are read by `Fork.communicate`.

        Args:
            code (`str`): of a main module.
            arguments: in `sys.argv`.
            stdout (*optional*): a file, `subprocess.PIPE`, or nothing, with which it is that of these tests.
            encoding (`str`): of what it writes, as PYTHONIOENCODING says it.
        """
        errors, status = os.pipe(), os.pipe()
        output = os.pipe() if stdout == subprocess.PIPE else None
        with open(os.devnull) as nothing:
            where = output[1] if output else stdout.fileno() if hasattr(stdout, "fileno") else 1
            request = json.dumps({"code": code, "arguments": arguments, "encoding": encoding}).encode()
            socket.send_fds(self._server, [request], [nothing.fileno(), where, errors[1], status[1]])
        for file in (errors[1], status[1], *([output[1]] if output else [])):
            os.close(file)
        return Fork(status[0], os.fdopen(output[0]) if output else None, os.fdopen(errors[0]))


@contextmanager
def forks(imports: str, **environment: str) -> Iterator[Forks]:
    """
    For the time of a `with` block, a process that has done the imports, and is asked for others.

    Args:
        imports (`str`): Python code that starts no thread.
        environment: variables of all these processes.
    """
    mine, theirs = socket.socketpair()
    with mine:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", SERVER, imports, str(theirs.fileno())],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        yield Forks(mine)
    process.wait(60)
