"""Archives through Ray: the rows of one process, once each; stopped runs go on; others are refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPModel
from typer.testing import CliRunner

import hf_ttr.ray
from hf_ttr.archive import ArchiveOptions, LabelOptions, Workers, engine, run_archive
from hf_ttr.archive.engine import describe, started
from hf_ttr.archive.results import read_table
from hf_ttr.cli import app
from hf_ttr.evaluation import DataError
from hf_ttr.models.zero_shot import ZeroShotClassifier

from ..tiny_texts import LABELS, save_text_model
from .conftest import Archive


SAME = ("path", "labels", "scores", "frames", "multiply_adds", "computed_share", "error", "error_kind", "divergence")
OPTIONS = ArchiveOptions(verify=0.4, frame_sampling_rate=2)
MISSING = 3
"""Videos that a run has not come to when it ends."""


def told(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What rows say that does not depend on the day, in the order of their paths."""
    return [{name: row[name] for name in SAME} for row in sorted(rows, key=lambda row: row["path"])]


@pytest.fixture(scope="module")
def alone(archive: Archive) -> list[dict[str, Any]]:
    """The rows of one process without Ray."""
    classify = hf_ttr.ray.VideoClassifier(archive.model, verify=OPTIONS.verify, frame_sampling_rate=2)
    rows: list[dict[str, Any]] = classify({"path": archive.paths}).to_pylist()
    classify.close()
    return told(rows)


def test_rows_of_one_process(archive: Archive, alone: list[dict[str, Any]]) -> None:
    assert [row["path"] for row in alone] == sorted(archive.paths)
    broken = [row for row in alone if row["error"] is not None]
    assert {row["path"] for row in broken} == set(archive.paths[archive.good :])
    assert {row["error_kind"] for row in broken} == {"unreadable"}
    checked = [row for row in alone if row["divergence"] is not None]
    assert 0 < len(checked) < archive.good and all(row["frames"] == 5 for row in alone if row["error"] is None)


def test_other_columns_are_handed_on(archive: Archive) -> None:
    classify = hf_ttr.ray.VideoClassifier(archive.model, column="video", num_clips=2, num_frames=4)
    content = Path(archive.paths[0]).read_bytes()
    table = classify({"video": [archive.paths[0], archive.paths[1]], "camera": ["gate", "door"]})
    assert table.column("camera").to_pylist() == ["gate", "door"]
    assert table.column("path").to_pylist() == archive.paths[:2]
    of_bytes = classify({"video": [content], "path": ["in memory"]})
    assert of_bytes.column("path").to_pylist() == ["in memory"] and "video" not in of_bytes.column_names
    assert of_bytes.column("scores").to_pylist() == table.column("scores").to_pylist()[:1]
    with pytest.raises(ValueError, match=r"no column 'video'; the columns are path\. Pass column=\."):
        classify({"path": archive.paths[:1]})
    classify.close()


@pytest.fixture(scope="module")
def rowing(archive: Archive) -> Iterator[hf_ttr.ray.VideoClassifier]:
    """Gives a row for whatever it gets."""
    classify = hf_ttr.ray.VideoClassifier(archive.model, top_k=1)
    yield classify
    classify.close()


def test_columns_that_are_handed_on_stay_what_they_are(rowing: hf_ttr.ray.VideoClassifier) -> None:
    import pandas
    import pyarrow

    columns = {
        "small": pyarrow.array([1, None], pyarrow.int32()),
        "large": pyarrow.array([2**63 + 1, 1], pyarrow.uint64()),
        "exact": pyarrow.array([1, 2], pyarrow.timestamp("ns")),
        "missing": pyarrow.array([None, None], pyarrow.string()),
        "map": pyarrow.array([[("a", 1)], []], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
    }
    table = rowing(pyarrow.table({"path": ["x", "y"], **columns}))
    assert {name: table.column(name).combine_chunks() for name in columns} == columns
    moments = pandas.Series(pandas.to_datetime(["2024-01-01 10:00:00.123456789", None]))
    frame = pandas.DataFrame({"path": ["x", "y"], "exact": moments, "camera": ["gate", float("nan")]})
    table = rowing(frame)
    assert table.column("exact").cast(pyarrow.int64()).to_pylist() == [moments[0].value, None]
    assert table.column("camera").to_pylist() == ["gate", None]
    images = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    exact = np.array(["2024-01-01T00:00:00.123456789", "NaT"], "datetime64[ns]")
    table = rowing({"path": ["x", "y"], "images": images, "exact": exact, "folder": [Path("a"), None]})
    assert table.column("images").to_pylist() == images.tolist()
    assert table.column("images").type == pyarrow.list_(pyarrow.list_(pyarrow.float32(), 3), 2)
    assert table.column("exact").type == pyarrow.timestamp("ns") and table.column("exact").null_count == 1
    assert table.column("folder").to_pylist() == ["a", None]


@pytest.mark.parametrize("values", [[1, "a"], [2**70, 1], [object(), None], [1, b"a"]])
def test_a_column_that_cannot_be_handed_on_is_refused_before_the_model_runs(
    rowing: hf_ttr.ray.VideoClassifier, values: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowing, "worker", SimpleNamespace(task=rowing.worker.task))
    says = r"^the column 'odd' of the batch cannot be handed on \(.*\); leave it out with select_columns\.$"
    with pytest.raises(ValueError, match=says):
        rowing({"path": ["x", "y"], "odd": values})


def test_bytes_are_named_by_what_is_in_them_and_a_missing_path_is_a_row(
    archive: Archive, rowing: hf_ttr.ray.VideoClassifier
) -> None:
    import pandas

    content = Path(archive.paths[0]).read_bytes()
    name = f"sha256:{hashlib.sha256(content).hexdigest()[:16]}"
    table = rowing({"path": [archive.paths[0], content, bytearray(content), memoryview(content), None, float("nan")]})
    assert table.column("path").to_pylist() == [archive.paths[0], name, name, name, "", ""]
    assert len({str(labels) for labels in table.column("labels").to_pylist()[:4]}) == 1
    assert table.column("error_kind").to_pylist() == [None] * 4 + ["unreadable"] * 2
    assert table.column("error").to_pylist()[4] == (
        "The video has no path, as the column 'path' is empty there; add it, or leave the row out."
    )
    frame = pandas.DataFrame({"path": pandas.array([archive.paths[0], pandas.NA], "string")})
    assert rowing(frame).column("error_kind").to_pylist() == [None, "unreadable"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": 2}, "views is 2"),
        ({"verify": 1.5}, "verify is 1.5"),
        ({"pack": 0}, "pack is 0"),
        ({"decoders": 1.5}, "decoders is 1.5"),
        ({"time_limit": 0}, "time_limit is 0"),
        ({"limits": {"pixel": 1}}, "limits has no 'pixel'; there are pixels, frames"),
        ({"limits": {"pixels": 0}}, "the limit `pixels` is 0"),
        ({"num_clips": 0}, "num_clips is 0"),
        ({"frame_sampling_rate": 0}, "frame_sampling_rate"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ArchiveOptions(**options)


@pytest.fixture(scope="module")
def begun(archive: Archive, ray: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Any]]:
    """The folder of a run over most of the videos on two processes, and what it told of its progress."""
    told_of: list[tuple[int, int, int]] = []
    out = str(tmp_path_factory.mktemp("begun") / "out")
    paths, workers = archive.paths[MISSING:], Workers(2, batch_size=2)
    run: Callable[..., None] = run_archive
    run(paths, archive.model, out, OPTIONS, workers, progress=lambda *numbers: told_of.append(numbers))
    return out, told_of


def test_actors_give_the_same_rows(
    archive: Archive, begun: tuple[str, list[Any]], alone: list[dict[str, Any]]
) -> None:
    out, told_of = begun
    paths = archive.paths[MISSING:]
    assert told(read_table(out).to_pylist()) == [row for row in alone if row["path"] in paths]
    assert told_of[0] == (0, 0, len(paths)) and told_of[-1] == (len(paths), 2, len(paths))


def test_a_command_goes_on_where_a_run_was(
    archive: Archive, begun: tuple[str, list[Any]], alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    shutil.copytree(begun[0], out)
    before = {row["path"]: row["seconds"] for row in read_table(out).to_pylist() if row["error"] is None}
    with pytest.raises(DataError, match="--resume"):
        run_archive(archive.paths, archive.model, out, OPTIONS, Workers(1))
    other = replace(OPTIONS, verify=0.5)
    with pytest.raises(DataError, match="verify"):
        run_archive(archive.paths, archive.model, out, other, Workers(1), resume=True)
    listed = tmp_path / "videos.txt"
    listed.write_text("\n".join(archive.paths))
    command = ["archive", str(listed), archive.model, "--out", out, "--workers", "1", "--verify", "0.4"]
    runner = CliRunner(env={"COLUMNS": "120"})
    result = runner.invoke(app, [*command, "--frame-sampling-rate", "2", "--strict", "--resume"])
    assert result.exit_code == 1, result.output
    rows = read_table(out).to_pylist()
    assert told(rows) == alone
    assert {row["path"]: row["seconds"] for row in rows if row["path"] in before} == before
    again = runner.invoke(app, ["archive", "--report", out, "--json"])
    assert again.exit_code == 0, (again.output, again.exception)
    found = json.loads(again.stdout)
    assert found["videos"] == 9 and found["failed"] == 2
    for wrong, words in (
        (["archive", "--report", out, str(listed)], "leave out SOURCE"),
        (["archive", str(listed), archive.model], "--out is missing"),
        (["archive", str(tmp_path / "gone"), archive.model, "--out", out], "gone"),
        (command, "--resume"),
    ):
        result = runner.invoke(app, wrong)
        assert result.exit_code == 2 and words in result.stderr and result.stderr.count("\n") == 1, result.stderr


@pytest.mark.parametrize("limit", ["inf", "nan", "-1", "0", "1e308"])
def test_a_memory_limit_that_cannot_be(archive: Archive, tmp_path: Path, limit: str) -> None:
    command = ["archive", archive.folder, archive.model, "--out", str(tmp_path / "out"), f"--memory-limit={limit}"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and "must be a positive number of GiB" in result.stderr, result.exception
    assert result.stderr.count("\n") == 1


def test_labels_are_chosen_for_a_model_that_reads_them(archive: Archive, ray: Any, tmp_path: Path) -> None:
    model = save_text_model("clip", tmp_path / "clip")
    paths, template = archive.paths[:2], "{}"
    listed, out = tmp_path / "videos.txt", str(tmp_path / "out")
    listed.write_text("\n".join(paths))
    command = ["archive", str(listed), model, "--out", out, "--workers", "1", "--template", template, "--labels"]
    runner = CliRunner(env={"COLUMNS": "120"})
    result = runner.invoke(app, [*command, ",".join(LABELS)])
    assert result.exit_code == 0, result.output
    # What is saved with labels needs no text tower, and says the same of them.
    saved = str(tmp_path / "saved")
    hf_ttr.zero_shot(model, LABELS, template).save_pretrained(saved)
    hf_ttr.TemporalReuseVideoProcessor.from_pretrained(model).save_pretrained(saved)
    for name, chosen in ((model, {"candidate_labels": LABELS, "hypothesis_template": template}), (saved, {})):
        classify = hf_ttr.ray.VideoClassifier(name, **chosen)
        rows = told(classify({"path": paths}).to_pylist())
        classify.close()
        assert told(read_table(out).to_pylist()) == rows
        assert all(sorted(row["labels"]) == sorted(LABELS) and sum(row["scores"]) > 0.999 for row in rows)
    for labels, words in (
        ("a car,a bus", "with --labels ['a cat', 'A dog', 'an empty driveway'], and this one has ['a car', 'a bus']"),
        ("a cat", "--labels holds the label 'a cat' alone"),
    ):
        result = runner.invoke(app, [*command, labels, "--resume"])
        assert result.exit_code == 2 and words in result.stderr and result.stderr.count("\n") == 1, result.stderr
    with pytest.raises(ValueError, match="no text tower that could read others"):
        run_archive(paths, archive.model, str(tmp_path / "other"), OPTIONS, Workers(1), LabelOptions(3, LABELS))


def test_what_a_text_tower_computes_is_no_part_of_the_identity_but_its_weights_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, chosen = save_text_model("clip", tmp_path / "clip"), LabelOptions(candidate_labels=LABELS)
    about = describe(model, ArchiveOptions(), chosen)
    put = ZeroShotClassifier.put_labels
    with monkeypatch.context() as patch:
        patch.setattr(ZeroShotClassifier, "put_labels", lambda self, features: put(self, features * (1 + 1e-6)))
        assert describe(model, ArchiveOptions(), chosen) == about
    other = CLIPModel.from_pretrained(model)
    with torch.no_grad():
        other.text_projection.weight.mul_(2)
    other.save_pretrained(model)
    assert describe(model, ArchiveOptions(), chosen)["identity"]["weights"] != about["identity"]["weights"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_k": 0}, "top_k is 0"),
        ({"candidate_labels": ["a", "a"]}, "'a' is in candidate_labels more than once"),
        ({"candidate_labels": ["a"], "hypothesis_template": "x"}, "hypothesis_template is 'x'"),
    ],
)
def test_labels_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LabelOptions(**options)


def test_found_videos_become_features(archive: Archive, ray: Any) -> None:
    batch = hf_ttr.ray.find_videos(archive.folder).take_batch(100)
    assert sorted(batch["path"]) == sorted(archive.paths)
    embed = hf_ttr.ray.VideoEmbedder(archive.model, per_frame=True)
    rows = embed(batch).to_pylist()
    embed.close()
    assert [row["path"] for row in rows] == list(batch["path"])
    for row in rows:
        if row["error"] is None:
            assert len(row["embedding"]) == row["frames"] == 10 and len(row["embedding"][0]) == 32


def test_what_fails_where_ray_runs_is_said(
    archive: Archive, ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "describe", lambda *arguments: {"model": "gone"})
    gone = str(tmp_path / "gone")
    with pytest.raises(DataError) as caught:
        run_archive(archive.paths, gone, str(tmp_path / "out"), OPTIONS, Workers(1))
    assert f"model folder '{gone}' does not exist" in str(caught.value)
    assert "\\x1b" not in str(caught.value) and str(caught.value).endswith("with --resume.")


TRACEBACK = """\x1b[36mray::MapWorker(MapBatches(VideoClassifier)).submit()\x1b[39m (pid=1, ip=10.0.0.1)
  File "/somewhere/thread.py", line 58, in run
    result = self.fn()
             ^^^^^^^^^
OSError: first
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{TRACEBACK}\nThe above exception was its cause:\n\n{TRACEBACK.replace('first', 'last')}", "OSError: last"),
        (
            f"{TRACEBACK}more\n\n\x1b[36mray::x\x1b[39m\nray.exceptions.UserCodeException: UDF failed\nTo change,",
            "OSError: first",
        ),
        (f"{TRACEBACK}  File 'x', line 1\nray.exceptions.UserCodeException: UDF failed", "OSError: first"),
        ("\x1b[31mThe node died\x1b[39m.\n\tnode: 1\nIt was lost", "The node died"),
        ("", "OSError"),
    ],
)
def test_the_cause_is_found_in_what_ray_quotes(text: str, words: str) -> None:
    assert engine._cause(OSError(text)) == words


def test_ray_is_ones_own_that_of_a_job_or_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    ray = SimpleNamespace(
        is_initialized=lambda: False, init=lambda **options: asked.append(options), shutdown=lambda: None
    )
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for workers in (Workers(), Workers(64), Workers(address="10.0.0.1:6379")):
        with started(ray, workers):
            pass
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    with started(ray, Workers(64)):
        pass
    assert [options["address"] for options in asked] == ["local", "local", "10.0.0.1:6379", "10.0.0.2:6379"]
    assert [options.get("num_cpus") for options in asked] == [None, max(64, os.cpu_count() or 1), None, None]


def test_without_ray_it_says_what_to_install(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    result = CliRunner().invoke(app, ["archive", archive.folder, archive.model, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2 and "pip install 'ray[data]'" in result.stderr
    assert not (tmp_path / "out").exists()
