"""
Archives through Ray: that no row is lost or comes twice, whatever happens, and what the engine costs.

The first two parts are of an archive that is made here, whose clips are small and which a small trained model looks
at whole. The third is of a ViT-B with random weights on the real videos of static cameras: nothing is said of its
results.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import hf_ttr
from hf_ttr.archive import ClassifiedVideo, VideoClassifier, Workers
from hf_ttr.archive.engine import data_set, import_ray, started
from hf_ttr.archive.results import read_table
from hf_ttr.archive.row import to_table
from hf_ttr.evaluation import Protocol

from .archive_clips import Made, make_archive
from .common import random_vit, real_data
from .fidelity import videos
from .runner import Cell, Part
from .table import Block, Table


MIB = 2**20
VIDEOS, VIDEOS_OF_NODES, BROKEN = 2000, 600, 40
STEP = 8
"""Every how many frames one is looked at."""
OF_A_RUN = ("seconds", "decoding_seconds", "waiting_seconds", "dense_seconds")
"""Columns that differ from run to run."""

EAGER = (
    "import sys, hf_ttr.archive.results as results; results.PART_SECONDS = 1.0; "
    "from hf_ttr.cli import app; app(sys.argv[1:], prog_name='hf-ttr')"
)
"""The command with parts that are written every second, so that there is something to break off."""


def cells(quick: bool) -> Iterable[Cell]:
    """Every clip of an archive, on two processes and on one; and on three nodes that break down."""
    runs = {
        "two processes": (_rows, VIDEOS, BROKEN),
        "three nodes, one of them killed, then the driver": (_cluster, VIDEOS_OF_NODES, BROKEN // 2),
    }
    return [
        Cell(f"rows | {name}", partial(run, *sizes), {**dict(zip(("videos", "broken"), sizes)), "step": STEP})
        for name, (run, *sizes) in ((name, (run[0], 60, 10) if quick else run) for name, run in runs.items())
    ]


def _rows(count: int, broken: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        made = make_archive(Path(folder), count, broken)
        listed = _write_list(Path(folder), made.paths)
        with _traps(made):
            began = time.perf_counter()
            command = ["archive", listed, *_model(), "--out", f"{folder}/out", "--workers", "2", "--strict"]
            process = subprocess.Popen([sys.executable, "-m", "hf_ttr", *command], stdout=subprocess.DEVNULL)
            with _memory_of_actors(process.pid) as memory:
                code = process.wait()
            seconds = time.perf_counter() - began
        alone = _alone(made)
        rows = read_table(f"{folder}/out").to_pylist()
        errors = Counter(row["error_kind"] for row in rows if row["error"])
        named = {row["path"] for row in rows if row["error"] is not None}
        bad = {path for paths in made.broken.values() for path in paths}
        return {
            "videos": len(made.paths),
            "exit_code": code,
            "seconds": seconds,
            **_compared(rows, alone, made.paths),
            "errors": dict(errors),
            "broken": len(bad),
            "broken_without_error": len(bad - named),
            "good_with_error": len(named - bad),
            "actor_mib": memory,
        }


def _cluster(count: int, broken: int) -> dict[str, Any]:
    """Three nodes on this machine; one is killed in mid-run, then the driver, and the same command goes on."""
    ray = import_ray()
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory() as folder:
        made = make_archive(Path(folder), count, broken)
        listed = _write_list(Path(folder), made.paths)
        with _traps(made):
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
            nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
            try:
                command = [
                    *("archive", listed, *_model(), "--out", f"{folder}/out", "--workers", "3"),
                    *("--address", cluster.address),
                ]
                eager = [sys.executable, "-c", EAGER, *command]
                first = subprocess.Popen(eager, stdout=subprocess.DEVNULL)
                _wait_for_rows(f"{folder}/out", count // 4, first)
                cluster.remove_node(nodes[0], allow_graceful=False)
                seen = _wait_for_rows(f"{folder}/out", count // 2, first)
                first.send_signal(signal.SIGKILL)
                first.wait()
                last = subprocess.run([*eager, "--resume"], stdout=subprocess.DEVNULL)
            finally:
                cluster.shutdown()
            ray.shutdown()
        alone = _alone(made)
        rows = read_table(f"{folder}/out").to_pylist()
        return {
            "videos": len(made.paths),
            "rows_when_killed": seen,
            "exit_code": last.returncode,
            **_compared(rows, alone, made.paths),
        }


def _traps(made: Made) -> Any:
    """Lets the processes that are started meanwhile know of the files that hang and kill."""
    path = f"{made.hook}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return patch.dict(os.environ, {"PYTHONPATH": path})


def _alone(made: Made) -> list[dict[str, Any]]:
    """The rows of one process, without Ray."""
    # What a decoder imports is what this process would.
    sys.path.append(str(made.hook))
    try:
        classify = VideoClassifier(hf_ttr.example("vit-demo"), frame_sampling_rate=STEP, time_limit=10.0)
        rows: list[dict[str, Any]] = classify({"path": made.paths}).to_pylist()
        classify.close()
    finally:
        sys.path.remove(str(made.hook))
    return rows


def _compared(rows: list[dict[str, Any]], alone: list[dict[str, Any]], paths: Sequence[str]) -> dict[str, Any]:
    """How a table differs from that of one process."""
    found = Counter(row["path"] for row in rows)
    by_path = {row["path"]: row for row in rows}
    pairs = [(by_path[row["path"]], row) for row in alone if row["path"] in by_path]
    good = [(row, other) for row, other in pairs if row["error"] is None and other["error"] is None]
    return {
        "rows": len(rows),
        "lost": len(set(paths) - set(found)),
        "twice": sum(number > 1 for number in found.values()),
        "same_error": sum(row["error_kind"] == other["error_kind"] for row, other in pairs),
        "same_labels": sum(row["labels"][0] == other["labels"][0] for row, other in good),
        "same_multiply_adds": sum(row["multiply_adds"] == other["multiply_adds"] for row, other in good),
        "good": len(good),
        "largest_difference_of_scores": max(
            (abs(_score(row, label) - score) for row, other in good for label, score in _scores(other)), default=0.0
        ),
    }


def _scores(row: dict[str, Any]) -> Iterator[tuple[str, float]]:
    # The last of the best may be another one, where two are alike.
    return zip(row["labels"][:3], row["scores"])


def _score(row: dict[str, Any], label: str) -> float:
    return dict(zip(row["labels"], row["scores"])).get(label, math.inf)


def _model() -> list[str]:
    return [hf_ttr.example("vit-demo"), "--frame-sampling-rate", str(STEP), "--time-limit", "10"]


def _write_list(folder: Path, paths: Sequence[str]) -> str:
    path = folder / "videos.txt"
    path.write_text("".join(f"{path}\n" for path in paths))
    return str(path)


def _wait_for_rows(folder: str, count: int, process: subprocess.Popen[bytes]) -> int:
    """Waits until so many rows are written; returns how many there are."""
    while process.poll() is None:
        with_rows = list(Path(folder, "parts").glob("*.parquet"))
        found = read_table(folder).num_rows if with_rows else 0
        if found >= count:
            return found
        time.sleep(0.2)
    raise RuntimeError(f"the run ended with {process.returncode} before there were {count} rows")


@contextmanager
def _memory_of_actors(driver: int, every: float = 1.0) -> Iterator[dict[str, Any]]:
    """What the actors of a driver hold while it is open, in MiB: after a tenth of the time and so on, and at most."""
    import psutil

    found: dict[str, Any] = {}
    series: dict[int, list[float]] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(every):
            with suppress(psutil.Error):
                for process in psutil.Process(driver).children(recursive=True):
                    # One may have ended meanwhile.
                    with suppress(psutil.Error):
                        line = " ".join(process.cmdline())
                        if line.startswith("ray::") and "VideoClassifier" in line:
                            series.setdefault(process.pid, []).append(process.memory_info().rss / MIB)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
        longest = [values for values in series.values() if len(values) >= 10]
        found["after_a_tenth"] = [round(values[len(values) // 10]) for values in longest]
        found["at_half"] = [round(values[len(values) // 2]) for values in longest]
        found["at_the_end"] = [round(values[-1]) for values in longest]
        found["largest"] = [round(max(values)) for values in longest]


SPEED = {
    "a plain loop": (1, False, {}),
    "two plain loops at once": (2, False, {}),
    "one process of Ray": (1, True, {}),
    "one process of Ray, on one core": (1, True, {}),
    "two processes of Ray": (2, True, {}),
    "one process of Ray, dense": (1, True, {"mode": "off"}),
}
"""Processes, whether they are Ray's, and settings of reuse."""

ON_ONE_CORE = "one process of Ray, on one core"
"""Which shares that core with its decoder, as each of two has to on two cores."""

FRAMES, COPIES, BATCH = 16, 4, 5
BUDGET = 0.15
HOURS, VIDEO_FPS = 1000, 25
"""Of an archive whose cost is worked out."""


def speed_cells(quick: bool) -> Iterable[Cell]:
    """A cell for each way to go through the same videos."""
    copies = 1 if quick else COPIES
    settings = {"frames": FRAMES, "copies": copies, "budget": BUDGET}
    return [
        Cell(
            f"speed | {name}",
            partial(_speed, *way, "tiny" if quick else "base", copies, name == ON_ONE_CORE),
            settings,
        )
        for name, way in SPEED.items()
    ]


class TimedClassifier(VideoClassifier):
    """One whose rows say when their batch began and ended."""

    def __call__(self, batch: Any) -> Any:
        """See `VideoClassifier`."""
        torch.set_num_threads(1)
        began = time.time()
        table = super().__call__(batch)
        for name, moment in (("began", began), ("ended", time.time())):
            table = table.append_column(name, [[moment] * table.num_rows])
        return table


class ConfinedClassifier(TimedClassifier):
    """One that has a single core, together with its decoder."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        super().__init__(*args, **kwargs)


def _speed(
    count: int, through_ray: bool, reuse: dict[str, Any], size: str, copies: int, on_one_core: bool
) -> dict[str, Any]:
    names = videos(real_data() / "videos")["real"]
    with tempfile.TemporaryDirectory() as folder:
        random_vit(size).save_pretrained(f"{folder}/model")
        hf_ttr.TemporalReuseVideoProcessor(size={"height": 224, "width": 224}).save_pretrained(f"{folder}/model")
        paths = []
        for number, name in itertools.product(range(copies), names):
            link = Path(folder, f"{number} {Path(name).name}")
            link.symlink_to((real_data() / "videos" / name).resolve())
            paths.append(str(link))
        settings = reuse or {"compute_budget": BUDGET}
        run = partial(_ray, on_one_core=on_one_core) if through_ray else _loops
        rows = run(f"{folder}/model", paths, settings, count)
        broken = [row["error"] for row in rows if row["error"]]
        if broken:
            raise RuntimeError(broken[0])
        seconds = max(row["ended"] for row in rows) - min(row["began"] for row in rows)
        total = {name: sum(row[name] for row in rows) for name in (*OF_A_RUN[:3], "multiply_adds", "frames")}
        return {"videos": len(rows), "elapsed": seconds, "processes": count, **total}


def _loops(model: str, paths: Sequence[str], settings: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Plain loops side by side, each over its share of the videos."""
    if count == 1:
        return _loop(model, paths, settings)
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        shares = [paths[number::count] for number in range(count)]
        rows = pool.map(_loop, [model] * count, shares, [settings] * count)
        return list(itertools.chain.from_iterable(rows))


def _loop(model: str, paths: Sequence[str], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What one would write by hand: a video after the other, decoded and then classified."""
    classifier = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(model, temporal_reuse=settings).eval()
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(model)
    protocol, threads = Protocol(1, 1, FRAMES, 1), torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    try:
        for path in paths:
            began, clock = time.time(), time.perf_counter()
            pixels = protocol.pixel_values(processor, path)
            decoded = time.perf_counter()
            with torch.inference_mode():
                out = classifier(pixels)
                out.logits.tolist()
            spent = (time.perf_counter() - decoded, decoded - clock)
            row = ClassifiedVideo(
                path,
                frames=FRAMES,
                seconds=spent[0],
                decoding_seconds=spent[1],
                waiting_seconds=spent[1],
                multiply_adds=int(out.reuse.multiply_adds.sum()),
            )
            rows.append({**to_table([row], ClassifiedVideo).to_pylist()[0], "began": began, "ended": time.time()})
    finally:
        torch.set_num_threads(threads)
    return rows


def _ray(
    model: str, paths: Sequence[str], settings: dict[str, Any], count: int, on_one_core: bool
) -> list[dict[str, Any]]:
    ray = import_ray()
    options = {"num_clips": 1, "num_frames": FRAMES, "temporal_reuse": settings}
    with started(ray, Workers(count)):
        rows = data_set(paths, BATCH).map_batches(
            ConfinedClassifier if on_one_core else TimedClassifier,
            fn_constructor_args=(model,),
            fn_constructor_kwargs=options,
            batch_size=None,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=1,
        )
        found: list[dict[str, Any]] = rows.take_all()
        return found


def rows_table(result: dict[str, Any]) -> Block:
    """What became of every clip."""
    rows = []
    for row in result["rows"]:
        rows.append(
            (
                row["key"][1],
                f"{row['rows']:,} of {row['videos']:,}",
                str(row["lost"]),
                str(row["twice"]),
                f"{row['same_error']:,}",
                f"{row['same_labels']:,} of {row['good']:,}",
                f"{row['same_multiply_adds']:,} of {row['good']:,}",
                f"{row['largest_difference_of_scores']:.4f}",
            )
        )
    header = ("run", "rows", "lost", "twice", "same error", "same label", "same multiply-adds", "scores differ by")
    first = result["rows"][0]
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(first["errors"].items()))
    memory = first["actor_mib"]
    return [
        f"{first['videos']:,} clips of 1 to 20 seconds, {first['broken']} of them broken: against the rows of one "
        f"process. Broken clips without an error: {first['broken_without_error']}; others with one: "
        f"{first['good_with_error']}; errors: {kinds}. Memory of both processes in MiB, after a tenth of the time: "
        f"{_listed(memory['after_a_tenth'])}; after half of it: {_listed(memory['at_half'])}; at the end: "
        f"{_listed(memory['at_the_end'])}.",
        Table(header, rows),
    ]


def _listed(values: Sequence[int]) -> str:
    return " and ".join(f"{value:,}" for value in values)


def speed_table(result: dict[str, Any]) -> Block:
    """How fast each way is."""
    found = {row["key"][1]: row for row in result["rows"]}
    plain = found["a plain loop"]
    rows = [
        (
            name,
            f"{3600 * row['videos'] / row['elapsed']:,.0f}",
            f"{plain['elapsed'] / row['elapsed']:.2f}x",
            f"{row['waiting_seconds'] / row['elapsed'] / row['processes']:.1%}",
            f"{row['decoding_seconds'] / row['seconds']:.1%}",
            f"{HOURS * VIDEO_FPS * row['elapsed'] * row['processes'] / row['frames']:,.0f}",
        )
        for name, row in found.items()
    ]
    header = (
        "way",
        "videos an hour",
        "against the loop",
        "of the time waits for decoding",
        "decoding over model",
        "core hours",
    )
    return [
        f"ViT-B/16 with random weights, clips of {FRAMES} frames of {plain['videos']} videos of static cameras, "
        f"{BUDGET:.0%} of the tokens computed; each process has one thread for its model. Times are from the start of "
        "the first batch to the end of the last. Core hours are those of "
        f"{HOURS:,} hours of video with {VIDEO_FPS} frames a second, every frame of which is looked at: "
        f"{HOURS:,} x 3,600 x {VIDEO_FPS} frames, times the seconds of a frame, by 3,600.",
        Table(header, rows),
    ]


ROWS_PART = Part("archive", "archive_rows", cells, lambda quick: {"model": "example:vit-demo"})
SPEED_PART = Part("archive", "archive_speed", speed_cells, lambda quick: {"model": "ViT-B/16, random weights"})
