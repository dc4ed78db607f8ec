"""
Kills `hf-ttr stream` at random moments, resumes it until it is complete, and compares with an undisturbed run.

Then it opens and closes sources by the thousand, and watches what that leaves open. It prints figures, and fails where
something is lost, there twice, another, or left open. It forks, so it runs on Linux and macOS alone.

    python scripts/kill_streams.py --runs 20 --kills 3 --opens 5000
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import psutil
import torch

import hf_ttr
from hf_ttr import cli
from hf_ttr.streaming import FrameReader, SourceError, open_source


ASSETS = Path(hf_ttr.__file__).parent / "assets"
SOURCES = [f"a={ASSETS / 'demo.mp4'}", f"b={ASSETS / 'motion-demo.mp4'}", f"c={ASSETS / 'demo.mp4'}"]
SETTINGS = ["--model", str(ASSETS / "vit-demo"), "--window", "4", "--stride", "2", "--verify-every", "9"]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def start(out: Path, resume: bool) -> int:
    """Begins a run in a process of its own, which has everything imported."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        arguments = [*SOURCES, *SETTINGS, "--out", str(out), "--snapshot-every", "0.2", *(["--resume"] * resume)]
        cli.app(["stream", *arguments], prog_name="hf-ttr", standalone_mode=True)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    finally:
        os._exit(code)


def finished(pid: int) -> int:
    """Waits for a process; returns its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def results(out: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """The results of a file by stream and number; fails where one is there twice."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for line in out.read_text().splitlines():
        result = json.loads(line)
        key = (result["stream"], result["number"])
        assert key not in found, f"{key} is there twice"
        found[key] = result
    return found


def compare(got: dict[Any, Any], expected: dict[Any, Any]) -> float:
    """The largest difference of a score; fails where anything else differs."""
    assert got.keys() == expected.keys(), f"{expected.keys() - got.keys()} are lost"
    worst = 0.0
    for key, one in expected.items():
        other = got[key]
        for fact in ("first_frame", "last_frame", "start", "end", "computed_share", "multiply_adds", "threshold"):
            assert one[fact] == other[fact], f"{fact} of {key} is {other[fact]}, not {one[fact]}"
        scores = [{entry["label"]: entry["score"] for entry in each["labels"]} for each in (one, other)]
        assert one["labels"][0]["label"] == other["labels"][0]["label"], f"{key} has another label"
        assert (one["divergence"] is None) == (other["divergence"] is None), f"{key} lost a dense check"
        worst = max([worst, *(abs(score - scores[1].get(label, score)) for label, score in scores[0].items())])
    return worst


def kill(runs: int, kills: int, folder: Path, chance: random.Random) -> None:
    """Kills and resumes, and compares with a run that nobody disturbed."""
    began = time.monotonic()
    assert finished(start(folder / "whole.jsonl", False)) == 0
    seconds = time.monotonic() - began
    expected = results(folder / "whole.jsonl")
    worst, killed, of_signal = 0.0, 0, dict.fromkeys(SIGNALS, 0)
    for run in range(runs):
        out = folder / f"{run}.jsonl"
        for _ in range(kills):
            # Also while the model is being loaded, and before the first result.
            pid, how = start(out, out.exists()), chance.choice(SIGNALS)
            time.sleep(chance.uniform(0.1, seconds / (kills + 1)))
            os.kill(pid, how)
            code = finished(pid)
            if code == 0:  # it was complete by then
                assert results(out).keys() == expected.keys()
                continue
            assert code in (-how, 130) if how != signal.SIGKILL else code == -how, f"{how.name} ended with {code}"
            killed += 1
            of_signal[how] += 1
        assert finished(start(out, out.exists())) == 0
        worst = max(worst, compare(results(out), expected))
        left = [path.name for path in (folder / f"{run}.jsonl.snapshots").iterdir() if path.name.startswith(".")]
        assert not left, f"{left} were left behind"
    counts = ", ".join(f"{count} {how.name}" for how, count in of_signal.items())
    print(f"{runs} runs, {killed} kills ({counts}): {len(expected)} results each, none lost, none twice;")
    print(f"scores differ by {worst:.1e} at most.")


def open_and_close(count: int, folder: Path) -> None:
    """Opens and closes files, bytes, addresses and broken ones."""
    data = (ASSETS / "demo.mp4").read_bytes()
    broken = folder / "broken.mp4"
    broken.write_bytes(data[: len(data) // 3])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(OSError):  # the client has seen enough
                self.wfile.write(data[:20_000] if "broken" in self.path else data)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    cases = [str(ASSETS / "demo.mp4"), data, str(broken), data[:5000], f"{url}/a.mp4", f"{url}/broken.mp4", "/no/such"]
    process = psutil.Process()
    begin: tuple[int, int, int] | None = None
    for number in range(count):
        with suppress(SourceError), FrameReader(open_source(cases[number % len(cases)], timeout=5.0)) as reader:
            reader.get(timeout=0.02 if number % 3 else 0.0)
        if number == count // 10:
            begin = (process.num_fds(), threading.active_count(), process.memory_info().rss)
    server.shutdown()
    end_by = time.monotonic() + 10
    while threading.active_count() > 2 and time.monotonic() < end_by:
        time.sleep(0.05)
    assert begin is not None
    files, threads, resident = process.num_fds(), threading.active_count(), process.memory_info().rss
    print(f"{count} opens and closes: open files {begin[0]} to {files}, threads {begin[1]} to {threads},")
    print(f"resident memory {begin[2] / 2**20:.0f} to {resident / 2**20:.0f} MiB.")
    assert files <= begin[0] + 5 and resident < begin[2] * 1.3


def main() -> None:
    """Runs both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3, help="of each run")
    parser.add_argument("--opens", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if options.runs:
            kill(options.runs, options.kills, Path(folder), random.Random(options.seed))
        if options.opens:
            open_and_close(options.opens, Path(folder))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
