"""What the rows of an archive add up to, on the terminal and in a picture."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hf_ttr.answers.statistics import wilson_interval
from hf_ttr.archive.report import print_report, save_plots, summarise
from hf_ttr.archive.results import ResultsFolder
from hf_ttr.archive.row import ClassifiedVideo, EmbeddedVideo, VideoRow
from hf_ttr.archive.summary import DIVERGENCE_EDGES, Failure
from hf_ttr.cli import app
from hf_ttr.evaluation import DataError
from hf_ttr.storage.ownership import is_ours

from .rows import classified, failed, full_disk


pytest.importorskip("pyarrow", reason="pyarrow is not installed.")


def write(folder: Path, *rows: VideoRow, kind: type[VideoRow] = ClassifiedVideo) -> Path:
    """Results, of which the first row is in a part of its own."""
    with ResultsFolder(folder, {"model": "some/model"}, kind) as results:
        results.add(rows[:1])
        results.flush()
        results.add(rows[1:])
    return folder


ROWS = (
    classified("a.mp4", divergence=0.0, same_answer=True, dense_seconds=6.0),
    classified("b.mp4", divergence=0.5, same_answer=False, dense_seconds=6.0, labels=("dog",), scores=(1.0,)),
    classified("c.mp4", divergence=0.0002, same_answer=True, dense_seconds=6.0),
    classified("d.mp4", duration=None, seconds=100.0, computed_tokens=100),
    classified("e.mp4", computed_tokens=0, total_tokens=0, labels=(), scores=()),
    failed("f.mp4"),
    failed("g.mp4", "hung", "The video 'g.mp4' gave nothing for 120 s."),
    failed("h.mp4"),
)


def test_figures(tmp_path: Path) -> None:
    summary = summarise(write(tmp_path, *ROWS))
    assert (summary.videos, summary.failed, summary.frames) == (8, 3, 5 * 250)
    assert list(summary.failures) == ["unreadable", "hung"]
    assert summary.failures["hung"] == Failure(1, "g.mp4", "The video 'g.mp4' gave nothing for 120 s.")
    assert summary.failures["unreadable"] == Failure(2, "f.mp4", "The video is broken.")
    assert (summary.video_seconds, summary.unknown_lengths) == (40.0, 1)
    assert (summary.seconds, summary.decoding_seconds) == (108.0, 5.0)
    # Of the videos whose length is known alone.
    assert summary.times_real_time == 40.0 / 8.0
    assert summary.computed_share == 175 / 400
    assert (summary.multiply_adds, summary.dense_multiply_adds) == (150, 600)
    assert summary.labels == [("cat", 3), ("dog", 1)]
    assert sum(summary.share_counts) == 4 and summary.share_counts[5] == 3 and summary.share_counts[-1] == 1
    assert summary.about == {"model": "some/model"}


def test_checks(tmp_path: Path) -> None:
    checks = summarise(write(tmp_path, *ROWS)).checks
    assert checks is not None
    assert (checks.videos, checks.answers, checks.same_answers, checks.seconds) == (3, 3, 2, 18.0)
    assert checks.agreement == wilson_interval(2, 3)
    assert checks.mean_divergence == pytest.approx(0.5002 / 3)
    assert (checks.worst_divergence, checks.worst_path) == (0.5, "b.mp4")
    assert {DIVERGENCE_EDGES[number]: count for number, count in enumerate(checks.counts) if count} == {
        0.0: 1,
        0.0001: 1,
        0.3: 1,
    }


def test_a_divergence_that_is_no_number_is_the_worst(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [classified("a.mp4", divergence=float("nan"), same_answer=False), classified("b.mp4", divergence=5.0)]
    checks = summarise(write(tmp_path, *rows)).checks
    assert checks is not None and checks.worst_path == "a.mp4"
    # What is written as JSON has no other numbers.
    assert checks.mean_divergence is None and checks.worst_divergence is None
    assert "divergence no number worst no number: a.mp4" in printed(tmp_path, capsys, monkeypatch)
    assert checks.counts[-1] == 2 and checks.answers == 1


def test_a_check_that_gave_no_number_is_the_worst(tmp_path: Path) -> None:
    rows = [
        classified("a.mp4", dense_seconds=2.0),
        classified("b.mp4", divergence=0.5, same_answer=True, dense_seconds=1.0),
        classified("c.mp4"),
    ]
    checks = summarise(write(tmp_path, *rows)).checks
    assert checks is not None and (checks.videos, checks.answers, checks.seconds) == (2, 1, 3.0)
    assert (checks.worst_path, checks.worst_divergence, checks.mean_divergence) == ("a.mp4", None, None)
    assert checks.counts[-1] == 1 and sum(checks.counts) == 2


def test_sums_of_any_size(tmp_path: Path) -> None:
    most = 2**63 - 1
    rows = [classified(name, multiply_adds=most, dense_multiply_adds=most) for name in ("a.mp4", "b.mp4", "c.mp4")]
    summary = summarise(write(tmp_path, *rows))
    assert (summary.multiply_adds, summary.dense_multiply_adds) == (3 * most, 3 * most)


def test_embeddings_are_checked_without_answers(tmp_path: Path) -> None:
    rows = [EmbeddedVideo("a.mp4", divergence=0.25, dense_seconds=1.0, embedding=[1.0, 2.0])]
    summary = summarise(write(tmp_path, *rows, kind=EmbeddedVideo))
    assert summary.labels == [] and summary.computed_share is None and summary.times_real_time is None
    assert summary.checks is not None and summary.checks.agreement is None and summary.checks.mean_divergence == 0.25


def test_embeddings_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet

    write(tmp_path, EmbeddedVideo("a.mp4", embedding=[1.0, 2.0]), kind=EmbeddedVideo)
    read, asked = pyarrow.parquet.ParquetFile.read, []

    def spy(self: object, columns: list[str]) -> object:
        asked.append(columns)
        return read(self, columns=columns)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read", spy)
    summarise(tmp_path)
    assert len(asked) == 1 and "path" in asked[0] and "embedding" not in asked[0]


def test_a_video_counts_once_while_its_error_is_still_there(tmp_path: Path) -> None:
    write(tmp_path, failed("a.mp4"))
    results = ResultsFolder(tmp_path, {"model": "some/model"}, ClassifiedVideo, resume=True)
    results.add([classified("a.mp4")])
    results.flush()
    summary = summarise(tmp_path)
    assert (summary.videos, summary.failed) == (1, 0)
    results.close()
    assert summarise(tmp_path) == summary


def printed(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", "100")
    print_report(summarise(folder))
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "r", *ROWS)
    lines = printed(folder, capsys, monkeypatch)
    assert lines == [
        f"8 videos in {folder}, model some/model",
        "",
        "videos with a result 5 62 %",
        "frames 1,250",
        "length 40.0 s",
        "model time 1.8 min 5 h of video per hour",
        "decoding beside it 5.0 s",
        "tokens computed 43.8 %",
        "multiply-adds 150 4.0x fewer than 600",
        "dense checks 3 18.0 s of the dense model",
        "same answer 66.7 % (20.8 to 93.9)",
        "divergence 0.167 worst 0.5: b.mp4",
        "",
        "label videos",
        "cat 3 60 %",
        "dog 1 20 %",
        "",
        "error videos for example",
        "unreadable 2 f.mp4: The video is broken.",
        "hung 1 The video 'g.mp4' gave nothing for 120 s.",
        "",
        "The length of 1 video is not known, and not in the sum.",
        "Videos with an error are tried again with --resume.",
        "In brackets: 95 % interval over the videos that were checked.",
    ]


def test_names_of_others_are_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        classified("a.mp4", labels=("[bold]cat\x1b[2J",), scores=(1.0,)),
        failed("ftp://me:secret@host/b.mp4", error="[red]broken"),
    ]
    text = "\n".join(printed(write(tmp_path, *rows), capsys, monkeypatch))
    assert r"[bold]cat\x1b[2J" in text and "ftp://host/b.mp4: [red]broken" in text


def test_where_there_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printed(write(tmp_path / "r"), capsys, monkeypatch)[-1] == "There are no results yet."
    save_plots(summarise(tmp_path / "r"), tmp_path)
    assert printed(write(tmp_path / "e", failed("a.mp4")), capsys, monkeypatch)[2] == "videos with a result 0 0 %"
    with pytest.raises(DataError, match="does not exist"):
        summarise(tmp_path / "nowhere")


def test_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed.")
    import matplotlib.figure
    from PIL import Image

    figures = []
    save = matplotlib.figure.Figure.savefig

    def keep(self: matplotlib.figure.Figure, *arguments: object, **options: object) -> None:
        figures.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    summary = replace(summarise(write(tmp_path, *ROWS)), labels=[("cat", 3), ("$1 or $2\n", 1), ("走る" * 90, 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = save_plots(summary, tmp_path)
    assert path == str(tmp_path / "report.png") and is_ours(path)
    with Image.open(path) as picture:
        assert picture.size[0] > 1000
    labels, shares, divergences, failures = figures[0].axes
    assert [bar.get_width() for bar in labels.patches] == [3, 1, 1]
    assert [bar.get_height() for bar in shares.patches] == list(summary.share_counts)
    assert summary.checks is not None
    assert [bar.get_height() for bar in divergences.patches] == list(summary.checks.counts)
    assert [text.get_text() for text in divergences.get_xticklabels()][:3] == [
        "below 0.0001",
        "from 0.0001",
        "from 0.0003",
    ]
    assert [text.get_text() for text in failures.get_yticklabels()] == ["unreadable", "hung"]
    # The folder is still one of results.
    with ResultsFolder(tmp_path, {"model": "some/model"}, ClassifiedVideo, resume=True) as results:
        assert len(results.done) == 5


def test_a_picture_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed.")
    summary = summarise(write(tmp_path / "r", *ROWS))
    before = Path(save_plots(summary, tmp_path)).read_bytes()
    with full_disk(), pytest.raises(DataError, match="report.png' cannot be written .File too large"):
        save_plots(summary, tmp_path)
    assert (tmp_path / "report.png").read_bytes() == before
    with pytest.raises(DataError, match="cannot be written"):
        save_plots(summary, tmp_path / "nowhere")


def test_pictures_of_others_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed.")
    folder = write(tmp_path / "r", *ROWS)
    own = folder / "report.png"
    own.write_bytes(b"a picture of mine")
    result = CliRunner().invoke(app, ["archive", "--report", str(folder)])
    assert result.exit_code == 0 and "report.png' is there already, and was not made by hf-ttr" in result.stderr
    assert own.read_bytes() == b"a picture of mine"
    own.unlink()
    # One's own is replaced.
    assert save_plots(summarise(folder), folder) == save_plots(summarise(folder), folder) == str(own)


def test_json_has_no_passwords(tmp_path: Path) -> None:
    rows = [
        classified("rtsp://me:hunter2@host/a", divergence=0.5, same_answer=False, dense_seconds=1.0),
        failed("https://me:hunter2@host/b.mp4?token=hunter2", error="'https://me:hunter2@host/b.mp4' is not there."),
    ]
    result = CliRunner().invoke(app, ["archive", "--report", str(write(tmp_path / "r", *rows)), "--json"])
    assert result.exit_code == 0 and "hunter2" not in result.output
    found = json.loads(result.stdout)
    assert found["checks"]["worst_path"] == "rtsp://host/a"
    assert found["failures"]["unreadable"] == {
        "videos": 1,
        "path": "https://host/b.mp4?token=***",
        "error": "'https://host/b.mp4' is not there.",
    }
