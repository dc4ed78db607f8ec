"""`hf-ttr watch` as a process of its own, and what can be seen of it from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from .common import ROOT
from .rtsp_server import free_port


MIB = 2**20
LATENCY = "hf_ttr_latency_seconds_bucket"
Key = tuple[str, str, str]
"""Name of a sample, camera or destination, and upper bound of the bucket."""


@dataclass(frozen=True)
class Sample:
    """
    What the process of a service took at a moment.

    Attributes:
        at: when.
        pid: of the process.
        mib: memory that is resident.
        files: descriptors that are open.
        core_s: seconds of cores since it began.
        cameras: that it watches.
    """

    at: float
    pid: int
    mib: float
    files: int
    core_s: float
    cameras: int


class Service:
    """
    A service with settings that can be changed; it can be killed and started again.

    Args:
        folder: for settings and data.
        log: file for what it says.
        settings: of the whole, without cameras; metrics are added.
    """

    def __init__(self, folder: Path, log: Path, settings: Mapping[str, Any]) -> None:
        self._file, self._log = folder / "cameras.yaml", log
        self._port = free_port()
        self._settings = {"data": str(folder / "data"), "metrics": {"port": self._port}, **settings}
        self._cameras: Mapping[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")

    def write(self, cameras: Mapping[str, Any]) -> None:
        """Writes the settings with these cameras."""
        self._cameras = cameras
        temporary = self._file.with_suffix(".next")
        # YAML can read JSON.
        temporary.write_text(json.dumps({**self._settings, "cameras": cameras}, indent=1))
        temporary.replace(self._file)

    def start(self) -> None:
        """Starts it; it does not watch yet."""
        # As one thread of its own serves many cameras, what the caller has set must not matter.
        own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_", "HF_TTR_"))}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hf_ttr", "watch", str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**kept, **own},
            )

    def reload(self) -> None:
        """Lets it read its settings again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """Ends it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self, limit_s: float = 60.0) -> int:
        """Lets it end; returns its exit code."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(limit_s)
        self._process = None
        return code

    def look_alive(self) -> None:
        """
        Raises:
            RuntimeError: if it has ended by itself.
        """
        if self._process is not None and self._process.poll() is not None:
            last = self._log.read_text(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"the service ended with {self._process.returncode}: {' '.join(last)}")

    def scrape(self) -> dict[Key, float]:
        """What Prometheus would read; nothing while there is none to ask."""
        from prometheus_client.parser import text_string_to_metric_families

        try:
            with urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {(one.name, _of_whom(one.labels), one.labels.get("le", "")): one.value for one in samples}

    def sample(self) -> Sample | None:
        """What the process takes now; `None` while there is none."""
        import psutil

        if self._process is None:
            return None
        try:
            process = psutil.Process(self._process.pid)
            times = process.cpu_times()
            memory, files = process.memory_info().rss / MIB, process.num_fds()
        except psutil.Error:
            return None
        return Sample(time.time(), process.pid, memory, files, times.user + times.system, len(self._cameras))

    @property
    def complaints(self) -> list[str]:
        """Lines of its log that tell of an error."""
        lines = self._log.read_text(errors="replace").splitlines()
        return [line for line in lines if " ERROR " in line or line.startswith("Traceback")]


def _of_whom(labels: Mapping[str, str]) -> str:
    return labels.get("camera") or labels.get("destination", "")


class Totals:
    """
    Counters of a service over its restarts, added up as Prometheus does: one that is less than before began anew.

    Attributes:
        sums: by name and upper bound, over all cameras.
    """

    def __init__(self) -> None:
        self.sums: Counter[tuple[str, str]] = Counter()
        self._last: dict[Key, float] = {}

    def take(self, samples: Mapping[Key, float], counts: bool = True) -> None:
        """
        Takes a scrape.

        Args:
            samples: of it; an empty one is of no account.
            counts: whether what is new is added; else it is where counting begins.
        """
        for (name, whose, bound), value in samples.items():
            before = self._last.get((name, whose, bound), 0.0)
            if counts and name.endswith(("_total", "_bucket")):
                self.sums[name, bound] += value - before if value >= before else value  # type: ignore[assignment]
        if samples:
            self._last = dict(samples)

    def begin_anew(self) -> None:
        """The service is killed: the next one counts from 0."""
        self._last = {}

    def total(self, name: str) -> float:
        """What a counter has counted."""
        return self.sums[name, ""]

    @property
    def buckets(self) -> list[tuple[float, float]]:
        """Upper bounds of the histogram of latencies, in seconds, each with the results that are below."""
        return sorted((float(bound), count) for (name, bound), count in self.sums.items() if name == LATENCY)


def quantile(buckets: Iterable[tuple[float, float]], share: float) -> float | None:
    """
    What a share of the results of a histogram is below, as Prometheus estimates it: evenly spread in each bucket.

    Args:
        buckets: upper bounds in order, the last of them infinite, with the number of results below.
        share: from 0 to 1.

    Returns:
        The estimate, at most the largest finite bound; `None` of nothing.
    """
    found = list(buckets)
    total = found[-1][1] if found else 0
    if not total:
        return None
    low, below = 0.0, 0.0
    for bound, count in found:
        if count >= share * total and count > below:
            return low if bound == float("inf") else low + (bound - low) * (share * total - below) / (count - below)
        low, below = min(bound, low if bound == float("inf") else bound), count
    return low


def longest_life(samples: Iterable[Sample]) -> list[Sample]:
    """Those of the process that lived longest."""
    found: dict[int, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.pid, []).append(sample)
    return max(found.values(), key=len, default=[])


def gauges(samples: Mapping[Key, float], name: str) -> Iterator[float]:
    """The values of a gauge, of all cameras or destinations."""
    return (value for (found, _, _), value in samples.items() if found == name)
