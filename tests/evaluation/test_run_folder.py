"""Runs that are gone on with: only the same ones, each by one process, and whatever lies in the folder."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hf_ttr
from hf_ttr.evaluation import ClipRow, DataError, Evaluation, Protocol, RowFiles, Video, VideoDataset, evaluate
from hf_ttr.evaluation.run_folder import RunFolder

from ..tiny import tiny_parent
from .videos import make_folder, moving_square, write_video


pytest.importorskip("pyarrow", reason="pyarrow is not installed.")

VIDEOS = 4


def model(**changes: Any) -> Any:
    return hf_ttr.with_temporal_reuse(tiny_parent(**changes), {"threshold": 0.3}).eval()


def processor(**changes: Any) -> Any:
    return hf_ttr.TemporalReuseVideoProcessor(
        size={"height": 24, "width": 24}, do_center_crop=False, num_frames=8, **changes
    )


def dataset(folder: Path) -> VideoDataset:
    """As a folder is read, without the package datasets."""
    paths = sorted(folder.rglob("*.mp4"))
    videos = [
        Video(number, str(path.relative_to(folder)), {"path": str(path), "bytes": None}, path.parent.name)
        for number, path in enumerate(paths)
    ]
    return VideoDataset(str(folder), None, videos, len(videos))


def go(videos: Path, out: Path, classifier: Any = None, **options: Any) -> Evaluation:
    settings = {"processor": processor(), "protocol": Protocol(num_frames=8), "batch_size": 2, **options}
    done = evaluate(classifier or model(), dataset=dataset(videos), folder=out, **settings)
    assert done is not None
    return done


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


RESULTS = ("summary.json", "clips.parquet")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "videos", VIDEOS)


def add(videos: Path) -> None:
    write_video(videos / "LABEL_1" / "002b.mp4", moving_square(50))


def remove(videos: Path) -> None:
    (videos / "LABEL_1" / "001.mp4").unlink()


def replace(videos: Path) -> None:
    write_video(videos / "LABEL_1" / "001.mp4", moving_square(51, count=14))


def replace_by_as_many_bytes(videos: Path) -> None:
    path = videos / "LABEL_1" / "001.mp4"
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)


def move_to_another_class(videos: Path) -> None:
    (videos / "LABEL_1" / "001.mp4").rename(videos / "LABEL_0" / "001.mp4")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (add, "'LABEL_1/002b.mp4' was added to it"),
        (remove, "'LABEL_1/001.mp4' is no longer in it"),
        (replace, r"'LABEL_1/001.mp4' has \d+ bytes, and had \d+"),
        (replace_by_as_many_bytes, "'LABEL_1/001.mp4' is another file than when it was evaluated"),
        (move_to_another_class, "'LABEL_0/001.mp4' was added to it"),
    ],
)
@pytest.mark.parametrize("is_finished", [True, False], ids=["finished", "stopped"])
def test_other_videos_are_refused(
    videos: Path, tmp_path: Path, change: Callable[[Path], None], says: str, is_finished: bool
) -> None:
    out = tmp_path / "out"
    go(videos, out)
    if not is_finished:
        for name in (*RESULTS, "timing.json"):
            (out / name).unlink()
        rows = out / "rows" / "00000.jsonl"
        rows.write_bytes(b"".join(rows.read_bytes().splitlines(keepends=True)[:3]))
    before = content(out)
    change(videos)
    with pytest.raises(DataError, match=f"{says}.*; pass another folder to evaluate it as it is now"):
        go(videos, out)
    assert content(out) == before


def test_other_labels_and_another_order_are_refused(videos: Path, tmp_path: Path) -> None:
    listed = list(dataset(videos))

    def run(videos: list[Video]) -> None:
        data = VideoDataset("mine", None, videos)
        evaluate(model(), processor(), data, tmp_path / "out", Protocol(num_frames=8), batch_size=2)

    run(listed)
    other = [Video(video.number, video.name, video.source, "LABEL_1") for video in listed]
    with pytest.raises(DataError, match="'LABEL_0/000.mp4' has the label 'LABEL_1', and had 'LABEL_0'"):
        run(other)
    turned = [Video(number, *others) for number, (_, *others) in enumerate(map(vars_of, reversed(listed)))]
    with pytest.raises(DataError, match="its videos are in another order"):
        run(turned)


def vars_of(video: Video) -> tuple[Any, ...]:
    return video.number, video.name, video.source, video.label


def test_the_same_files_with_other_times_are_the_same(videos: Path, tmp_path: Path) -> None:
    go(videos, tmp_path / "out")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in RESULTS}
    for path in videos.rglob("*.mp4"):
        os.utime(path, (1, 1))
    go(videos, tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in RESULTS} == before


def test_another_model_or_processor_is_refused(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    go(videos, out)
    before = content(out)
    changed = model()
    with torch.no_grad():
        # In a place that nobody would look at, and with the same sum.
        changed.vit.layers[1].mlp.fc2.weight.data.flatten()[:2] = (
            changed.vit.layers[1].mlp.fc2.weight.data.flatten()[:2].flip(0)
        )
    others: list[tuple[str, dict[str, Any]]] = [
        ("identity.weights", {"classifier": changed}),
        ("identity.processor.image_mean", {"processor": processor(image_mean=[0.1, 0.2, 0.3])}),
        ("identity.dtype 'float32', and this one has 'bfloat16'", {"classifier": model().to(torch.bfloat16)}),
        ("protocol.num_frames 8, and this one has 6", {"protocol": Protocol(num_frames=6)}),
        ("compare_dense True", {"with_dense": False}),
    ]
    for name, value in (("id2label", {0: "a", 1: "b"}), ("problem_type", "multi_label_classification")):
        other = model()
        setattr(other.config, name, value)
        others.append((f"identity.config.{name}", {"classifier": other}))
    for says, options in others:
        with pytest.raises(DataError, match=f"holds a run with {says}"):
            go(videos, out, **options)
    assert content(out) == before


def test_a_video_that_failed_is_tried_again(videos: Path, tmp_path: Path) -> None:
    away = tmp_path / "away.mp4"
    lost = videos / "LABEL_1" / "001.mp4"
    at_once = go(videos, tmp_path / "at once")
    lost.rename(away)
    lost.symlink_to(tmp_path / "nowhere.mp4")
    first = go(videos, tmp_path / "out")
    assert [row.video for row in first.broken] == ["LABEL_1/001.mp4"]
    again = go(videos, tmp_path / "out")
    assert len(again.broken) == 1 and len(RowFiles(str(tmp_path / "out"), 0).read()) == VIDEOS
    # The same fault is not written again.
    assert len((tmp_path / "out" / "rows" / "00000.jsonl").read_text().splitlines()) == VIDEOS
    away.rename(lost)
    done = go(videos, tmp_path / "out")
    assert not done.broken and done.summary == at_once.summary


def test_a_folder_is_taken_by_one_at_a_time(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    go(videos, out)
    about = json.loads((out / "run.json").read_text())
    before = content(out)
    with RunFolder(str(out), about, None, 5), pytest.raises(DataError, match="is in use by another evaluation"):
        go(videos, out)
    assert content(out) == before
    go(videos, out)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("run.json", "[]", "is not empty, and holds no run"),
        ("run.json", '{"my": "own"}', "is not empty, and holds no run"),
        ("run.json", "[" * 100_000, "is not empty, and holds no run"),
        ("run.json", "\xff", "is not empty, and holds no run"),
        ("videos.json", "5", "is no list of the videos"),
        ("videos.json", '[[1, 2, 3], ["a"]]', "is no list of the videos"),
        ("videos.json", '[["a.mp4", "b", 3]]', "was added to it"),
    ],
)
def test_a_folder_of_something_else_is_refused(videos: Path, tmp_path: Path, name: str, text: str, says: str) -> None:
    out = tmp_path / "out"
    go(videos, out)
    (out / name).write_text(text, encoding="latin-1")
    before = content(out)
    with pytest.raises(DataError, match=says):
        go(videos, out)
    assert content(out) == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"number": "0"}, "its 'number' is '0'"),
        ({"number": 10**40}, "its 'number' is"),
        ({"number": 9}, "is of no video of this data set"),
        ({"number": 1}, "video 1 is 'LABEL_0/002.mp4', and was 'LABEL_0/000.mp4'"),
        ({"label": "LABEL_1"}, "has another label"),
        ({"logits": [1.0, float("nan")]}, "its 'logits' is"),
        ({"logits": [1.0, 1e300]}, "its 'logits' is"),
        ({"logits": [1.0]}, "its 'dense_logits' do not fit"),
        ({"logits": [0.0] * 9, "dense_logits": [0.0] * 9}, "is of another model"),
        ({"dense_logits": None}, "is of another model"),
        ({"multiply_adds": -1}, "its 'multiply_adds' is -1"),
        ({"video": "\udc80"}, "its 'video' is"),
        ({"error": "broken"}, "logits or an error"),
        ({"more": 1}, "it has more entries"),
    ],
)
def test_crafted_rows_are_refused(videos: Path, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    out = tmp_path / "out"
    go(videos, out)
    path = out / "rows" / "00000.jsonl"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text(json.dumps({**json.loads(first), **change}) + "\n" + "".join(others))
    before = content(out)
    with pytest.raises(DataError, match=says):
        go(videos, out)
    assert content(out) == before


@pytest.mark.parametrize("line", [b"null\n", b"[" * 100_000 + b"\n", b"\xff\xfe\n", b"not json\n", b"{}\n"])
def test_lines_that_are_no_rows_are_refused(videos: Path, tmp_path: Path, line: bytes) -> None:
    go(videos, tmp_path / "out")
    path = tmp_path / "out" / "rows" / "00007.jsonl"
    path.write_bytes(line)
    with pytest.raises(DataError, match="line 1 of '.*00007.jsonl' is no row of an evaluation"):
        go(videos, tmp_path / "out")
    assert path.read_bytes() == line


def test_a_full_disk(tmp_path: Path) -> None:
    files = RowFiles(str(tmp_path), 0)
    rows = [ClipRow(number, f"{number}.mp4", None, error="broken" * 100) for number in range(4)]
    files.write(rows[:2])
    path = tmp_path / "rows" / "00000.jsonl"
    before = path.read_bytes()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 700, limits[1]))
        with pytest.raises(DataError, match="cannot be written .*; what came before is complete: make room"):
            files.write(rows[2:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    files.write(rows[2:])
    assert RowFiles(str(tmp_path), 0).read() == rows


def test_a_folder_that_cannot_be_made(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match="'.*file/out' cannot be written"):
        go(videos, tmp_path / "file" / "out")
    shutil.rmtree(tmp_path / "out", ignore_errors=True)


@pytest.mark.parametrize("change", ["fewer", "more", "another"])
def test_other_videos_of_a_data_set_of_bytes_are_refused(videos: Path, tmp_path: Path, change: str) -> None:
    contents = [path.read_bytes() for path in sorted(videos.rglob("*.mp4"))]

    def run(contents: list[bytes], size: int | None) -> Any:
        # As rows of Parquet files have them, of which nobody knows the names; they come once.
        rows = (Video(number, f"video {number}", {"bytes": data}, None) for number, data in enumerate(contents))
        data = VideoDataset("mine", None, rows, size)
        return evaluate(model(), processor(), data, tmp_path / "out", Protocol(num_frames=8))

    known = change == "more"
    run(contents, len(contents) if known else None)
    before = content(tmp_path / "out")
    other = {
        "fewer": contents[:-1],
        "more": [*contents, contents[0]],
        "another": [*contents[:2], contents[3], contents[2]],
    }[change]
    says = {"fewer": "it holds 3 videos, and held more", "more": "identity.videos 4, and this one has 5"}
    with pytest.raises(DataError, match=says.get(change, "'video 2' is another file than when it was evaluated")):
        run(other, len(other) if known else None)
    assert content(tmp_path / "out") == before


def test_names_that_are_no_unicode_and_secrets(videos: Path, tmp_path: Path) -> None:
    source = {"path": str(videos / "LABEL_0" / "000.mp4"), "bytes": None}
    listed = [Video(0, os.fsdecode(b"\xff.mp4"), source, "a"), Video(1, "http://me:secret@host/b.mp4", source, "b")]
    for _ in range(2):
        data = VideoDataset("http://me:secret@host/videos", None, listed)
        done = evaluate(
            model(),
            processor(),
            data,
            tmp_path / "out",
            Protocol(num_frames=8),
            command="evaluate http://a:secret@b/c",
        )
        assert done is not None and [row.video for row in done.rows] == [r"\udcff.mp4", "http://host/b.mp4"]
    assert not any(b"secret" in text for text in content(tmp_path / "out").values())
