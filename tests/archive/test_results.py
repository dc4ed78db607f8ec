"""The rows of an archive: each video has one, whatever stops its process, and only the same run goes on with them."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_ttr.archive import results as module
from hf_ttr.archive.results import ResultsFolder, about_of, read_rows, read_table
from hf_ttr.archive.row import ClassifiedVideo, EmbeddedVideo, VideoRow
from hf_ttr.evaluation import DataError

from ..forks import Forks, forks
from .rows import classified, failed, full_disk


pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed.")
parquet = pytest.importorskip("pyarrow.parquet")

ABOUT: dict[str, Any] = {"model": "vit", "fingerprint": "f1", "settings": {"threshold": 0.3, "mode": "causal"}}


def open_results(folder: Path, **changes: Any) -> ResultsFolder:
    return ResultsFolder(folder, **{"about": ABOUT, "kind": ClassifiedVideo, "resume": True, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of a.mp4 and b.mp4, and an error of c.mp4, in two parts."""
    folder = tmp_path / "results"
    with open_results(folder, resume=False) as results:
        results.add([classified("a.mp4"), failed("c.mp4")])
        results.flush()
        results.add([classified("b.mp4")])
    return folder


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "parts").iterdir())


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_in(folder: Path) -> list[tuple[str, str | None]]:
    """As the package reads them."""
    table = read_table(folder)
    return sorted(zip(table["path"].to_pylist(), table["error"].to_pylist()))


def rows_of_files(folder: Path) -> list[tuple[str, str | None]]:
    """As anybody reads them."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed.")
    frame = pandas.read_parquet(folder / "parts")
    return sorted((path, error if isinstance(error, str) else None) for path, error in zip(frame.path, frame.error))


BROKEN = "The video is broken."
ROWS = [("a.mp4", None), ("b.mp4", None), ("c.mp4", BROKEN)]


def test_rows_are_those_that_were_added(folder: Path) -> None:
    assert rows_in(folder) == rows_of_files(folder) == ROWS and parts(folder) == ["00000.parquet", "00001.parquet"]
    (row,) = read_table(folder).filter(pyarrow.compute.equal(read_table(folder)["path"], "a.mp4")).to_pylist()
    expected = vars(classified("a.mp4"))
    assert {**row, "labels": tuple(row["labels"]), "scores": tuple(row["scores"])} == {
        **expected,
        "computed_share": 0.25,
    }
    assert about_of(folder) == ABOUT
    assert read_table(folder, ["error"]).column_names == ["error"]
    first = parquet.ParquetFile(folder / "parts" / "00000.parquet")
    assert b'"threshold": 0.3' in first.schema_arrow.metadata[b"hf_ttr"]
    assert first.metadata.row_group(0).column(0).compression == "ZSTD"


def test_videos_with_errors_are_tried_again(folder: Path) -> None:
    with open_results(folder) as results:
        assert results.done == {"a.mp4", "b.mp4"}
        results.add([classified("c.mp4")])
    assert rows_in(folder) == rows_of_files(folder) == [*ROWS[:2], ("c.mp4", None)]
    with open_results(folder) as results:
        assert results.done == {"a.mp4", "b.mp4", "c.mp4"}


def test_a_video_that_came_twice_has_its_newer_row(folder: Path) -> None:
    with open_results(folder) as results:
        results.add([classified("d.mp4"), failed("d.mp4"), classified("d.mp4", frames=7)])
        results.add([failed("c.mp4", error="Still broken.")])
    assert rows_of_files(folder) == [*ROWS[:2], ("c.mp4", "Still broken."), ("d.mp4", None)]
    assert read_table(folder, ["path", "frames"]).to_pylist()[-2] == {"path": "d.mp4", "frames": 7}


def test_a_part_without_rows_that_count_is_removed(folder: Path) -> None:
    with open_results(folder) as results:
        results.add([classified("b.mp4", frames=9)])
    assert parts(folder) == ["00000.parquet", "00002.parquet"] and rows_of_files(folder) == ROWS
    with open_results(folder) as results:
        results.add([classified("e.mp4")])
    assert parts(folder)[-1] == "00003.parquet"


def test_parts_are_written_when_it_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "PART_ROWS", 3)
    with open_results(tmp_path / "results") as results:

        def add(*names: str) -> int:
            results.add([classified(name) for name in names])
            return len(parts(tmp_path / "results"))

        assert [add("a"), add("b"), add("c"), add("d")] == [0, 0, 1, 1]
        now[0] += 29
        assert add() == 1
        now[0] += 1
        assert add() == 2
        now[0] += 29
        assert add("e") == 2
        # Of large rows there are less in a part.
        monkeypatch.setattr(module, "PART_BYTES", 100)
        assert add("f") == 3
    assert [name for name, _ in rows_in(tmp_path / "results")] == ["a", "b", "c", "d", "e", "f"]


IMPORTS = "import pyarrow.parquet, hf_ttr.archive.results, tests.archive.rows"
KILLED = """
import json, os, sys
from hf_ttr.archive import parts as files
from hf_ttr.archive.results import ResultsFolder
from hf_ttr.archive.row import ClassifiedVideo
from tests.archive.rows import classified

results = ResultsFolder(sys.argv[1], json.loads(sys.argv[3]), ClassifiedVideo, resume=True)
results.add([classified("c.mp4"), classified("d.mp4")])
results.flush()
if sys.argv[2] == "while writing":
    write = files.write_table
    def write_half(path, table, **options):
        def replace(source, target):
            os.truncate(source, 100)
            os.kill(os.getpid(), 9)
        os.replace = replace
        write(path, table, **options)
    files.write_table = write_half
results.add([classified("e.mp4")])
if sys.argv[2] == "while closing":
    files._remove = files.write_part = lambda *arguments: os.kill(os.getpid(), 9)
    results._buffer.clear()  # what is in it would be written first
if sys.argv[2] != "between parts":
    results.close()
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def processes() -> Iterator[Forks]:
    with forks(IMPORTS) as started:
        yield started


@pytest.mark.parametrize("when", ["between parts", "while writing", "while closing"])
def test_a_process_that_is_killed(processes: Forks, folder: Path, when: str) -> None:
    process = processes.start(KILLED, str(folder), when, json.dumps(ABOUT))
    _, errors = process.communicate(60)
    assert process.returncode == -signal.SIGKILL, errors
    # The error of c.mp4 is still in its part, and nobody sees it.
    assert len(parquet.read_table(folder / "parts" / "00000.parquet")) == 2
    expected = [("a.mp4", None), ("b.mp4", None), ("c.mp4", None), ("d.mp4", None)]
    assert rows_in(folder) == expected
    with open_results(folder) as results:
        assert results.done == {"a.mp4", "b.mp4", "c.mp4", "d.mp4"}
        assert rows_of_files(folder) == expected
        results.add([classified("e.mp4")])
    assert rows_of_files(folder) == [*expected, ("e.mp4", None)]
    # What was half written is gone.
    assert all(name[0] != "." for name in parts(folder))


def test_results_are_read_while_they_are_written(folder: Path) -> None:
    with open_results(folder) as results:
        reading = read_rows(folder, ["path"])
        assert next(reading).to_pylist() == [{"path": "b.mp4"}]
        # The error moves out of the part that was not read yet.
        results.add([classified("c.mp4"), classified("a.mp4")])
        results.close()
        assert parts(folder) == ["00001.parquet", "00002.parquet"]
        rest = [row["path"] for table in reading for row in table.to_pylist()]
    assert rest == ["c.mp4", "a.mp4"]


def test_results_that_are_there_are_not_touched_without_resume(folder: Path) -> None:
    before = content(folder)
    with pytest.raises(DataError, match="holds results already; pass --resume to go on with them, or another folder"):
        open_results(folder, resume=False)
    assert content(folder) == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"about": {**ABOUT, "model": "deit"}}, "model 'vit', and this one has 'deit'"),
        (
            {"about": {**ABOUT, "settings": {"threshold": 0.5, "mode": "causal"}}},
            "settings.threshold 0.3, and this one has 0.5",
        ),
        ({"about": {**ABOUT, "cut": 8}}, "cut None, and this one has 8"),
        ({"kind": EmbeddedVideo}, "rows 'labels', and this one has 'embeddings'"),
        ({"kind": EmbeddedVideo, "per_frame": True}, "rows 'labels', and this one has 'embeddings of each frame'"),
    ],
)
def test_another_run_is_refused(folder: Path, changes: dict[str, Any], says: str) -> None:
    before = content(folder)
    with pytest.raises(DataError, match=f"holds the results of a run with {says}; pass the same, or another folder"):
        open_results(folder, **changes)
    assert content(folder) == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    for name, text in (("notes.txt", "mine"), ("archive.json", '{"my": "own"}'), ("archive.json", "[")):
        folder = tmp_path / "other"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        before = content(folder)
        for resume in (True, False):
            with pytest.raises(DataError, match="'.*other' is not empty, and holds no results of an archive"):
                open_results(folder, resume=resume)
        assert content(folder) == before
    with pytest.raises(DataError, match="holds no results of an archive"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        about_of(tmp_path / "nowhere")
    with pytest.raises(DataError, match="'s3://bucket/results'; pass a folder"):
        ResultsFolder("s3://bucket/results", ABOUT, ClassifiedVideo)


def test_one_process_at_a_time(folder: Path) -> None:
    with open_results(folder) as results:
        before = content(folder)
        with pytest.raises(DataError, match="is in use by another run; wait for it, or pass another"):
            open_results(folder)
        assert content(folder) == before
        results.add([classified("z.mp4")])
    open_results(folder).close()


def replace_part(folder: Path, table: Any) -> None:
    parquet.write_table(table, folder / "parts" / "00001.parquet")


def of_another_run(folder: Path) -> None:
    table = parquet.read_table(folder / "parts" / "00001.parquet")
    replace_part(folder, table.replace_schema_metadata({b"hf_ttr": b'{"model": "other"}'}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: os.truncate(folder / "parts" / "00001.parquet", 500), "cannot be read .*remove it to do its"),
        (lambda folder: os.truncate(folder / "parts" / "00001.parquet", 0), "cannot be read"),
        (lambda folder: replace_part(folder, pyarrow.table({"a": [1]})), "is of another run; move it"),
        (of_another_run, "is of another run"),
        (lambda folder: (folder / "parts" / "more.parquet").touch(), "'.*more.parquet' is none of the results; move"),
    ],
)
def test_parts_that_are_damaged_or_of_others(folder: Path, damage: Any, says: str) -> None:
    damage(folder)
    before = content(folder)
    for read in (read_table, open_results):
        with pytest.raises(DataError, match=says) as caught:
            read(folder)
        assert "\n" not in str(caught.value)
    assert content(folder) == before


FULL = (
    r"00002.parquet' cannot be written \(File too large\); what came before is complete: make room, .* with --resume"
)


def test_a_full_disk(folder: Path) -> None:
    before = content(folder)
    with open_results(folder) as results:
        results.add([classified("c.mp4"), classified("d.mp4")])
        with full_disk(), pytest.raises(DataError, match=FULL):
            results.flush()
        assert content(folder) == before and rows_in(folder) == ROWS
        # Room was made.
    assert rows_of_files(folder) == [*ROWS[:2], ("c.mp4", None), ("d.mp4", None)]


def test_what_went_wrong_first_is_said(folder: Path) -> None:
    before = content(folder)
    with full_disk(), pytest.raises(DataError, match=FULL), open_results(folder) as results:
        results.add([classified("d.mp4")])
    with full_disk(), pytest.raises(KeyboardInterrupt), open_results(folder) as results:
        results.add([classified("d.mp4")])
        raise KeyboardInterrupt
    assert content(folder) == before
    # What was done when it was interrupted is kept.
    with pytest.raises(KeyboardInterrupt), open_results(folder) as results:
        results.add([classified("d.mp4")])
        raise KeyboardInterrupt
    assert rows_of_files(folder) == [*ROWS, ("d.mp4", None)]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="'.*file/out' cannot be written .Not a directory."):
        open_results(tmp_path / "file" / "out")


@pytest.mark.parametrize("per_frame", [False, True])
def test_embeddings(tmp_path: Path, per_frame: bool) -> None:
    embedding: Any = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]] if per_frame else [1.0, 2.0]
    rows = [EmbeddedVideo("a.mp4", embedding=embedding), EmbeddedVideo("b.mp4", error="broken", error_kind="hung")]
    options: dict[str, Any] = {"kind": EmbeddedVideo, "per_frame": per_frame}
    with open_results(tmp_path, **options) as results:
        results.add(rows)
    assert read_table(tmp_path, ["embedding"])["embedding"].to_pylist() == [embedding, None]
    open_results(tmp_path, **options).close()


def test_a_run_without_rows_is_begun_anew(tmp_path: Path) -> None:
    open_results(tmp_path, resume=False).close()
    assert len(read_table(tmp_path)) == 0 and "labels" in read_table(tmp_path).column_names
    open_results(tmp_path, resume=False, about={"model": "deit"}, kind=VideoRow).close()
    assert about_of(tmp_path) == {"model": "deit"} and "labels" not in read_table(tmp_path).column_names


def test_text_that_is_no_unicode(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.mp4")
    with open_results(tmp_path) as results:
        results.add([classified(name, labels=("\ud800",), scores=(1.0,)), failed("b.mp4", error=f"{name} is broken.")])
    escaped = [("\\udcff.mp4", None), ("b.mp4", "\\udcff.mp4 is broken.")]
    assert rows_of_files(tmp_path) == escaped
    assert read_table(tmp_path)["labels"].to_pylist()[0] == ["\\ud800"]


def test_whatever_happens_each_video_has_its_newest_row_once(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for trial in range(20):
        folder, written, waiting = tmp_path / str(trial), {}, {}
        for _ in range(4):
            results = open_results(folder)
            assert results.done == {path for path, (error, _) in written.items() if error is None}
            for number in range(random.integers(5)):
                rows = [
                    (classified if random.random() < 0.6 else failed)(f"{name}.mp4", frames=100 * trial + number)
                    for name in random.integers(0, 8, random.integers(1, 4))
                ]
                results.add(rows)
                waiting |= {row.path: (row.error, row.frames) for row in rows}
                if random.random() < 0.5:
                    results.flush()
                    written |= waiting
                    waiting.clear()
            if random.random() < 0.5:
                results.close()
                written |= waiting
                table = parquet.read_table(folder / "parts").to_pylist() if parts(folder) else []
                assert len(table) == len(written)
            else:
                # As a process that is killed does.
                results.free()
            waiting.clear()
            found = read_table(folder, ["path", "error", "frames"]).to_pylist()
            assert len(found) == len(written)
            assert {row["path"]: (row["error"], row["frames"]) for row in found} == written


def test_files_are_named_so_that_their_order_is_that_of_writing(folder: Path) -> None:
    path = folder / "parts" / "00001.parquet"
    path.rename(folder / "parts" / "99999.parquet")
    with open_results(folder) as results:
        results.add([failed("b.mp4")])
    # By number and not by name.
    assert parts(folder) == ["00000.parquet", "100000.parquet"]
    assert re.search("b.mp4.*broken", str(rows_in(folder)))
